//! Metrics computed on the device.
//!
//! All are lazy: nothing is read from the device, and nothing is recorded. Those that count give what
//! [`Step::count`](zae_core::step::Step::count) and [`Step::ratio`](zae_core::step::Step::ratio) take. A target that is no class
//! (-100 for a token that does not count) is left out of them. Logits have the classes in their last dimension, targets the
//! shape of the others.

use tch::{Kind, TchError, Tensor};

/// The fraction of rows whose largest logit (of the last dimension) is at the target's index. Lazy: nothing is read from
/// the device, and nothing is recorded.
///
/// # Errors
/// When the shapes do not fit each other.
pub fn accuracy(logits: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
    let _no_grad = tch::no_grad_guard();
    guesses(logits, targets)?.f_eq_tensor(targets)?.f_to_kind(Kind::Float)?.f_mean(Kind::Float)
}

/// How many rows have their largest logit at the target's index: over an epoch, `.ratio("accuracy", correct(&logits, &y)?, rows)`
/// has no rounding but that of its one division.
///
/// # Errors
/// As [`accuracy`].
pub fn correct(logits: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
    let _no_grad = tch::no_grad_guard();
    guesses(logits, targets)?.f_eq_tensor(targets)?.f_sum(Kind::Int64)
}

/// How many rows have their target among the `k` largest logits, for [`Step::ratio`](zae_core::step::Step::ratio). Of equal
/// logits the first class comes first; a NaN comes before every number, and never is right.
///
/// # Errors
/// As [`accuracy`].
pub fn top_k_correct(logits: &Tensor, targets: &Tensor, k: usize) -> Result<Tensor, TchError> {
    let _no_grad = tch::no_grad_guard();
    let classes = classes_of(logits, targets)?;
    let logits = logits.f_reshape([-1, classes])?;
    let targets = targets.f_reshape([-1, 1])?.f_to_kind(Kind::Int64)?;
    let is_class = is_class(&targets, classes)?;
    let targets = targets.f_clamp(0, classes - 1)?;
    let own = logits.f_gather(1, &targets, false)?;
    let later = Tensor::f_arange(classes, (Kind::Int64, logits.device()))?.f_ge_tensor(&targets)?;
    let behind = logits.f_lt_tensor(&own)?.f_logical_or(&logits.f_eq_tensor(&own)?.f_logical_and(&later)?)?;
    let behind = behind.f_sum_dim_intlist([1i64].as_slice(), true, Kind::Int64)?;
    // Fewer than k are not behind it.
    let first = i64::try_from(k).unwrap_or(i64::MAX);
    behind.f_gt(classes.saturating_sub(first))?.f_logical_and(&is_class)?.f_sum(Kind::Int64)
}

/// What [`Classification`](zae_core::metrics::Classification) is made of, from logits: the guess of a row is its largest one.
///
/// # Errors
/// As [`accuracy`].
pub fn class_counts(logits: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
    let _no_grad = tch::no_grad_guard();
    class_counts_of(&guesses(logits, targets)?, targets, classes_of(logits, targets)?)
}

/// The same from guesses made in another way, of the targets' shape.
///
/// # Errors
/// As [`accuracy`].
pub fn class_counts_of(guesses: &Tensor, targets: &Tensor, classes: i64) -> Result<Tensor, TchError> {
    let _no_grad = tch::no_grad_guard();
    let (guesses, targets) = pair(guesses, targets)?;
    let counts = is_class(&targets, classes)?;
    let is_right = guesses.f_eq_tensor(&targets)?.f_logical_and(&counts)?;
    let guessed = is_class(&guesses, classes)?.f_logical_and(&counts)?;
    let all =
        [tally(&targets, &is_right, classes)?, tally(&guesses, &guessed, classes)?, tally(&targets, &counts, classes)?];
    Tensor::f_cat(&all, 0)
}

/// How often each class was guessed for each, from logits: a row for each true class, flat. See
/// [`Classification::of_confusion_matrix`](zae_core::metrics::Classification::of_confusion_matrix).
///
/// # Errors
/// As [`accuracy`].
pub fn confusion_matrix(logits: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
    let _no_grad = tch::no_grad_guard();
    let classes = classes_of(logits, targets)?;
    let (guesses, targets) = pair(&guesses(logits, targets)?, targets)?;
    let cells = targets.f_mul_scalar(classes)?.f_add(&guesses)?;
    tally(&cells, &is_class(&targets, classes)?, classes * classes)
}

