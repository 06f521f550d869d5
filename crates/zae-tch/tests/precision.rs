//! Half precision: autocast, and a scaler where small gradients would vanish.
#![allow(clippy::unwrap_used)]

mod common;

use common::{LibTorch, Net, backward, gradients, parameters, plain, step};
use tch::{Device, Kind, Tensor};
use zae_core::{
    learner::{Clip, Learner, Number, Stepped, Update},
    precision::Precision,
    testing::Architecture,
};
use zae_tch::{AdamW, Sgd, TchLearner};

fn with(precision: Precision) -> TchLearner<Net> {
    let mut learner = LibTorch::default().with(Architecture::Plain, AdamW::new()).precision(precision);
    learner.init(1).unwrap();
    let state = plain(Sgd::new()).snapshot().unwrap();
    zae_core::engine::Engine::parameters(&mut learner, &mut |info, values| {
        let bytes = state.tensors[&format!("model/{}", info.name)].data.bytes().unwrap();
        for (value, bytes) in values.iter_mut().zip(bytes.chunks(4)) {
            *value = f32::from_le_bytes(bytes.try_into().unwrap());
        }
        Ok(())
    })
    .unwrap();
    learner
}

#[test]
fn the_model_computes_in_half_and_the_rest_is_f32() {
    let exact = backward(&mut with(Precision::F32), 1, 1.0);
    for precision in [Precision::Bf16, Precision::F16] {
        let mut learner = with(precision);
        let product = |learner: &mut TchLearner<Net>| {
            let square = Tensor::ones([4, 4], (Kind::Float, Device::Cpu));
            learner.eval(|_| square.matmul(&square).kind()).unwrap()
        };
        let kind = if precision == Precision::Bf16 { Kind::BFloat16 } else { Kind::Half };
        assert_eq!(product(&mut learner), kind);
        assert_eq!(product(&mut with(Precision::F32)), Kind::Float);
        let loss = backward(&mut learner, 1, 1.0);
        assert!(loss != exact && (loss - exact).abs() < 0.02, "{precision}: {loss} and {exact}");
        learner.clip(1.0, &Clip::None).unwrap();
        let mut f32s = with(Precision::F32);
        backward(&mut f32s, 1, 1.0);
        for ((name, half), (_, full)) in gradients(&mut learner).iter().zip(gradients(&mut f32s)) {
            assert!(half.iter().zip(full).all(|(half, full)| (half - full).abs() < 0.01), "{precision}: {name}");
        }
        assert_eq!(learner.step(&Update::new(0.1)).unwrap(), Stepped::Applied);
    }
}

#[test]
fn an_overflow_skips_the_step_and_halves_the_scale() {
    let mut learner = with(Precision::F16);
    step(&mut learner, 1, 0.1);
    let before = (parameters(&mut learner), learner.snapshot().unwrap());
    assert_eq!(before.1.numbers["scaler/scale"], Number::Float(65536.0));
    assert_eq!(before.1.numbers["scaler/growth_tracker"], Number::UInt(1));
    // 65536 x 1e36 is more than an f32 can be.
    backward(&mut learner, 2, 1e36);
    assert!(learner.clip(1.0, &Clip::Norm(1.0)).unwrap().is_none());
    assert_eq!(learner.step(&Update::new(0.1)).unwrap(), Stepped::Skipped);
    assert_eq!(parameters(&mut learner), before.0);
    let after = learner.snapshot().unwrap();
    assert_eq!(after.numbers["scaler/scale"], Number::Float(32768.0));
    assert_eq!(after.numbers["optimizer/fc1.bias/step"], Number::UInt(1));
    step(&mut learner, 3, 0.1);
    assert_ne!(parameters(&mut learner), before.0);
}

#[test]
fn a_run_may_go_on_in_another_precision() {
    let mut half = with(Precision::F16);
    backward(&mut half, 2, 1e36);
    assert_eq!(half.step(&Update::new(0.1)).unwrap(), Stepped::Skipped);
    step(&mut half, 1, 0.1);
    let state = half.snapshot().unwrap();
    let mut full = with(Precision::F32);
    full.load(&state).unwrap();
    step(&mut full, 1, 0.1);
    let without = full.snapshot().unwrap();
    assert!(without.numbers.keys().all(|name| !name.starts_with("scaler/")));
    half.load(&without).unwrap();
    assert_eq!(half.snapshot().unwrap().numbers["scaler/scale"], Number::Float(65536.0));
    let mut damaged = state;
    damaged.numbers.remove("scaler/scale");
    for learner in [&mut half, &mut full] {
        let error = learner.load(&damaged).unwrap_err().to_string();
        assert!(error.contains("the state lacks `scaler/scale`"), "{error}");
    }
}
