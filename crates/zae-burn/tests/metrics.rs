//! Counts on the device are those on the host, which are held against scikit-learn in zae-core.
#![allow(clippy::unwrap_used)]

mod common;

use burn::{
    prelude::*,
    tensor::{FloatDType, IntDType},
};
use common::{learner, sgd};
use zae_burn::metrics;
use zae_core::{
    learner::{Learner, Readout},
    metrics::{Auroc, Metric, Regression, class_counts, confusion_matrix, regression_sums, scored, top_k_correct},
    rng::{Pcg64Mcg, Rng},
    task::Mode,
};

const ROWS: usize = 203;
const CLASSES: usize = 7;

/// Logits with many ties, and targets of which some are no class, and none is class 3.
fn data() -> (Vec<f32>, Vec<i64>) {
    let mut rng = Pcg64Mcg::new(5);
    let logits = (0..ROWS * CLASSES).map(|_| (rng.next_u32() % 9) as f32 / 4.0 - 1.0).collect();
    let targets = (0..ROWS).map(|_| match rng.next_u32() % 9 {
        3 => 0,
        7 => -100,
        8 => CLASSES as i64,
        class => i64::from(class),
    });
    (logits, targets.collect())
}

/// The rows whose target is a class, for the functions on the host.
fn classes(logits: &[f32], targets: &[i64]) -> (Vec<f32>, Vec<usize>, Vec<usize>) {
    let rows = logits.chunks(CLASSES).zip(targets).filter(|(_, target)| (0..CLASSES as i64).contains(*target));
    let (rows, targets): (Vec<_>, Vec<_>) = rows.map(|(row, target)| (row, *target as usize)).unzip();
    let largest = |row: &&[f32]| (0..CLASSES).rev().max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    (rows.concat(), rows.iter().map(largest).collect(), targets)
}

/// Where tensors have gradients, which metrics must not.
fn device() -> Device {
    learner(sgd()).device(Mode::Train)
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &device()).require_grad()
}

fn ids(values: &[i64]) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &device())
}

/// As the trainer reads it.
fn read(lazy: Tensor<1>) -> Vec<f64> {
    let learner = learner(sgd());
    let mut out = Readout::default();
    learner.read(&[learner.detach(lazy)], &mut out).unwrap();
    out.get(0).to_vec()
}

#[test]
fn classes_are_counted_as_on_the_host() {
    let (logits, targets) = data();
    let (rows, guesses, known) = classes(&logits, &targets);
    let x = tensor(&logits, [ROWS, CLASSES]);
    for kind in [IntDType::I64, IntDType::I32] {
        let (x, y) = (x.clone(), ids(&targets).cast(kind));
        let counts = class_counts(&guesses, &known, CLASSES).unwrap();
        assert_eq!(read(metrics::class_counts(x.clone(), y.clone())), counts);
        let matrix = confusion_matrix(&guesses, &known, CLASSES).unwrap();
        assert_eq!(read(metrics::confusion_matrix(x.clone(), y.clone())), matrix);
        let hits = guesses.iter().zip(&known).filter(|(a, b)| a == b).count() as f64;
        assert_eq!(read(metrics::correct(x.clone(), y.clone())), [hits]);
        for k in [1, 2, 5, CLASSES, CLASSES + 3] {
            let expected = top_k_correct(&rows, &known, k).unwrap();
            assert_eq!(read(metrics::top_k_correct(x.clone(), y.clone(), k)), [expected], "{k}");
        }
        assert_eq!(read(metrics::top_k_correct(x, y, 1)), [hits], "the first of equal ones is that of `accuracy`");
    }
}

