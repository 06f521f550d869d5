//! Second sets of weights, and averages kept in them.

use super::ensure;
use crate::{
    engine::{Engine, Shadow},
    error::Fallible,
    learner::{Learner, SHADOW, Update},
    testing::{
        Architecture, Fixture,
        run::{batches, forward_backward, parameters, same_state},
    },
};

type Weights = Vec<(String, bool, Vec<f32>)>;

/// Steps with batch norm, so that buffers move too.
fn train<F: Fixture>(fixture: &F, learner: &mut F::Learner, steps: usize, seed: u64) -> Fallible<Weights> {
    for batch in batches(fixture, Architecture::Full, steps + 1, seed).into_iter().take(steps) {
        learner.seed(seed);
        forward_backward(fixture, learner, batch, 1.0, true)?;
        learner.step(&Update::new(0.05))?;
    }
    parameters(learner)
}

fn learner<F: Fixture>(fixture: &F) -> Fallible<F::Learner> {
    let mut learner = fixture.learner(Architecture::Full);
    learner.init(3)?;
    train(fixture, &mut learner, 1, 1)?;
    Ok(learner)
}

/// What is in the slot, by exchanging it twice.
fn slot(learner: &mut impl Learner, name: &str) -> Fallible<Weights> {
    learner.shadow(name, Shadow::Swap)?;
    let found = parameters(learner)?;
    learner.shadow(name, Shadow::Swap)?;
    Ok(found)
}

/// Tolerance: two roundings of an f32.
pub(super) fn averages<F: Fixture>(fixture: &F) -> Fallible {
    for decay in [0.0, 0.1, 0.5, 0.9, 0.999, 1.0] {
        let mut learner = learner(fixture)?;
        learner.shadow("ema", Shadow::Create)?;
        let mut expected: Vec<Vec<f64>> =
            parameters(&mut learner)?.iter().map(|(.., own)| own.iter().map(|x| f64::from(*x)).collect()).collect();
        for step in 0..3 {
            let weights = train(fixture, &mut learner, 1, 5 + step)?;
            learner.shadow("ema", Shadow::Lerp { decay })?;
            ensure!(weights == parameters(&mut learner)?, "averaging changed the weights");
            for (mean, (.., weights)) in expected.iter_mut().zip(&weights) {
                mean.iter_mut()
                    .zip(weights)
                    .for_each(|(mean, x)| *mean = decay * *mean + (1.0 - decay) * f64::from(*x));
            }
        }
        let found = slot(&mut learner, "ema")?;
        for ((name, _, found), expected) in found.iter().zip(&expected) {
            let same = |(x, y): (&f32, &f64)| (f64::from(*x) - y).abs() <= 1e-6 * y.abs().max(1.0);
            ensure!(
                found.len() == expected.len() && found.iter().zip(expected).all(same),
                "decay {decay}: the average of `{name}` is {found:?}, not {expected:?}"
            );
        }
    }
    Ok(())
}

pub(super) fn exchanges<F: Fixture>(fixture: &F) -> Fallible {
    let (mut learner, mut other) = (learner(fixture)?, learner(fixture)?);
    let first = parameters(&mut learner)?;
    ensure!(!learner.has_shadow("ema")?, "a slot is there before it was made");
    learner.shadow("ema", Shadow::Create)?;
    ensure!(learner.has_shadow("ema")? && !learner.has_shadow("swa")?, "it does not know its slots");
    let second = train(fixture, &mut learner, 2, 2)?;
    ensure!(first != second, "nothing was trained");
    learner.shadow("ema", Shadow::Swap)?;
    ensure!(parameters(&mut learner)? == first, "the slot is not a copy of the weights");
    learner.shadow("ema", Shadow::Swap)?;
    ensure!(parameters(&mut learner)? == second, "exchanged twice, the weights are others");
    // Looking at an average in between changes nothing in how it trains on.
    train(fixture, &mut other, 2, 2)?;
    train(fixture, &mut other, 2, 4)?;
    train(fixture, &mut learner, 2, 4)?;
    let without = |mut state: crate::learner::StateDict| {
        state.tensors.retain(|name, _| !name.starts_with(SHADOW));
        state
    };
    same_state(&other.snapshot()?, &without(learner.snapshot()?)).map_err(|e| format!("trained on: {e}"))?;
    // Made again, it is a copy of what the weights are now.
    let third = parameters(&mut learner)?;
    learner.shadow("ema", Shadow::Create)?;
    ensure!(slot(&mut learner, "ema")? == third, "a slot that is made again is not a copy of the weights");
    learner.shadow("ema", Shadow::Drop)?;
    ensure!(!learner.has_shadow("ema")?, "a slot that was dropped is still there");
    for op in [Shadow::Swap, Shadow::Lerp { decay: 0.5 }, Shadow::Drop] {
        let error = learner.shadow("ema", op).err().ok_or_else(|| format!("{op:?} of no slot does something"))?;
        ensure!(error.to_string().contains("`ema`"), "the message does not name the slot: {error}");
    }
    for name in ["", "a/b"] {
        ensure!(learner.shadow(name, Shadow::Create).is_err(), "a slot can be called `{name}`");
    }
    ensure!(parameters(&mut learner)? == third, "what failed has changed the weights");
    Ok(())
}

pub(super) fn saved<F: Fixture>(fixture: &F) -> Fallible {
    let mut learner = learner(fixture)?;
    for name in ["ema", "swa"] {
        learner.shadow(name, Shadow::Create)?;
        train(fixture, &mut learner, 1, 2)?;
    }
    let state = learner.snapshot()?;
    ensure!(state.shadows().into_iter().eq(["ema", "swa"]), "saved are {:?}", state.shadows());
    for name in ["ema", "swa"] {
        for (tensor, _, values) in slot(&mut learner, name)? {
            let saved = state.tensors.get(&format!("{SHADOW}{name}/{tensor}"));
            let saved = saved.ok_or_else(|| format!("`{tensor}` of `{name}` is not saved"))?;
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            ensure!(*saved.data.bytes()? == bytes, "`{tensor}` of `{name}` was saved with other values");
        }
    }
    // Into one that has another slot, which goes.
    let mut other = fixture.learner(Architecture::Full);
    other.init(9)?;
    other.shadow("old", Shadow::Create)?;
    other.load(&state)?;
    ensure!(!other.has_shadow("old")?, "a slot outlives the state that was loaded");
    for learner in [&mut learner, &mut other] {
        train(fixture, learner, 2, 3)?;
        learner.shadow("ema", Shadow::Lerp { decay: 0.9 })?;
        learner.shadow("swa", Shadow::Swap)?;
    }
    same_state(&learner.snapshot()?, &other.snapshot()?).map_err(|e| format!("gone on after loading: {e}"))?;
    let mut damaged = state.clone();
    let name = state.tensors.keys().find(|name| name.starts_with(SHADOW)).cloned().ok_or("no slot was saved")?;
    damaged.tensors.remove(&name);
    let before = other.snapshot()?;
    let error = other.load(&damaged).err().ok_or("a slot that lacks a tensor was loaded")?;
    ensure!(error.to_string().contains(&name), "the message does not name `{name}`: {error}");
    same_state(&before, &other.snapshot()?).map_err(|e| format!("a refused state changed the learner: {e}").into())
}
