//! Training in `Precision::F16`: what the gradient scaler is for, and that nothing shows of it elsewhere.

use super::ensure;
use crate::{
    error::{BoxError, Fallible},
    learner::{Clip, Learner, Number, Readout, SCALER, StateDict, Stepped, Update},
    scaler::GradScaler,
    testing::{
        Architecture, Fixture, Samples,
        run::{batches, forward_backward, gradients, parameters, same_state, trainer},
    },
};

/// Below what 16 bits can hold of any gradient of the suite's networks.
const TINY: f64 = 1.0 / (1u64 << 28) as f64;
/// More than an f32 can hold, once it is scaled.
const HUGE: f64 = 1e36;

/// A learner whose scale is this.
fn learner<F: Fixture>(fixture: &F, scale: f64) -> Fallible<F::Learner> {
    let mut learner = fixture.learner(Architecture::Plain);
    learner.init(3)?;
    let state = learner.snapshot()?;
    learner.load(&with_scale(state, scale))?;
    Ok(learner)
}

fn with_scale(mut state: StateDict, scale: f64) -> StateDict {
    if let Some(number) = state.numbers.get_mut("scaler/scale") {
        *number = Number::Float(scale);
    }
    state
}

fn scaler_of(state: &StateDict) -> Fallible<(f64, u64)> {
    match (state.numbers.get("scaler/scale"), state.numbers.get("scaler/growth_tracker")) {
        (Some(Number::Float(scale)), Some(Number::UInt(tracker))) => Ok((*scale, *tracker)),
        other => Err(format!("the scaler is not saved: {other:?}").into()),
    }
}

/// The loss of one backward pass of `weight`.
fn backward<F: Fixture>(fixture: &F, learner: &mut F::Learner, weight: f64) -> Fallible<f64> {
    let sizes = fixture.sizes(Architecture::Plain);
    let samples = Samples::random(6, sizes.features, sizes.classes, 5);
    let loss = forward_backward(fixture, learner, fixture.batch(&samples), weight, true)?;
    let mut out = Readout::default();
    learner.read(&[loss], &mut out)?;
    Ok(out.get(0).first().copied().ok_or("nothing was read")?)
}

/// The gradients of one backward pass, its weight taken out again.
fn gradients_of<F: Fixture>(fixture: &F, scale: f64, weight: f64) -> Fallible<Vec<f32>> {
    let mut learner = learner(fixture, scale)?;
    backward(fixture, &mut learner, weight)?;
    learner.clip(1.0 / weight, &Clip::None)?;
    Ok(gradients(&mut learner)?.into_iter().flat_map(|(_, values)| values).collect())
}

/// Tolerance: what is scaled into the smallest numbers of 16 bits has a few digits fewer.
pub(super) fn small_gradients<F: Fixture>(fixture: &F) -> Fallible {
    let scale = GradScaler::default().scale();
    let plain = gradients_of(fixture, 1.0, 1.0)?;
    let largest = plain.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    for (scale, weight) in [(scale, 1.0), (1024.0, 1.0), (scale, TINY)] {
        let found = gradients_of(fixture, scale, weight)?;
        let off = found.iter().zip(&plain).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
        ensure!(off <= 0.02 * largest, "of weight {weight}, scaled by {scale}: off by {off} of {largest}");
    }
    let lost = gradients_of(fixture, 1.0, TINY)?;
    ensure!(lost.iter().all(|x| *x == 0.0), "this engine computes gradients in more than 16 bits: {lost:?}");
    Ok(())
}

/// With a loss whose gradients vanish in 16 bits.
pub(super) fn trains_small_losses<F: Fixture>(fixture: &F) -> Fallible {
    let trained = |scale: f64| -> Fallible<f64> {
        let mut learner = learner(fixture, scale)?;
        let first = backward(fixture, &mut learner, TINY)?;
        for _ in 0..30 {
            // The moments of Adam would vanish beside its epsilon.
            learner.clip(1.0 / TINY, &Clip::None)?;
            let stepped = learner.step(&Update::new(0.02))?;
            ensure!(stepped == Stepped::Applied, "a step was skipped");
            let loss = backward(fixture, &mut learner, TINY)?;
            ensure!(loss.is_finite() && loss < 100.0, "the loss is told as {loss}");
        }
        Ok(backward(fixture, &mut learner, TINY)? / first)
    };
    let (with, without) = (trained(GradScaler::default().scale())?, trained(1.0)?);
    ensure!(with < 0.6 && without > 0.9, "the loss fell to {with} of what it was, and to {without} without a scale");
    Ok(())
}