/// In 16 bits, counts above 2048 (f16) or 256 (bf16) would not be exact.
#[test]
fn counts_are_exact_in_half_precision() {
    let n = 5001;
    let logits: Vec<f32> = (0..n).flat_map(|_| [0.0, 1.0]).collect();
    for kind in [FloatDType::F16, FloatDType::BF16] {
        let (x, y) = (tensor(&logits, [n, 2]).cast(kind), ids(&vec![1; n]));
        assert_eq!(read(metrics::correct(x.clone(), y.clone())), [n as f64]);
        assert_eq!(read(metrics::top_k_correct(x.clone(), y.clone(), 1)), [n as f64]);
        assert_eq!(read(metrics::class_counts(x.clone(), y.clone())), [0, n, 0, n, 0, n].map(|count| count as f64));
        assert_eq!(read(metrics::confusion_matrix(x.clone(), y.clone())), [0.0, 0.0, 0.0, n as f64]);
        let first = x.slice([0..n, 0..1]);
        assert_eq!(read(metrics::regression_sums(first.clone(), first.clone()))[0], n as f64);
        assert_eq!(read(metrics::scored(first, ids(&vec![777; n])))[1], 777.0);
    }
}

#[test]
fn a_score_that_is_no_number_is_not_right() {
    let x = tensor(&[f32::NAN, 1.0, 0.0, f32::NAN, 1.0, 0.0], [2, 3]);
    assert_eq!(read(metrics::top_k_correct(x.clone(), ids(&[0, 1]), 1)), [0.0]);
    assert_eq!(read(metrics::top_k_correct(x, ids(&[0, 1]), 2)), [1.0]);
}

fn finished(metric: &impl Metric, batches: &[Vec<f64>]) -> Vec<f64> {
    let mut all = Vec::new();
    batches.iter().for_each(|batch| metric.merge(&mut all, batch).unwrap());
    metric.finish(&all).unwrap().into_iter().map(|(_, value)| value).collect()
}

#[test]
fn areas_are_those_of_the_host() {
    let (logits, targets) = data();
    let (rows, _, known) = classes(&logits, &targets);
    let cut = 50;
    let part = |from: usize, to: usize| {
        let x = tensor(&logits[from * CLASSES..to * CLASSES], [to - from, CLASSES]);
        read(metrics::scored(x, ids(&targets[from..to])))
    };
    let metric = Auroc::multiclass(CLASSES);
    // Class 3 is never there: its area is none. So that of the first three.
    let few = |all: &[f64]| -> Vec<f64> {
        let rows = all.chunks(CLASSES + 1).filter(|row| row[CLASSES] < 3.0);
        rows.flat_map(|row| row[..3].iter().chain([&row[CLASSES]]).copied()).collect()
    };
    let (device, host) = ([part(0, cut), part(cut, ROWS)], scored(&rows, &known).unwrap());
    assert!(finished(&metric, &device)[0].is_nan());
    let expected = finished(&Auroc::multiclass(3), &[few(&host)]);
    assert_eq!(finished(&Auroc::multiclass(3), &device.map(|part| few(&part))), expected);
    assert!((0.4..0.6).contains(&expected[0]), "{expected:?}");
}

#[test]
fn regressions_are_those_of_the_host_where_the_mean_is_large() {
    let mut rng = Pcg64Mcg::new(9);
    let mut draw = |spread: f32| spread * (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32;
    let targets: Vec<f32> = (0..ROWS).flat_map(|_| [1000.0 + draw(1.0), draw(10.0) - 5.0]).collect();
    let predictions: Vec<f32> = targets.iter().map(|target| target + draw(0.5)).collect();
    let batch = |from: usize, to: usize| {
        let of = |all: &[f32]| tensor(&all[2 * from..2 * to], [to - from, 2]);
        read(metrics::regression_sums(of(&predictions), of(&targets)))
    };
    let found = finished(&Regression, &[batch(0, 1), batch(1, 90), batch(90, ROWS)]);
    let expected = finished(&Regression, &[regression_sums(&predictions, &targets, 2).unwrap()]);
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-6 * expected.abs(), "{found} and {expected}");
    }
    let constant = tensor(&[0.1; 6], [6, 1]);
    let sums = read(metrics::regression_sums(constant.clone() + 0.25, constant));
    assert_eq!(finished(&Regression, &[sums])[3], 0.0, "of targets that are all the same");
}
