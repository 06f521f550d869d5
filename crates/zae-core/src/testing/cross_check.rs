//! [`cross_check`]: the same training on two engines.

use std::fmt;

use super::{
    Architecture, Fixture,
    run::{batches, forward_backward},
    torch_words::{carried, difference, relative},
};
use crate::{
    engine::Engine,
    error::Fallible,
    learner::{Layout, Learner, Number, Readout, StateDict, Update},
    rng::{init_seed, seed_for},
};

const SEED: u64 = 11;
const LR: f64 = 0.01;

/// What a step of the same training was on each of two engines.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct CrossStep {
    /// From 1.
    pub step: usize,
    /// The loss on the first engine and on the second, before the update.
    pub losses: [f64; 2],
    /// |first - second| / |first|; infinite if one of them is no number.
    pub loss: f64,
    /// After the update, the largest max |first - second| / max |first| of all tensors of the model.
    pub weights: f64,
}

/// The same training on two engines, step by step. Its text is a table.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct CrossCheck {
    /// What the engines call themselves.
    pub engines: [String; 2],
    /// The steps.
    pub steps: Vec<CrossStep>,
}

impl CrossCheck {
    /// The largest relative difference of the loss.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.steps.iter().map(|step| step.loss).fold(0.0, f64::max)
    }

    /// The largest relative difference of the weights.
    #[must_use]
    pub fn weights(&self) -> f64 {
        self.steps.iter().map(|step| step.weights).fold(0.0, f64::max)
    }
}

impl fmt::Display for CrossCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = &self.engines;
        write!(f, "{:>5} {:>14} {:>14} {:>9} {:>9}", "step", first, second, "relative", "weights")?;
        for CrossStep { step, losses: [first, second], loss, weights } in &self.steps {
            write!(f, "\n{step:>5} {first:>14.8} {second:>14.8} {loss:>9.1e} {weights:>9.1e}")?;
        }
        Ok(())
    }
}

/// Trains the same network on two engines: `steps` batches of the same samples, the second engine beginning with the weights
/// that the first has drawn, brought over by what both layouts call them in PyTorch. Optimizers with the same settings are
/// the fixtures' affair: PyTorch's AdamW (`eps` 1e-8, `weight_decay` 1e-2) is a good choice.
///
/// The first losses differ by rounding alone. Later ones, and weights, differ by what the training makes of that: AdamW
/// divides small gradients by their own size.
///
/// # Errors
/// When an engine fails, when the models differ in names, shapes or sizes, when both say what their optimizers' settings
/// are and these differ, or when the architecture has dropout, which every engine draws in its own way.
pub fn cross_check<A: Fixture, B: Fixture>(
    a: &A,
    b: &B,
    architecture: Architecture,
    steps: usize,
) -> Fallible<CrossCheck> {
    if matches!(architecture, Architecture::Full | Architecture::Large) {
        return Err(format!("{architecture:?} has dropout, which engines draw differently: compare `Plain`").into());
    }
    let sizes = [a.sizes(architecture), b.sizes(architecture)];
    if sizes[0] != sizes[1] {
        return Err(format!("the networks are {:?} and {:?}", sizes[0], sizes[1]).into());
    }
    let (mut first, mut second) = (a.learner(architecture), b.learner(architecture));
    let engines = [first.name().to_owned(), second.name().to_owned()];
    first.init(init_seed(SEED))?;
    second.init(init_seed(SEED))?;
    same_optimizer(&*first.layout()?, &*second.layout()?)?;
    let weights = carried(&first.snapshot()?, &second.snapshot()?)?;
    second.load(&weights)?;
    let data = batches(a, architecture, steps, 1).into_iter().zip(batches(b, architecture, steps, 1));
    let mut compared = Vec::with_capacity(steps);
    for (i, (batch_a, batch_b)) in data.enumerate() {
        let (loss_a, state_a) = step(a, &mut first, batch_a, i)?;
        let (loss_b, state_b) = step(b, &mut second, batch_b, i)?;
        let weights = difference(&state_a, &state_b)?;
        let loss = relative(loss_a - loss_b, loss_a);
        compared.push(CrossStep { step: i + 1, losses: [loss_a, loss_b], loss, weights });
    }
    Ok(CrossCheck { engines, steps: compared })
}

/// The loss of a step, and the learner after it.
fn step<F: Fixture>(fixture: &F, learner: &mut F::Learner, batch: F::Batch, i: usize) -> Fallible<(f64, StateDict)> {
    learner.seed(seed_for(SEED, 0, i as u64));
    let loss = forward_backward(fixture, learner, batch, 1.0, true)?;
    let mut out = Readout::default();
    learner.read(&[loss], &mut out)?;
    learner.step(&Update::new(LR))?;
    Ok((out.get(0).first().copied().ok_or("nothing was read")?, learner.snapshot()?))
}

/// Other settings would look like a difference of the engines.
fn same_optimizer(a: &Layout, b: &Layout) -> Fallible {
    let (Some(a), Some(b)) = (&a.optimizer, &b.optimizer) else { return Ok(()) };
    if a.class != b.class {
        return Err(format!("the optimizers are {} and {}", a.class, b.class).into());
    }
    for (name, first, second) in a
        .groups
        .iter()
        .zip(&b.groups)
        .flat_map(|(a, b)| a.iter().filter_map(|(name, first)| Some((name, first, b.get(name)?))))
    {
        // An engine may keep its settings in f32.
        let near = |(a, b): (&Number, &Number)| match (a, b) {
            (Number::Float(a), Number::Float(b)) => relative(a - b, *a) < 1e-6,
            _ => a == b,
        };
        if first.len() != second.len() || !first.iter().zip(second).all(near) {
            return Err(format!("the optimizers' `{name}` is {first:?} and {second:?}: give both the same").into());
        }
    }
    Ok(())
}
