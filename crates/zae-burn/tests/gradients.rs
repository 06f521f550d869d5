//! Accumulation, clipping, and lending gradients and parameters.
#![allow(clippy::unwrap_used, clippy::unit_arg)]

mod common;

use burn::{optim::AdamWConfig, tensor::FloatDType};
use common::{Net, backward, bytes, device, evaluate, gradients, learner, parameters, sgd, step};
use zae_burn::BurnLearner;
use zae_core::{
    engine::Engine,
    learner::{Clip, Learner, Readout},
};

type Lent = Vec<(String, Vec<f32>)>;

fn norm(all: &Lent) -> f64 {
    all.iter().flat_map(|(_, values)| values).map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

/// Gradients of batch 1 after clipping, and the norm that was returned.
fn clipped(learner: &mut BurnLearner<Net>, scale: f64, clip: Clip) -> (Lent, Option<f64>) {
    learner.zero_grad();
    backward(learner, 1, 1.0);
    let norm = learner.clip(scale, &clip).unwrap();
    let norm = norm.map(|norm| {
        let mut out = Readout::default();
        learner.read(&[norm], &mut out).unwrap();
        out.get(0)[0]
    });
    (gradients(learner), norm)
}

#[test]
fn gradients_are_summed_in_the_order_of_the_micro_batches() {
    let mut learner = learner(sgd());
    let mut one = |number, weight| {
        learner.zero_grad();
        backward(&mut learner, number, weight);
        gradients(&mut learner)
    };
    let parts = [one(1, 1.0), one(2, 0.5), one(3, 2.0)];
    learner.zero_grad();
    for (number, weight) in [(1, 1.0), (2, 0.5), (3, 2.0)] {
        backward(&mut learner, number, weight);
    }
    for (i, (name, sum)) in gradients(&mut learner).into_iter().enumerate() {
        for (j, v) in sum.iter().enumerate() {
            let expected = (parts[0][i].1[j] + parts[1][i].1[j]) + parts[2][i].1[j];
            assert_eq!(*v, expected, "{name}");
        }
    }
}

#[test]
fn clipping_follows_its_formula() {
    let mut learner = learner(sgd());
    let (raw, none) = clipped(&mut learner, 1.0, Clip::None);
    assert_eq!(none, None);
    let n = norm(&raw);
    let near = |a: &Lent, factor: f64| {
        for ((name, a), (_, b)) in a.iter().zip(&raw) {
            for (a, b) in a.iter().zip(b) {
                assert!((f64::from(*a) - factor * f64::from(*b)).abs() < 1e-6, "{name}: {a} {b} {factor}");
            }
        }
    };
    // Only measuring, or a limit that is not reached, changes no bit.
    for limit in [f64::INFINITY, 2.0 * n] {
        let (same, measured) = clipped(&mut learner, 1.0, Clip::Norm(limit));
        assert_eq!(same, raw);
        assert!((measured.unwrap() - n).abs() < 1e-6 * n);
    }
    let (half, before) = clipped(&mut learner, 1.0, Clip::Norm(n / 2.0));
    near(&half, n / 2.0 / (n + 1e-6));
    assert!((before.unwrap() - n).abs() < 1e-6 * n, "the norm before clipping");
    let (scaled, after_scale) = clipped(&mut learner, 0.25, Clip::Norm(n));
    near(&scaled, 0.25);
    assert!((after_scale.unwrap() - n / 4.0).abs() < 1e-6 * n, "the norm after scaling");
    near(&clipped(&mut learner, 4.0, Clip::Norm(n)).0, n / (4.0 * n + 1e-6) * 4.0);
    near(&clipped(&mut learner, 3.0, Clip::None).0, 3.0);

    let limit = 0.02;
    let (values, none) = clipped(&mut learner, 2.0, Clip::Value(limit));
    assert_eq!(none, None);
    for ((name, v), (_, raw)) in values.iter().zip(&raw) {
        for (v, raw) in v.iter().zip(raw) {
            assert_eq!(*v, (2.0 * raw).clamp(-limit as f32, limit as f32), "{name}");
        }
    }
}

#[test]
fn a_norm_that_is_not_finite_is_reported_and_changes_nothing() {
    let mut learner = learner(sgd());
    backward(&mut learner, 1, 1.0);
    learner
        .gradients(&mut |info, values| {
            Ok(if info.name == "first.bias" {
                values[0] = f32::NAN;
            })
        })
        .unwrap();
    let norm = learner.clip(1.0, &Clip::Norm(1e-3)).unwrap().unwrap();
    assert!(norm.into_scalar::<f32>().is_nan());
    assert!(gradients(&mut learner).iter().any(|(name, v)| name == "second.bias" && v.iter().all(|v| v.is_finite())));
}

#[test]
fn what_visitors_write_stays() {
    let mut learner = learner(AdamWConfig::new().init());
    step(&mut learner, 1, 0.1);
    backward(&mut learner, 2, 1.0);
    learner.gradients(&mut |_, values| Ok(values.iter_mut().for_each(|v| *v *= 2.0))).unwrap();
    let doubled = gradients(&mut learner);
    learner.zero_grad();
    let before = evaluate(&mut learner);
    learner.parameters(&mut |_, values| Ok(values.iter_mut().for_each(|v| *v += 1.0))).unwrap();
    assert_ne!(evaluate(&mut learner), before);
    learner.parameters(&mut |_, values| Ok(values.iter_mut().for_each(|v| *v = 0.5))).unwrap();
    assert!(parameters(&mut learner).iter().all(|(_, values)| values.iter().all(|v| *v == 0.5)));
    assert_eq!(doubled.len(), 8, "the running statistics have none");
    // Ids, optimizer state and `require_grad` are as they were.
    step(&mut learner, 3, 0.1);
    let state = learner.snapshot().unwrap();
    assert_eq!(state.numbers["optimizer/first.weight/momentum.time"], zae_core::learner::Number::UInt(2));
}

#[test]
fn what_visitors_write_into_running_statistics_stays_through_later_updates() {
    let mut learner = learner(sgd());
    // Leaves an update that waits to be added.
    backward(&mut learner, 1, 1.0);
    learner
        .parameters(&mut |info, values| {
            Ok(if info.name == "norm.running_mean" {
                values.fill(100.0);
            })
        })
        .unwrap();
    backward(&mut learner, 1, 1.0);
    let mean = parameters(&mut learner).into_iter().find(|(name, _)| name == "norm.running_mean").unwrap().1;
    assert!(mean.iter().all(|v| *v > 80.0), "{mean:?}");
}

#[test]
fn looking_changes_nothing() {
    let mut looked = learner(AdamWConfig::new().init());
    let mut other = learner(AdamWConfig::new().init());
    other.load(&looked.snapshot().unwrap()).unwrap();
    for number in 0..3 {
        backward(&mut looked, number, 1.0);
        gradients(&mut looked);
        parameters(&mut looked);
        looked.step(&zae_core::learner::Update::new(0.01)).unwrap();
        step(&mut other, number, 0.01);
    }
    assert!(bytes(&looked.snapshot().unwrap()) == bytes(&other.snapshot().unwrap()));
}

#[test]
fn other_types_than_f32_are_not_lent() {
    let mut net = Net::new(&device());
    net.second.weight = net.second.weight.map(|w| w.cast(FloatDType::F16));
    let mut learner = BurnLearner::new(net, sgd(), &device());
    learner.init(1).unwrap();
    let error = learner.parameters(&mut |_, _| Ok(())).unwrap_err().to_string();
    assert_eq!(error, "`second.weight` is F16: only f32 can be lent");
    assert_eq!(learner.model().unwrap().second.weight.val().dtype(), burn::tensor::DType::F16);
}