/// What [`Regression`](zae_core::metrics::Regression) is made of: rows of one output, or with a column for each.
///
/// Sums are in the type of the tensors, f32 at least: a few of its 7 digits are what `r2` has.
///
/// # Errors
/// When the shapes differ, or there is no row.
pub fn regression_sums(predictions: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
    let _no_grad = tch::no_grad_guard();
    let (size, of) = (predictions.size(), targets.size());
    let rows = match *of {
        [rows, ..] if rows > 0 && size == of => rows,
        _ => {
            return Err(TchError::Shape(format!(
                "predictions of shape {size:?} for targets of shape {of:?}: give rows of both"
            )));
        }
    };
    let rows_of = |all: &Tensor| wide(all)?.f_reshape([rows, -1]);
    let (predictions, targets) = (rows_of(predictions)?, rows_of(targets)?);
    let first = targets.f_narrow(0, 0, 1)?;
    // Of targets that are all the same, this is the very same.
    let near = targets.f_sub(&first)?.f_mean_dim([0i64].as_slice(), true, None::<Kind>)?.f_add(&first)?;
    let differences = targets.f_sub(&near)?;
    let errors = predictions.f_sub(&targets)?;
    let sum = |all: &Tensor| all.f_sum_dim_intlist([0i64].as_slice(), true, None::<Kind>);
    let all = [
        near.f_full_like(rows as f64)?,
        near,
        sum(&differences)?,
        sum(&differences.f_square()?)?,
        sum(&errors.f_square()?)?,
        sum(&errors.f_abs()?)?,
    ];
    Tensor::f_cat(&all, 0)?.f_transpose(0, 1)?.f_reshape([-1])
}

/// What [`Auroc`](zae_core::metrics::Auroc) is made of: a score for each class in the last dimension, or scores of the targets'
/// shape, those of class 1 of two.
///
/// # Errors
/// As [`accuracy`].
pub fn scored(scores: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
    let _no_grad = tch::no_grad_guard();
    let width = if scores.size() == targets.size() { 1 } else { classes_of(scores, targets)? };
    let scores = wide(scores)?.f_reshape([-1, width])?;
    let targets = targets.f_to_kind(scores.kind())?.f_reshape([-1, 1])?;
    Tensor::f_cat(&[scores, targets], 1)?.f_reshape([-1])
}

/// The largest of each row.
fn guesses(logits: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
    classes_of(logits, targets)?;
    logits.f_argmax(-1, false)
}

/// The size of the last dimension. The others have to be the targets': they would be broadcast.
fn classes_of(logits: &Tensor, targets: &Tensor) -> Result<i64, TchError> {
    let (size, of_targets) = (logits.size(), targets.size());
    match &*size {
        [rows @ .., classes] if *rows == *of_targets => Ok(*classes),
        [rows @ .., _] => {
            let shapes = format!("targets of shape {of_targets:?} for logits of shape {size:?}: {rows:?} fits");
            Err(TchError::Shape(shapes))
        }
        [] => Err(TchError::Shape("logits without a dimension: the last is that of the classes".to_owned())),
    }
}

/// Classes in a row each, of one type.
fn pair(guesses: &Tensor, targets: &Tensor) -> Result<(Tensor, Tensor), TchError> {
    let (size, of) = (guesses.size(), targets.size());
    if size != of {
        return Err(TchError::Shape(format!("targets of shape {of:?} for guesses of shape {size:?}: {size:?} fits")));
    }
    let flat = |all: &Tensor| all.f_reshape([-1])?.f_to_kind(Kind::Int64);
    Ok((flat(guesses)?, flat(targets)?))
}

fn is_class(ids: &Tensor, classes: i64) -> Result<Tensor, TchError> {
    ids.f_ge(0)?.f_logical_and(&ids.f_lt(classes)?)
}

/// How often each number below `bins` is there, where it `counts`.
fn tally(numbers: &Tensor, counts: &Tensor, bins: i64) -> Result<Tensor, TchError> {
    // What does not count goes to a bin of its own. (`bincount` would wait for the device.)
    let numbers = numbers.f_where_scalarother(counts, bins)?;
    let all = Tensor::f_zeros([bins + 1], (Kind::Int64, numbers.device()))?;
    all.f_index_add(0, &numbers, &numbers.f_ones_like()?)?.f_narrow(0, 0, bins)
}

