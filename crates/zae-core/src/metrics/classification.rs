//! [`Classification`]: precision, recall and F1 of classes.

use super::Metric;
use crate::{error::Fallible, step::Name};

/// How the numbers of all classes become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Average {
    /// The mean over the classes. Those that neither occur nor are predicted are left out.
    Macro,
    /// That of all samples as one: with one class per sample, precision, recall and F1 are the accuracy.
    Micro,
    /// The mean over the classes, each with the number of its samples as weight.
    Weighted,
    /// That of class 1, of two.
    Binary,
}

impl Average {
    fn suffix(self) -> &'static str {
        match self {
            Self::Macro => "_macro",
            Self::Micro => "_micro",
            Self::Weighted => "_weighted",
            Self::Binary => "_binary",
        }
    }
}

/// `accuracy`, `precision`, `recall` and `f1` over all samples, from [`class_counts`], or those that an engine makes of its
/// tensors. As in `scikit-learn` with `zero_division=0`: what has 0 as its denominator is 0. Without any sample all are NaN.
///
/// ```
/// use zae_core::metrics::{Average, Classification};
/// let metric = Classification::new(3).average(Average::Weighted).also(Average::Micro).per_class().class_names(["a", "b", "c"]);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Classification {
    classes: usize,
    average: Average,
    also: Vec<Average>,
    per_class: bool,
    class_names: Vec<String>,
    from_matrix: bool,
}

impl Classification {
    /// Of so many classes, with the macro average.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            average: Average::Macro,
            also: Vec::new(),
            per_class: false,
            class_names: Vec::new(),
            from_matrix: false,
        }
    }

    /// Of a [`confusion_matrix`] in place of [`class_counts`]. The matrix itself is among the
    /// [counts](super::Evaluation::counts) of each epoch and evaluation; for many classes it is large.
    #[must_use]
    pub fn of_confusion_matrix(classes: usize) -> Self {
        Self { from_matrix: true, ..Self::new(classes) }
    }

    /// The average that is called `precision`, `recall` and `f1`.
    #[must_use]
    pub fn average(mut self, average: Average) -> Self {
        self.average = average;
        self
    }

    /// A further average, under its own names: `f1_micro`, ...
    #[must_use]
    pub fn also(mut self, average: Average) -> Self {
        self.also.push(average);
        self
    }

    /// Those of each class too: `precision/0`, `recall/0`, `f1/0`, ... Of a class that neither occurs nor is predicted they
    /// are 0.
    #[must_use]
    pub fn per_class(mut self) -> Self {
        self.per_class = true;
        self
    }

    /// What the classes are called, in place of their numbers.
    #[must_use]
    pub fn class_names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.class_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Of each class: how often it was right, predicted, and there.
    fn counts(&self, all: &[f64]) -> Fallible<Vec<Counts>> {
        let classes = self.classes;
        let (wanted, function) =
            if self.from_matrix { (classes * classes, "confusion_matrix") } else { (3 * classes, "class_counts") };
        if all.len() != wanted || classes == 0 {
            return Err(format!(
                "a classification of {classes} classes is made of the {wanted} numbers of `{function}`, not of {}",
                all.len()
            )
            .into());
        }
        let count = |class: usize| {
            if self.from_matrix {
                let column = (0..classes).map(|row| all[row * classes + class]);
                let row = &all[class * classes..][..classes];
                Counts { hits: row[class], predicted: column.sum(), actual: row.iter().sum() }
            } else {
                Counts { hits: all[class], predicted: all[classes + class], actual: all[2 * classes + class] }
            }
        };
        Ok((0..classes).map(count).collect())
    }

    fn averaged(&self, counts: &[Counts], average: Average) -> Fallible<[f64; 3]> {
        let mean = |weight: fn(&Counts) -> f64| {
            let mut sums = [0.0; 3];
            for own in counts {
                sums.iter_mut().zip(own.scores()).for_each(|(sum, score)| *sum += score * weight(own));
            }
            let weights: f64 = counts.iter().map(weight).sum();
            sums.map(|sum| sum / weights)
        };
        Ok(match average {
            Average::Macro => mean(|own| f64::from(u8::from(own.predicted + own.actual > 0.0))),
            Average::Weighted => mean(|own| own.actual),
            Average::Micro => {
                let sum = |of: fn(&Counts) -> f64| counts.iter().map(of).sum();
                let all = Counts { hits: sum(|c| c.hits), predicted: sum(|c| c.predicted), actual: sum(|c| c.actual) };
                if all.actual > 0.0 { all.scores() } else { [f64::NAN; 3] }
            }
            Average::Binary => match counts {
                [none, some] if none.actual + some.actual > 0.0 => some.scores(),
                [_, _] => [f64::NAN; 3],
                _ => {
                    let classes = self.classes;
                    return Err(
                        format!("`Average::Binary` is for 2 classes, not {classes}: take another average").into()
                    );
                }
            },
        })
    }
}

