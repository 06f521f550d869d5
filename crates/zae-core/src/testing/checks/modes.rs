//! Training and evaluation mode.

use super::ensure;
use crate::{
    error::Fallible,
    learner::{Learner, Readout},
    step::Step,
    task::Mode,
    testing::{
        Architecture, Fixture,
        run::{batches, forward_backward, same_state},
    },
};

fn number<L: Learner>(learner: &L, scalar: L::Scalar) -> Fallible<f64> {
    let mut out = Readout::default();
    learner.read(&[scalar], &mut out)?;
    out.get(0).first().copied().ok_or_else(|| "nothing was read".into())
}

fn train_loss<F: Fixture>(fixture: &F, learner: &mut F::Learner, batch: &F::Batch, seed: u64) -> Fallible<f64> {
    learner.seed(seed);
    let loss = forward_backward(fixture, learner, batch.clone(), 1.0, true)?;
    learner.zero_grad();
    number(learner, loss)
}

fn eval_loss<F: Fixture>(fixture: &F, learner: &mut F::Learner, batch: &F::Batch, seed: u64) -> Fallible<f64> {
    learner.seed(seed);
    let batch = learner.place(batch.clone(), Mode::Evaluate);
    let Step { loss, .. } = learner.eval(|model| fixture.step(model, batch, Mode::Evaluate))??;
    let loss = learner.detach(loss);
    number(learner, loss)
}

pub(super) fn dropout_in_training<F: Fixture>(fixture: &F) -> Fallible {
    let mut learner = fixture.learner(Architecture::Full);
    learner.init(3)?;
    let batch = &batches(fixture, Architecture::Full, 2, 1)[0];
    let first = train_loss(fixture, &mut learner, batch, 1)?;
    let other = train_loss(fixture, &mut learner, batch, 2)?;
    ensure!(first != other, "two seeds gave the same training loss {first}: dropout is off");
    let again = train_loss(fixture, &mut learner, batch, 1)?;
    ensure!(first == again, "the same seed gave the losses {first} and {again}");
    // An evaluation in between does not leave the model in evaluation mode.
    eval_loss(fixture, &mut learner, batch, 5)?;
    let after = train_loss(fixture, &mut learner, batch, 1)?;
    ensure!(first == after, "after an evaluation the training loss is {after} instead of {first}");
    Ok(())
}

pub(super) fn evaluation<F: Fixture>(fixture: &F) -> Fallible {
    let mut learner = fixture.learner(Architecture::Full);
    learner.init(3)?;
    let batch = &batches(fixture, Architecture::Full, 2, 1)[0];
    // Running statistics that differ from those of the batch.
    train_loss(fixture, &mut learner, batch, 1)?;
    let before = learner.snapshot()?;
    let first = eval_loss(fixture, &mut learner, batch, 1)?;
    let other = eval_loss(fixture, &mut learner, batch, 2)?;
    ensure!(first == other, "two seeds gave the evaluation losses {first} and {other}: dropout is on");
    same_state(&before, &learner.snapshot()?).map_err(|e| format!("an evaluation changed the model: {e}"))?;
    let placed = learner.place(batch.clone(), Mode::Evaluate);
    let Step { loss, .. } = learner.eval(|model| fixture.step(model, placed, Mode::Evaluate))??;
    ensure!(learner.backward(loss, 1.0, true).is_err(), "an evaluation recorded gradients");
    // The same through a training pass that forgets its gradients: weights as they were, statistics moved.
    learner.zero_grad();
    ensure!(learner.step(&crate::learner::Update::new(0.1)).is_err(), "`zero_grad` left gradients");
    Ok(())
}

/// What is kept until it is read has no graph: a backward pass from it is an error.
pub(super) fn lazy_without_graph<F: Fixture>(fixture: &F) -> Fallible {
    let mut learner = fixture.learner(Architecture::Plain);
    learner.init(3)?;
    let mut loss = || -> Fallible<_> {
        let batch = learner.place(batches(fixture, Architecture::Plain, 2, 1)[0].clone(), Mode::Train);
        Ok(learner.train(|model| fixture.step(model, batch, Mode::Train))??.loss)
    };
    let (first, second) = (loss()?, loss()?);
    let returned = learner.backward(first, 1.0, true)?;
    let detached = learner.detach(second);
    learner.zero_grad();
    for (by, scalar) in [("backward", returned), ("detach", detached)] {
        ensure!(learner.backward(scalar, 1.0, true).is_err(), "what `{by}` returns still has its graph");
    }
    Ok(())
}
