//! Metrics computed on the device.
//!
//! All are lazy: nothing is read from the device. Those that count give what [`Step::count`](zae_core::step::Step::count) and
//! [`Step::ratio`](zae_core::step::Step::ratio) take, in f32, where a batch's counts are exact up to 2^24. A target that is no
//! class (-100 for a token that does not count) is left out of them.

use burn::{
    prelude::*,
    tensor::{DType, FloatDType, IntDType},
};

/// The fraction of rows whose largest logit is at the target's index. Lazy: nothing is read from the device.
#[must_use]
pub fn accuracy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    hits(logits, targets).float().mean()
}

/// How many rows have their largest logit at the target's index: over an epoch, `.ratio("accuracy", correct(logits, y), rows)`
/// has no rounding but that of its one division.
#[must_use]
pub fn correct(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    hits(logits, targets).cast(FloatDType::F32).sum()
}

/// How many rows have their target among the `k` largest logits, for
/// [`Step::ratio`](zae_core::step::Step::ratio). Of equal logits the first class comes first; a NaN comes before every number,
/// and never is right.
#[must_use]
pub fn top_k_correct(logits: Tensor<2>, targets: Tensor<1, Int>, k: usize) -> Tensor<1> {
    let (logits, targets) = (logits.inner(), ids(targets));
    let [rows, classes] = logits.dims();
    let targets = targets.unsqueeze_dim::<2>(1);
    let is_class = targets.clone().greater_equal_elem(0).bool_and(targets.clone().lower_elem(classes as i64));
    let targets = targets.clamp(0, classes as i64 - 1);
    let own = logits.clone().gather(1, targets.clone()).expand([rows, classes]);
    let later =
        all_classes(classes, &targets.device()).expand([rows, classes]).greater_equal(targets.expand([rows, classes]));
    let behind = logits.clone().lower(own.clone()).bool_or(logits.equal(own).bool_and(later));
    let behind = behind.cast(FloatDType::F32).sum_dim(1);
    // Fewer than k are not behind it.
    let is_right = behind.greater_elem(classes as f32 - k as f32).bool_and(is_class);
    is_right.cast(FloatDType::F32).sum()
}

/// What [`Classification`](zae_core::metrics::Classification) is made of, from logits: the guess of a row is its largest one.
#[must_use]
pub fn class_counts(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let classes = logits.dims()[1];
    class_counts_of(guesses(logits), targets, classes)
}

/// The same from guesses made in another way.
#[must_use]
pub fn class_counts_of(guesses: Tensor<1, Int>, targets: Tensor<1, Int>, classes: usize) -> Tensor<1> {
    let targets = one_hot(targets, classes);
    let guesses = one_hot(guesses, classes) * targets.clone().sum_dim(1);
    let hits = targets.clone() * guesses.clone();
    Tensor::cat(vec![hits.sum_dim(0), guesses.sum_dim(0), targets.sum_dim(0)], 1).flatten(0, 1)
}

/// How often each class was guessed for each, from logits: a row for each true class, flat. See
/// [`Classification::of_confusion_matrix`](zae_core::metrics::Classification::of_confusion_matrix).
#[must_use]
pub fn confusion_matrix(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let classes = logits.dims()[1];
    one_hot(targets, classes).transpose().matmul(one_hot(guesses(logits), classes)).flatten(0, 1)
}

/// What [`Regression`](zae_core::metrics::Regression) is made of: rows with a column for each output.
///
/// Sums are in the type of the tensors, f32 at least: a few of its 7 digits are what `r2` has.
#[must_use]
pub fn regression_sums(predictions: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let (predictions, targets) = (wide(predictions), wide(targets));
    let [rows, outputs] = targets.dims();
    let first = targets.clone().slice([0..1, 0..outputs]);
    // Of targets that are all the same, this is the very same.
    let near = first.clone() + (targets.clone() - first).mean_dim(0);
    let differences = targets.clone() - near.clone();
    let errors = predictions - targets;
    let all = vec![
        near.full_like(rows as f64),
        near,
        differences.clone().sum_dim(0),
        (differences.clone() * differences).sum_dim(0),
        (errors.clone() * errors.clone()).sum_dim(0),
        errors.abs().sum_dim(0),
    ];
    Tensor::cat(all, 0).transpose().flatten(0, 1)
}

/// What [`Auroc`](zae_core::metrics::Auroc) is made of: rows with a score for each class, or one score, that of class 1 of two.
#[must_use]
pub fn scored(scores: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let scores = wide(scores);
    let kind = if scores.dtype() == DType::F64 { FloatDType::F64 } else { FloatDType::F32 };
    let targets = targets.inner().cast(kind).unsqueeze_dim::<2>(1);
    Tensor::cat(vec![scores, targets], 1).flatten(0, 1)
}

fn guesses(logits: Tensor<2>) -> Tensor<1, Int> {
    logits.inner().argmax(1).flatten(0, 1)
}

fn hits(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1, Bool> {
    let (guesses, targets) = (guesses(logits), targets.inner());
    // Burn compares no two types.
    let kind = IntDType::from(guesses.dtype());
    guesses.equal(targets.cast(kind))
}

/// In one type, whatever that of the data set is.
fn ids(ids: Tensor<1, Int>) -> Tensor<1, Int> {
    ids.inner().cast(IntDType::I32)
}

fn all_classes(classes: usize, device: &Device) -> Tensor<2, Int> {
    Tensor::<1, Int>::arange(0..classes as i64, device).cast(IntDType::I32).unsqueeze_dim(0)
}

/// A row with a 1 at its class for each; of zeros for what is no class.
fn one_hot(of: Tensor<1, Int>, classes: usize) -> Tensor<2> {
    let of = ids(of);
    let rows = of.dims()[0];
    let all = all_classes(classes, &of.device()).expand([rows, classes]);
    of.unsqueeze_dim::<2>(1).expand([rows, classes]).equal(all).cast(FloatDType::F32)
}

/// Without gradients, and at least f32.
fn wide(numbers: Tensor<2>) -> Tensor<2> {
    let numbers = numbers.inner();
    if numbers.dtype() == DType::F64 { numbers } else { numbers.cast(FloatDType::F32) }
}