/// At least f32.
fn wide(numbers: &Tensor) -> Result<Tensor, TchError> {
    if numbers.kind() == Kind::Double { Ok(numbers.shallow_clone()) } else { numbers.f_to_kind(Kind::Float) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn targets_of_another_shape_are_refused() {
        let logits = Tensor::zeros([4, 3], tch::kind::FLOAT_CPU);
        assert!(accuracy(&logits, &Tensor::zeros([4], tch::kind::INT64_CPU)).is_ok());
        let error = accuracy(&logits, &Tensor::zeros([4, 1], tch::kind::INT64_CPU)).unwrap_err().to_string();
        assert!(error.contains("[4, 1]") && error.contains("[4, 3]"), "{error}");
    }

    fn numbers(tensor: &Tensor) -> Vec<f64> {
        Vec::try_from(tensor.to_kind(Kind::Double).reshape([-1])).unwrap()
    }

    #[test]
    fn counts_are_those_of_the_host() {
        use zae_core::metrics as host;
        // The guesses: 1, 0, 2, 2, 0. Of equal logits the first is taken.
        let logits = [0.1f32, 0.9, 0.0, 0.5, 0.5, 0.0, 0.0, 0.1, 0.2, -1.0, -2.0, 3.0, 0.7, 0.2, 0.1];
        let known = [0, 2, 3, 4];
        let guesses: Vec<usize> = known.iter().map(|row| [1, 0, 2, 2, 0][*row]).collect();
        let targets = [1usize, 2, 2, 1];
        let scores: Vec<f32> = known.iter().flat_map(|row| logits[3 * row..3 * row + 3].to_vec()).collect();
        let x = Tensor::from_slice(&logits).reshape([5, 3]);
        let y = Tensor::from_slice(&[1i64, -100, 2, 2, 1]);
        assert_eq!(numbers(&class_counts(&x, &y).unwrap()), host::class_counts(&guesses, &targets, 3).unwrap());
        assert_eq!(numbers(&confusion_matrix(&x, &y).unwrap()), host::confusion_matrix(&guesses, &targets, 3).unwrap());
        assert_eq!(numbers(&correct(&x, &y).unwrap()), [3.0]);
        for k in [1, 2, 3, 9] {
            let expected = host::top_k_correct(&scores, &targets, k).unwrap();
            assert_eq!(numbers(&top_k_correct(&x, &y, k).unwrap()), [expected], "{k}");
        }
        let tie = Tensor::from_slice(&[0.5f32, 0.5]).reshape([1, 2]);
        let right = |class: i64| numbers(&top_k_correct(&tie, &Tensor::from_slice(&[class]), 1).unwrap());
        assert_eq!([right(0), right(1)], [[1.0], [0.0]]);
        let all = numbers(&scored(&x, &y).unwrap());
        assert_eq!((all.len(), all[3], all[7]), (20, 1.0, -100.0));
        let one = numbers(&scored(&x.select(1, 0), &y).unwrap());
        assert_eq!((one.len(), one[1]), (10, 1.0));
    }

    #[test]
    fn regressions_are_those_of_the_host() {
        use zae_core::metrics::{Metric, Regression, regression_sums as host};
        let targets = [1000.5f32, -1.0, 1000.0, 2.5, 1001.25, 0.0];
        let predictions = [1000.0f32, -1.5, 1000.25, 2.0, 1002.0, 0.25];
        let finish = |sums: &[f64]| {
            let mut all = Vec::new();
            Regression.merge(&mut all, sums).unwrap();
            Regression.finish(&all).unwrap()
        };
        let rows = |all: &[f32]| Tensor::from_slice(all).reshape([3, 2]);
        let found = finish(&numbers(&regression_sums(&rows(&predictions), &rows(&targets)).unwrap()));
        let expected = finish(&host(&predictions, &targets, 2).unwrap());
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-6 * expected.abs(), "{name}: {found} and {expected}");
        }
        let error = regression_sums(&rows(&predictions), &Tensor::from_slice(&targets)).unwrap_err().to_string();
        assert!(error.contains("[3, 2]") && error.contains("[6]"), "{error}");
    }
}