struct Counts {
    hits: f64,
    predicted: f64,
    actual: f64,
}

impl Counts {
    /// Precision, recall, and F1 = 2 hits / (predicted + actual), their harmonic mean.
    fn scores(&self) -> [f64; 3] {
        let ratio = |a: f64, b: f64| if b == 0.0 { 0.0 } else { a / b };
        let Self { hits, predicted, actual } = *self;
        [ratio(hits, predicted), ratio(hits, actual), ratio(2.0 * hits, predicted + actual)]
    }
}

const NAMES: [&str; 3] = ["precision", "recall", "f1"];

impl Metric for Classification {
    fn finish(&self, all: &[f64]) -> Fallible<Vec<(Name, f64)>> {
        let (names, classes) = (self.class_names.len(), self.classes);
        if names > 0 && names != classes {
            return Err(format!("there are {names} class names for {classes} classes: give one for each").into());
        }
        let counts = self.counts(all)?;
        let sum = |of: fn(&Counts) -> f64| counts.iter().map(of).sum::<f64>();
        let mut named = vec![("accuracy".into(), sum(|own| own.hits) / sum(|own| own.actual))];
        let scores = self.averaged(&counts, self.average)?;
        named.extend(NAMES.map(Name::Borrowed).into_iter().zip(scores));
        for &average in &self.also {
            let scores = self.averaged(&counts, average)?;
            named.extend(NAMES.iter().map(|name| format!("{name}{}", average.suffix()).into()).zip(scores));
        }
        for (class, own) in counts.iter().enumerate().filter(|_| self.per_class) {
            let class = self.class_names.get(class).map_or_else(|| class.to_string(), Clone::clone);
            named.extend(NAMES.iter().map(|name| format!("{name}/{class}").into()).zip(own.scores()));
        }
        Ok(named)
    }
}

/// How often each class was predicted rightly, how often it was predicted, and how often it was there: three times `classes`
/// numbers, those of each sort together.
///
/// ```
/// # use zae_core::metrics::class_counts;
/// assert_eq!(class_counts(&[0, 1, 1], &[0, 0, 1], 2).unwrap(), [1.0, 1.0, 1.0, 2.0, 2.0, 1.0]);
/// ```
///
/// # Errors
/// When there are not as many predictions as targets, or one of them is no class.
pub fn class_counts(predictions: &[usize], targets: &[usize], classes: usize) -> Fallible<Vec<f64>> {
    check(predictions, targets, classes)?;
    let mut counts = vec![0.0; 3 * classes];
    for (&prediction, &target) in predictions.iter().zip(targets) {
        counts[target] += f64::from(u8::from(prediction == target));
        counts[classes + prediction] += 1.0;
        counts[2 * classes + target] += 1.0;
    }
    Ok(counts)
}

/// How often each class was predicted for each: `classes` rows, one of each true class, with a column for each predicted one.
///
/// ```
/// # use zae_core::metrics::confusion_matrix;
/// assert_eq!(confusion_matrix(&[0, 1, 1], &[0, 0, 1], 2).unwrap(), [1.0, 1.0, 0.0, 1.0]);
/// ```
///
/// # Errors
/// As [`class_counts`].
pub fn confusion_matrix(predictions: &[usize], targets: &[usize], classes: usize) -> Fallible<Vec<f64>> {
    check(predictions, targets, classes)?;
    let mut matrix = vec![0.0; classes * classes];
    predictions.iter().zip(targets).for_each(|(prediction, target)| matrix[target * classes + prediction] += 1.0);
    Ok(matrix)
}

fn check(predictions: &[usize], targets: &[usize], classes: usize) -> Fallible {
    let (n, of) = (predictions.len(), targets.len());
    if n != of {
        return Err(format!("there are {n} predictions for {of} targets: give one for each").into());
    }
    match predictions.iter().chain(targets).find(|class| **class >= classes) {
        Some(class) => {
            Err(format!("class {class} is not below {classes}: leave out what has no class, or say there are more")
                .into())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn of_nothing_there_is_no_score() {
        for average in [Average::Macro, Average::Micro, Average::Weighted, Average::Binary] {
            let named = Classification::new(2).average(average).finish(&[0.0; 6]).unwrap();
            assert!(named.iter().all(|(_, value)| value.is_nan()), "{average:?}: {named:?}");
        }
    }
}
