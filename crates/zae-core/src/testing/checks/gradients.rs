//! Accumulating, clipping and visiting gradients.

use std::sync::{Arc, Mutex, PoisonError};

use super::ensure;
use crate::{
    add_on::{AddOn, Context},
    engine::Engine,
    error::Fallible,
    learner::{Clip, Learner, Readout, Update},
    testing::{
        Architecture, Fixture, FixtureTask, Recorder, Samples,
        run::{forward_backward, gradients, parameters, same_state, trainer},
    },
    trainer::Trainer,
};

fn samples<F: Fixture>(fixture: &F, rows: usize) -> Samples {
    let sizes = fixture.sizes(Architecture::Plain);
    Samples::random(rows, sizes.features, sizes.classes, 5)
}

/// A learner with the gradients of one batch.
fn with_gradients<F: Fixture>(fixture: &F, architecture: Architecture) -> Fallible<F::Learner> {
    let mut learner = fixture.learner(architecture);
    learner.init(3)?;
    learner.seed(1);
    forward_backward(fixture, &mut learner, fixture.batch(&samples(fixture, 6)), 1.0, true)?;
    Ok(learner)
}

fn norm(gradients: &[(String, Vec<f32>)]) -> f64 {
    gradients.iter().flat_map(|(_, g)| g).map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}

fn flat(learner: &mut impl Learner) -> Fallible<Vec<f32>> {
    Ok(gradients(learner)?.into_iter().flat_map(|(_, g)| g).collect())
}

/// Tolerance: a sum of 12 products in another order, in f32, relative to the largest gradient.
pub(super) fn accumulation<F: Fixture>(fixture: &F) -> Fallible {
    let samples = samples(fixture, 12);
    let mut whole = fixture.learner(Architecture::Plain);
    whole.init(3)?;
    forward_backward(fixture, &mut whole, fixture.batch(&samples), 1.0, true)?;
    let whole = flat(&mut whole)?;
    let largest = whole.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    for sizes in [&[6, 6][..], &[1, 11], &[3, 4, 5], &[5, 1, 2, 4]] {
        let mut parts = fixture.learner(Architecture::Plain);
        parts.init(3)?;
        for (i, part) in samples.batches(sizes).iter().enumerate() {
            let weight = part.len() as f64 / 4.0;
            forward_backward(fixture, &mut parts, fixture.batch(part), weight, i + 1 == sizes.len())?;
        }
        parts.clip(4.0 / 12.0, &Clip::None)?;
        let off = flat(&mut parts)?.iter().zip(&whole).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
        ensure!(
            off <= 1e-5 * largest,
            "micro-batches of {sizes:?} are off by {off}, the largest gradient is {largest}"
        );
    }
    Ok(())
}

/// Keeps the gradients that the optimizer gets.
struct Keep(Arc<Mutex<Vec<f32>>>);

impl AddOn for Keep {
    fn name(&self) -> &'static str {
        "keep"
    }
    fn on_gradients(&mut self, cx: &mut Context<'_>) -> Fallible {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clear();
        cx.engine.gradients(&mut |_, values| {
            kept.extend_from_slice(values);
            Ok(())
        })
    }
}

/// The gradients of one step through the trainer, and the norm it reports.
fn trained<F: Fixture>(fixture: &F, sizes: &[usize], clip: Clip) -> Fallible<(Vec<f32>, Option<f64>)> {
    let data: Vec<_> = samples(fixture, 12).batches(sizes).iter().map(|part| fixture.batch(part)).collect();
    let (kept, recorder) = (Arc::default(), Recorder::new());
    let mut trainer = trainer(fixture, Architecture::Plain)
        .accumulate(sizes.len() as u64)
        .gradient_clip(clip)
        .add_on((Keep(Arc::clone(&kept)), recorder.clone()));
    trainer.run(1, data, ())?;
    let norm = recorder.get().rows[0].1.iter().find(|cell| cell.0 == "train/grad_norm").map(|x| f64::from_bits(x.1));
    let kept = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((kept, norm))
}

