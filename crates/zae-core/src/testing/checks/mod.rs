//! The checks of the suite. Each returns what is wrong; [`conformance`] and [`f16_conformance`] run them.

mod cut;
mod errors;
mod gradients;
mod modes;
mod parity;
mod parts;
mod ranks;
mod scaler;
mod shadow;
mod state;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Fixture;
use crate::error::{Fallible, Panicked};

/// Fails a check unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        // Not `if !condition`: of a comparison with NaN that is another thing to a reader.
        if $condition {
        } else {
            return Err(format!($($message)+).into());
        }
    };
}
use ensure;

/// A check with its name.
type Check<F> = (&'static str, fn(&F) -> Fallible);

fn all<F: Fixture>() -> Vec<Check<F>> {
    vec![
        ("parity: the trainer is the hand-written loop, bit for bit", parity::hand_written),
        ("parity: the seed decides the first weights", parity::first_weights),
        ("modes: dropout in training", modes::dropout_in_training),
        ("modes: no dropout and no gradients in evaluation", modes::evaluation),
        ("modes: nothing lazy holds a graph", modes::lazy_without_graph),
        ("gradients: micro-batches of uneven weight are one batch", gradients::accumulation),
        ("gradients: the trainer scales them, then clips", gradients::scaled_then_clipped),
        ("gradients: a weight of 0 leaves a batch out", gradients::weight_zero),
        ("gradients: clipping by norm", gradients::clip_norm),
        ("gradients: clipping by value", gradients::clip_value),
        ("gradients: an infinite limit only measures", gradients::measure_only),
        ("gradients: an unused parameter is left alone", gradients::unused),
        ("gradients: those of another process make the same step", gradients::of_others),
        ("gradients: a frozen parameter is left alone", gradients::frozen),
        ("gradients: what a visitor writes stays", gradients::visitors),
        ("parts: one is trained alone", parts::alone),
        ("parts: each has its own sum", parts::summed),
        ("parts: one that is not there is refused", parts::unknown),
        ("errors: a loss that does not depend on the model", errors::independent_loss),
        ("errors: no gradients", errors::no_gradients),
        ("errors: no optimizer", errors::no_optimizer),
        ("errors: a panic in a step keeps the model", errors::panic_keeps_model),
        ("state: a snapshot is a copy", state::snapshot_is_a_copy),
        ("state: a snapshot names the model's parameters", state::names),
        ("state: a state that does not fit changes nothing", state::misfit),
        ("state: the layout names what is saved", state::layout),
        ("state: weights without an optimizer", state::weights_only),
        ("averages: a second set of weights, against the formula", shadow::averages),
        ("averages: it is exchanged with the weights and back", shadow::exchanges),
        ("averages: it is saved and loaded", shadow::saved),
        ("cut: at every step, evaluation and epoch", cut::everywhere),
        ("cut: in the middle of a validation", cut::in_validation),
        ("cut: with large tensors", cut::large),
    ]
}

fn f16<F: Fixture>() -> Vec<Check<F>> {
    vec![
        ("scaler: small gradients are kept, and the scale does not show in any", scaler::small_gradients),
        ("scaler: a loss whose gradients vanish without it is trained", scaler::trains_small_losses),
        ("scaler: an overflow skips one step and halves the scale", scaler::overflow),
        ("scaler: skipped steps are counted", scaler::counted),
        ("scaler: a state of another precision starts it anew", scaler::other_precisions),
        ("cut: at every step, evaluation and epoch", cut::everywhere),
        ("cut: in the middle of a validation", cut::in_validation),
    ]
}

/// Runs every check on an engine.
///
/// # Panics
/// With the names and reasons of all checks that fail.
pub fn conformance<F: Fixture>(fixture: &F) {
    run(&all(), fixture);
}

/// Runs the checks of [`GradScaler`](crate::scaler::GradScaler) on an engine that has `Precision::F16`: on a fixture whose
/// learners compute in it.
///
/// # Panics
/// With the names and reasons of all checks that fail.
pub fn f16_conformance<F: Fixture>(fixture: &F) {
    run(&f16(), fixture);
}

/// Runs the checks of data-parallel training on an engine: two threads are the ranks, with a fixture each.
///
/// # Panics
/// With the names and reasons of all checks that fail.
pub fn ranks_conformance<F: Fixture>(make: impl Fn() -> F + Sync) {
    let failures = [
        failure("ranks: two end with the bits of one process", || ranks::exact(&make)),
        failure("ranks: with batch norm they stay together", || ranks::together(&make)),
        failure("ranks: averages of weights are the same on all", || ranks::averages(&make)),
    ];
    report(&failures.into_iter().flatten().collect::<Vec<_>>());
}

fn run<F: Fixture>(checks: &[Check<F>], fixture: &F) {
    report(&checks.iter().filter_map(|(name, check)| failure(name, || check(fixture))).collect::<Vec<_>>());
}

fn failure(name: &str, check: impl FnOnce() -> Fallible) -> Option<String> {
    let result = catch_unwind(AssertUnwindSafe(check));
    let error = result.unwrap_or_else(|payload| Err(Panicked::new(&*payload).into())).err()?;
    Some(format!("{name}: {error}"))
}

#[allow(clippy::panic)]
fn report(failures: &[String]) {
    assert!(failures.is_empty(), "{} checks fail:\n{}", failures.len(), failures.join("\n"));
}
