//! Training one part of a model.

use super::ensure;
use crate::{
    error::Fallible,
    learner::{Clip, Learner, Update, in_part},
    step::Step,
    task::Mode,
    testing::{
        Architecture, Fixture, Samples,
        run::{forward_backward, gradients, parameters},
    },
};

fn batch<F: Fixture>(fixture: &F, seed: u64) -> F::Batch {
    let sizes = fixture.sizes(Architecture::Unused);
    fixture.batch(&Samples::random(6, sizes.features, sizes.classes, seed))
}

fn backward_part<F: Fixture>(fixture: &F, learner: &mut F::Learner, part: &str, seed: u64) -> Fallible<Vec<f64>> {
    let batch = learner.place(batch(fixture, seed), Mode::Train);
    let Step { loss, .. } = learner.train(|model| fixture.step(model, batch, Mode::Train))??;
    let loss = learner.backward_part(part, loss, 0.5, true)?;
    let mut read = crate::learner::Readout::default();
    learner.read(&[loss], &mut read)?;
    Ok(read.get(0).to_vec())
}

fn learner<F: Fixture>(fixture: &F) -> Fallible<(F::Learner, Vec<String>)> {
    let mut learner = fixture.learner(Architecture::Unused);
    learner.init(3)?;
    let names = parameters(&mut learner)?.into_iter().filter(|p| p.1).map(|p| p.0).collect();
    Ok((learner, names))
}

/// Each parameter is a part. What a loss adds to it is what it adds without `part`; all others have no gradient, and an
/// optimizer step leaves them alone.
pub(super) fn alone<F: Fixture>(fixture: &F) -> Fallible {
    let (mut whole, names) = learner(fixture)?;
    forward_backward(fixture, &mut whole, batch(fixture, 5), 0.5, true)?;
    let whole = gradients(&mut whole)?;
    let used = |name: &String| whole.iter().any(|(of, g)| of == name && g.iter().any(|x| *x != 0.0));
    for part in names.iter().filter(|name| used(name)) {
        let (mut learner, _) = learner(fixture)?;
        let read = backward_part(fixture, &mut learner, part, 5)?;
        ensure!(read.len() == 1 && read[0].is_finite(), "the loss of a part is {read:?}");
        for ((name, own), (_, all)) in gradients(&mut learner)?.iter().zip(&whole) {
            let there = own.iter().any(|x| x.to_bits() != (-0.0f32).to_bits());
            ensure!(there == (name == part), "along a loss of `{part}` alone, `{name}` has a gradient: {there}");
            ensure!(!there || own == all, "the gradient of `{part}` alone is {own:?}, with all others {all:?}");
        }
        learner.clip(1.0, &Clip::Norm(1.0))?;
        let before = parameters(&mut learner)?;
        learner.step(&Update::new(0.1))?;
        for (before, (name, _, after)) in before.iter().zip(parameters(&mut learner)?) {
            let moved = before.2 != after;
            ensure!(moved == (name == *part), "a step of `{part}` alone moved `{name}`: {moved}");
        }
    }
    Ok(())
}

/// In a window each part has its own sum: here one of two losses, and one of a third.
pub(super) fn summed<F: Fixture>(fixture: &F) -> Fallible {
    let (mut whole, names) = learner(fixture)?;
    let single = |seed| -> Fallible<_> {
        let (mut learner, _) = learner(fixture)?;
        forward_backward(fixture, &mut learner, batch(fixture, seed), 0.5, true)?;
        gradients(&mut learner)
    };
    let [a, b] = [&names[0], &names[1]];
    backward_part(fixture, &mut whole, a, 5)?;
    backward_part(fixture, &mut whole, b, 6)?;
    backward_part(fixture, &mut whole, a, 7)?;
    let [first, second, third] = [single(5)?, single(6)?, single(7)?];
    let found = gradients(&mut whole)?;
    for (i, (name, own)) in found.iter().enumerate() {
        let sum: Vec<f32> = first[i].1.iter().zip(&third[i].1).map(|(x, y)| x + y).collect();
        let expected = if name == a { &sum } else { &second[i].1 };
        ensure!(
            in_part(name, a) == (name == a) && (name != a && name != b || own == expected),
            "`{name}` has {own:?} in place of {expected:?}"
        );
    }
    Ok(())
}

pub(super) fn unknown<F: Fixture>(fixture: &F) -> Fallible {
    let (mut learner, names) = learner(fixture)?;
    // Half a name is no part.
    let half = names[0].split_at(names[0].len() - 1).0;
    for part in ["nowhere", half] {
        let Err(error) = backward_part(fixture, &mut learner, part, 5) else {
            return Err(format!("there is a part `{part}`").into());
        };
        let error = error.to_string();
        let first = names[0].split('.').next().unwrap_or_default();
        ensure!(error.contains(part) && error.contains(first), "the error does not say which parts there are: {error}");
    }
    ensure!(learner.clip(1.0, &Clip::None).is_err(), "a part that is not there has left gradients");
    Ok(())
}