/// The trainer divides by the weights before it clips: an optimizer that does not see the scale of its gradients, as
/// Adam, would hide a mistake. Tolerance as in `accumulation`.
pub(super) fn scaled_then_clipped<F: Fixture>(fixture: &F) -> Fallible {
    let (whole, _) = trained(fixture, &[12], Clip::None)?;
    let largest = whole.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let length = whole.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    for sizes in [&[12][..], &[6, 6], &[1, 11], &[5, 1, 2, 4]] {
        let limit = largest / 4.0;
        for (clip, expected) in [
            (Clip::None, whole.clone()),
            (Clip::Value(f64::from(limit)), whole.iter().map(|x| x.clamp(-limit, limit)).collect()),
            (Clip::Norm(length / 3.0), whole.iter().map(|x| x / 3.0).collect()),
        ] {
            let (found, told) = trained(fixture, sizes, clip)?;
            let off = found.iter().zip(&expected).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
            ensure!(found.len() == expected.len(), "{} gradients instead of {}", found.len(), expected.len());
            ensure!(off <= 1e-5 * largest, "{clip:?} over micro-batches of {sizes:?}: off by {off} of {largest}");
            let right = told.is_none_or(|told| (told - length).abs() <= 1e-5 * length);
            ensure!(
                right && told.is_some() == matches!(clip, Clip::Norm(_)),
                "the norm is {length}, told was {told:?}"
            );
        }
    }
    Ok(())
}

