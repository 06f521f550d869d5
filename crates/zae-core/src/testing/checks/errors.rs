//! What goes wrong is an error, and leaves the learner whole.

use super::ensure;
use crate::{
    engine::Engine,
    error::{Error, Fallible},
    learner::{Clip, Learner, Update},
    testing::{
        Architecture, Fixture, FixtureTask,
        run::{batches, forward_backward, same_state, trainer},
    },
    trainer::Trainer,
};

pub(super) fn independent_loss<F: Fixture>(fixture: &F) -> Fallible {
    let mut learner = fixture.learner(Architecture::Plain);
    learner.init(3)?;
    let loss = learner.train(|model| fixture.constant(model, 1.0))?;
    let Err(error) = learner.backward(loss, 1.0, true) else { return Err("it was taken".into()) };
    ensure!(error.to_string().contains("does not depend on the model"), "the message is: {error}");
    Ok(())
}

pub(super) fn no_gradients<F: Fixture>(fixture: &F) -> Fallible {
    let mut learner = fixture.learner(Architecture::Plain);
    learner.init(3)?;
    let before = learner.snapshot()?;
    ensure!(learner.step(&Update::new(0.1)).is_err(), "`step` took no gradients");
    ensure!(learner.clip(1.0, &Clip::Norm(1.0)).is_err(), "`clip` took no gradients");
    ensure!(learner.gradients(&mut |_, _| Ok(())).is_err(), "`gradients` lent none");
    same_state(&before, &learner.snapshot()?)
}

pub(super) fn no_optimizer<F: Fixture>(fixture: &F) -> Fallible {
    let data = batches(fixture, Architecture::Full, 3, 1);
    let learner = fixture.without_optimizer(Architecture::Full);
    let mut trainer = Trainer::new(FixtureTask::new(fixture), learner).seed(1).scheduler(0.1).handle_signals(false);
    let first = trainer.evaluate(&data)?;
    ensure!(first.loss() == trainer.evaluate(&data)?.loss(), "two evaluations differ");
    let error = trainer.run(1, &data, ()).err().ok_or("it was trained")?.to_string();
    ensure!(error.contains("optimizer"), "the message is: {error}");
    ensure!(first.loss() == trainer.evaluate(&data)?.loss(), "the failed run changed the model");
    Ok(())
}

pub(super) fn panic_keeps_model<F: Fixture>(fixture: &F) -> Fallible {
    let data = batches(fixture, Architecture::Full, 3, 1);
    let mut whole = trainer(fixture, Architecture::Full);
    whole.run(1, &data[..1].to_vec(), ())?;
    #[allow(clippy::panic)]
    let task = FixtureTask::new(fixture).before(|at| if at.step == 1 { panic!("on purpose") } else { Ok(()) });
    let learner = fixture.learner(Architecture::Full);
    let mut broken = Trainer::new(task, learner).seed(11).scheduler(0.01).handle_signals(false);
    let error = broken.run(1, &data, ()).err().ok_or("the panic got lost")?;
    ensure!(matches!(&error, Error::Step { site, .. } if site.step == 1), "the error is {error:?}");
    ensure!(error.to_string().contains("on purpose"), "the message is: {error}");
    same_state(&whole.into_learner().snapshot()?, &broken.into_learner().snapshot()?)?;
    // A failed backward pass, then a good one.
    let mut learner = fixture.learner(Architecture::Plain);
    learner.init(3)?;
    let loss = learner.train(|model| fixture.constant(model, 1.0))?;
    ensure!(learner.backward(loss, 1.0, true).is_err(), "a constant has gradients");
    let batch = batches(fixture, Architecture::Plain, 2, 1)[0].clone();
    forward_backward(fixture, &mut learner, batch, 1.0, true)?;
    learner.step(&Update::new(0.1))?;
    Ok(())
}