pub(super) fn overflow<F: Fixture>(fixture: &F) -> Fallible {
    for clip in [None, Some(Clip::None), Some(Clip::Norm(1.0)), Some(Clip::Value(1.0))] {
        let mut learner = learner(fixture, 1024.0)?;
        let step = |learner: &mut F::Learner, weight: f64| -> Fallible<Stepped> {
            backward(fixture, learner, weight)?;
            if let Some(clip) = &clip {
                let norm = learner.clip(1.0, clip)?;
                ensure!(norm.is_none() || weight == 1.0, "gradients that overflow have no norm");
            }
            learner.step(&Update::new(0.01))
        };
        ensure!(step(&mut learner, 1.0)? == Stepped::Applied, "{clip:?}: a step was skipped");
        let before = learner.snapshot()?;
        ensure!(scaler_of(&before)? == (1024.0, 1), "{clip:?}: the scaler is {:?}", scaler_of(&before)?);
        ensure!(step(&mut learner, HUGE)? == Stepped::Skipped, "{clip:?}: an overflow went into the weights");
        let after = learner.snapshot()?;
        ensure!(scaler_of(&after)? == (512.0, 0), "{clip:?}: after an overflow it is {:?}", scaler_of(&after)?);
        let without = |mut state: StateDict| {
            state.numbers.retain(|name, _| !name.starts_with(SCALER));
            state
        };
        same_state(&without(before), &without(after)).map_err(|e| format!("{clip:?}: a skipped step: {e}"))?;
        ensure!(step(&mut learner, 1.0)? == Stepped::Applied, "{clip:?}: the step after an overflow was skipped");
        let last = scaler_of(&learner.snapshot()?)?;
        ensure!(last == (512.0, 1), "{clip:?}: at the end it is {last:?}");
    }
    Ok(())
}

/// Through the trainer: what it calls skipped is what the scaler has skipped, and the run goes on.
pub(super) fn counted<F: Fixture>(fixture: &F) -> Fallible {
    let first = (1u64 << 32) as f64;
    let mut trainer = trainer(fixture, Architecture::Full).accumulate(2);
    let state = with_scale(trainer.state_dict()?, first);
    trainer.load_state_dict(&state)?;
    trainer.run(10, batches(fixture, Architecture::Full, 8, 1), ())?;
    let (progress, scale) = (trainer.progress().clone(), scaler_of(&trainer.state_dict()?)?.0);
    let halved = (first / scale).log2();
    ensure!(halved >= 8.0, "a scale of 2^32 was halved {halved} times only");
    ensure!(progress.skipped() as f64 == halved, "{} steps were counted, {halved} skipped", progress.skipped());
    ensure!(progress.skipped() < progress.step(), "all {} steps were skipped", progress.step());
    Ok(())
}

pub(super) fn other_precisions<F: Fixture>(fixture: &F) -> Fallible {
    let mut learner = learner(fixture, 256.0)?;
    backward(fixture, &mut learner, 1.0)?;
    learner.step(&Update::new(0.01))?;
    let scaled = learner.snapshot()?;
    let mut plain = scaled.clone();
    plain.numbers.retain(|name, _| !name.starts_with(SCALER));
    let mut broken = scaled.clone();
    broken.numbers.remove("scaler/growth_tracker");
    let error: BoxError = learner.load(&broken).err().ok_or("half a scaler was taken")?;
    ensure!(error.to_string().contains("scaler/growth_tracker"), "the message is: {error}");
    same_state(&scaled, &learner.snapshot()?).map_err(|e| format!("a refused state changed the learner: {e}"))?;
    learner.load(&plain)?;
    let found = scaler_of(&learner.snapshot()?)?;
    ensure!(found == (GradScaler::default().scale(), 0), "without one in the state, the scaler is {found:?}");
    let mut bare = fixture.without_optimizer(Architecture::Plain);
    bare.init(5)?;
    bare.load(&scaled)?;
    ensure!(
        parameters(&mut learner)? == parameters(&mut bare)?,
        "the weights differ in a learner without an optimizer"
    );
    ensure!(bare.snapshot()?.numbers.keys().all(|name| !name.starts_with(SCALER)), "it has a scaler");
    Ok(())
}