/// Through the trainer: batches that count nothing change nothing.
pub(super) fn weight_zero<F: Fixture>(fixture: &F) -> Fallible {
    struct Masked<F: Fixture>(FixtureTask<F>);
    impl<F: Fixture> crate::task::Task for Masked<F> {
        type Learner = F::Learner;
        type Batch = (F::Batch, bool);
        fn train_step(
            &self,
            model: &<F::Learner as Learner>::Model,
            (batch, counts): Self::Batch,
            at: &crate::task::At,
        ) -> crate::task::StepResult<Self> {
            let mut step = self.0.train_step(model, batch, at)?;
            if !counts {
                step.weight = 0.0;
                step.metrics.clear();
            }
            Ok(step)
        }
        fn test_step(
            &self,
            model: &<F::Learner as Learner>::Model,
            batch: Self::Batch,
            at: &crate::task::At,
        ) -> crate::task::StepResult<Self> {
            self.train_step(model, batch, at)
        }
    }
    let batch = |counts: bool, seed: u64| {
        let sizes = fixture.sizes(Architecture::Plain);
        (fixture.batch(&Samples::random(4, sizes.features, sizes.classes, seed)), counts)
    };
    let run = |batches: Vec<(F::Batch, bool)>, accumulate| {
        let task = Masked(FixtureTask::new(fixture));
        let trainer = Trainer::new(task, fixture.learner(Architecture::Plain)).seed(1).scheduler(0.01);
        let mut trainer = trainer.accumulate(accumulate).handle_signals(false);
        let run = trainer.run(1, batches, ())?;
        Ok::<_, crate::error::BoxError>((run, trainer.into_learner().snapshot()?))
    };
    let (with, with_state) = run(vec![batch(true, 1), batch(false, 2), batch(false, 3), batch(false, 4)], 2)?;
    let (without, without_state) = run(vec![batch(true, 1)], 2)?;
    let loss = |run: &crate::trainer::Run| run.history.epochs[0].metrics["train/loss"];
    ensure!(loss(&with) == loss(&without), "losses {} and {}", loss(&with), loss(&without));
    // The window with the masked batch divides by its weight, the other multiplies nothing: equal to rounding.
    for (name, tensor) in with_state.tensors.iter().filter(|(name, _)| name.starts_with("model/")) {
        let numbers = |state: &crate::learner::SavedTensor| -> Fallible<Vec<f32>> {
            Ok(state.data.bytes()?.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
        };
        let (a, b) = (numbers(tensor)?, numbers(&without_state.tensors[name])?);
        let off = a.iter().zip(&b).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
        ensure!(off < 1e-5, "`{name}` is off by {off}");
    }
    Ok(())
}

pub(super) fn clip_norm<F: Fixture>(fixture: &F) -> Fallible {
    let before = norm(&gradients(&mut with_gradients(fixture, Architecture::Plain)?)?);
    for (scale, max) in [(1.0, before / 3.0), (1.0, before * 3.0), (0.25, before / 10.0), (2.0, before * 3.0)] {
        let mut learner = with_gradients(fixture, Architecture::Plain)?;
        let lazy = learner.clip(scale, &Clip::Norm(max))?.ok_or("clipping by norm gave no norm")?;
        let mut out = Readout::default();
        learner.read(&[lazy], &mut out)?;
        let (told, scaled) = (out.get(0)[0], before * scale);
        ensure!((told - scaled).abs() < 1e-5 * scaled, "the norm is {scaled}, told was {told}");
        let (after, expected) = (norm(&gradients(&mut learner)?), scaled * (max / (scaled + 1e-6)).min(1.0));
        ensure!((after - expected).abs() < 1e-5 * expected, "norm {scaled} clipped to {max} is {after}");
    }
    Ok(())
}

pub(super) fn clip_value<F: Fixture>(fixture: &F) -> Fallible {
    let before = flat(&mut with_gradients(fixture, Architecture::Plain)?)?;
    let max = before.iter().fold(0.0f32, |max, x| max.max(x.abs())) / 4.0;
    let mut learner = with_gradients(fixture, Architecture::Plain)?;
    learner.clip(0.5, &Clip::Value(f64::from(max)))?;
    for (before, after) in before.iter().zip(flat(&mut learner)?) {
        let expected = (before * 0.5).clamp(-max, max);
        ensure!((after - expected).abs() <= 1e-6 * max, "{before} was clipped to {after} instead of {expected}");
    }
    Ok(())
}

pub(super) fn measure_only<F: Fixture>(fixture: &F) -> Fallible {
    let before = flat(&mut with_gradients(fixture, Architecture::Plain)?)?;
    let mut learner = with_gradients(fixture, Architecture::Plain)?;
    ensure!(learner.clip(1.0, &Clip::Norm(f64::INFINITY))?.is_some(), "no norm was given");
    ensure!(flat(&mut learner)? == before, "`Clip::Norm(INFINITY)` changed the gradients");
    ensure!(learner.clip(1.0, &Clip::None)?.is_none(), "`Clip::None` computed a norm");
    ensure!(flat(&mut learner)? == before, "`Clip::None` changed the gradients");
    Ok(())
}

pub(super) fn unused<F: Fixture>(fixture: &F) -> Fallible {
    let step = |look: bool| -> Fallible<_> {
        let mut learner = with_gradients(fixture, Architecture::Unused)?;
        if look {
            let trainable = parameters(&mut learner)?.into_iter().filter(|p| p.1).map(|p| p.0).collect::<Vec<_>>();
            let seen = gradients(&mut learner)?;
            let names: Vec<_> = seen.iter().map(|g| g.0.clone()).collect();
            ensure!(trainable == names, "trainable are {trainable:?}, gradients are seen of {names:?}");
            let zero = seen.iter().filter(|(_, g)| g.iter().all(|x| *x == 0.0)).count();
            ensure!(zero == 1, "{zero} gradients are zero instead of one, the unused parameter's");
        }
        learner.clip(1.0, &Clip::Norm(1.0))?;
        let before = parameters(&mut learner)?;
        learner.step(&Update::new(0.1))?;
        let after = parameters(&mut learner)?;
        let same = before.iter().zip(&after).filter(|(a, b)| a.2 == b.2).count();
        ensure!(same == 1, "{same} parameters stood still instead of one, the unused");
        learner.snapshot()
    };
    same_state(&step(false)?, &step(true)?).map_err(|e| format!("looking at gradients changed the step: {e}").into())
}

/// What a rank does that had no micro-batch: the gradients of another one become its own.
pub(super) fn of_others<F: Fixture>(fixture: &F) -> Fallible {
    let mut here = with_gradients(fixture, Architecture::Unused)?;
    let seen = gradients(&mut here)?;
    let mut there = fixture.learner(Architecture::Unused);
    there.init(3)?;
    there.expect_gradients()?;
    let mut next = seen.iter();
    let mut absent = true;
    there.gradients(&mut |info, values| {
        absent &= values.iter().all(|value| value.to_bits() == (-0.0f32).to_bits());
        let (name, own) = next.next().ok_or("there are more gradients without a micro-batch than with one")?;
        if name != info.name {
            return Err(format!("`{}` comes where `{name}` does with a micro-batch", info.name).into());
        }
        values.copy_from_slice(own);
        Ok(())
    })?;
    ensure!(absent && next.next().is_none(), "gradients that nothing has given are not all there as `-0.0`");
    for learner in [&mut here, &mut there] {
        learner.expect_gradients()?;
        learner.clip(0.5, &Clip::Norm(1.0))?;
        learner.step(&Update::new(0.1))?;
    }
    same_state(&here.snapshot()?, &there.snapshot()?)
        .map_err(|e| format!("the gradients of another process make another step: {e}").into())
}

pub(super) fn frozen<F: Fixture>(fixture: &F) -> Fallible {
    let mut learner = with_gradients(fixture, Architecture::Frozen)?;
    let before = parameters(&mut learner)?;
    ensure!(before.iter().any(|p| !p.1) && before.iter().any(|p| p.1), "all parameters or none are trainable");
    let names = gradients(&mut learner)?.into_iter().map(|g| g.0).collect::<Vec<_>>();
    learner.clip(1.0, &Clip::Norm(1.0))?;
    learner.step(&Update::new(0.1))?;
    for (before, after) in before.iter().zip(parameters(&mut learner)?) {
        let (name, trainable) = (&before.0, before.1);
        ensure!((before.2 != after.2) == trainable, "`{name}` is trainable: {trainable}, and moved: {}", !trainable);
        ensure!(names.contains(name) == trainable, "`{name}` is trainable: {trainable}, gradients: {names:?}");
    }
    Ok(())
}

pub(super) fn visitors<F: Fixture>(fixture: &F) -> Fallible {
    let mut learner = with_gradients(fixture, Architecture::Plain)?;
    let fill = |values: &mut [f32]| values.iter_mut().zip(1..).for_each(|(x, i)| *x = i as f32);
    learner.gradients(&mut |_, values| {
        fill(values);
        Ok(())
    })?;
    learner.parameters(&mut |_, values| {
        fill(values);
        Ok(())
    })?;
    let counted = |values: &[f32]| values.iter().zip(1..).all(|(x, i)| *x == i as f32);
    ensure!(gradients(&mut learner)?.iter().all(|(_, g)| counted(g)), "gradients do not keep what was written");
    ensure!(parameters(&mut learner)?.iter().all(|p| counted(&p.2)), "parameters do not keep what was written");
    learner.step(&Update::new(0.1))?;
    ensure!(!parameters(&mut learner)?.iter().any(|p| counted(&p.2)), "the optimizer did not move them");
    let failed = learner.parameters(&mut |_, _| Err("stop".into()));
    ensure!(failed.is_err_and(|e| e.to_string().contains("stop")), "a visitor's error got lost");
    ensure!(!parameters(&mut learner)?.is_empty(), "after a visitor's error the parameters are gone");
    // And the learner still trains.
    let mut trainer = trainer(fixture, Architecture::Plain);
    trainer.run_batch(fixture.batch(&samples(fixture, 4)))?;
    Ok(())
}
