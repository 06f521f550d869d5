//! Errors, models that are there already, second sets of weights, data sets.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{LibTorch, Net, backward, bytes, gradients, parameters, plain, step};
use tch::{
    Device, Kind, Tensor,
    nn::{self, Module, VarStore},
};
use zae_core::{
    engine::{Engine, Shadow},
    learner::{Clip, Learner, Readout, Update},
    testing::{Architecture, Fixture, FixtureTask, Samples},
    trainer::Trainer,
};
use zae_tch::{AdamW, Sgd, TchLearner, TensorDataset, accuracy, local_device};

#[test]
fn a_device_that_is_not_there_is_an_error_that_says_what_would_help() {
    if local_device() != Device::Cpu {
        return;
    }
    let mut learner = LibTorch { device: Device::Cuda(0), ..LibTorch::default() }.learner(Architecture::Plain);
    let error = learner.init(1).unwrap_err().to_string();
    assert!(error.starts_with("there is no Cuda(0)") && error.contains("`local_device()`"), "{error}");
    let mut learner = plain(Sgd::new());
    let before = bytes(&learner.snapshot().unwrap());
    for device in [Device::Cuda(3), Device::Vulkan] {
        assert!(learner.to_device(&device).unwrap_err().to_string().contains("there is no"), "{device:?}");
    }
    learner.to_device(&Device::Cpu).unwrap();
    assert!(before == bytes(&learner.snapshot().unwrap()));
}

#[test]
fn a_model_that_cannot_be_built_is_an_error() {
    let elsewhere = VarStore::new(Device::Cpu);
    let build = move |_: &nn::Path<'_>| nn::linear(elsewhere.root(), 2, 2, nn::LinearConfig::default());
    let error = TchLearner::new(build, Sgd::new(), Device::Cpu).init(1).unwrap_err().to_string();
    assert!(error.contains("no variables"), "{error}");
    let build = |path: &nn::Path<'_>| nn::linear(path, -2, 2, nn::LinearConfig::default());
    let error = TchLearner::new(build, Sgd::new(), Device::Cpu).init(1).unwrap_err().to_string();
    assert!(error.contains("the model could not be built") && !error.contains("frame #"), "{error}");
}

#[test]
fn a_mistake_in_a_step_is_an_error_with_its_place() {
    let fixture = LibTorch::default();
    let mut batch = fixture.batch(&Samples::random(5, 6, 3, 1));
    batch.x = batch.x.to_kind(Kind::Double);
    let mut trainer = Trainer::new(FixtureTask::new(&fixture), fixture.learner(Architecture::Plain));
    trainer = trainer.scheduler(0.1).handle_signals(false);
    let error = trainer.run(1, vec![batch], ()).unwrap_err().to_string();
    assert!(error.contains("must have the same dtype"), "{error}");
    assert!(error.contains("step 0") && !error.contains("frame #"), "{error}");
}

#[test]
fn a_loss_has_to_be_one_number_of_the_model() {
    let mut learner = plain(Sgd::new());
    type Loss = fn(&Net) -> Tensor;
    let losses: [(Loss, &str); 3] = [
        (|_| Tensor::ones([3], (Kind::Float, Device::Cpu)), "the loss has 3 numbers"),
        (|_| Tensor::ones([1], (Kind::Float, Device::Cpu)), "does not depend on the model"),
        (
            |_| Tensor::ones([1], (Kind::Float, Device::Cpu)).set_requires_grad(true) * 2.0,
            "does not depend on the model",
        ),
    ];
    for (loss, expected) in losses {
        let loss = learner.train(loss).unwrap();
        let error = learner.backward(loss, 1.0, true).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(learner.step(&Update::new(0.1)).unwrap_err().to_string().contains("call `backward` first"));
    step(&mut learner, 1, 0.1);
}

#[test]
fn a_model_that_is_there_is_trained_as_it_is() {
    let store = VarStore::new(Device::Cpu);
    let model = nn::linear(store.root(), 3, 1, nn::LinearConfig::default());
    let weight = model.ws.copy();
    let mut learner = TchLearner::from_var_store(store, model, AdamW::new()).unwrap();
    learner.init(7).unwrap();
    assert_eq!(learner.model().unwrap().ws, weight);
    let loss = learner.train(|model| model.forward(&Tensor::ones([2, 3], (Kind::Float, Device::Cpu))).mean(None));
    drop(learner.backward(loss.unwrap(), 1.0, true).unwrap());
    learner.step(&Update::new(0.1)).unwrap();
    let model = learner.into_model().unwrap();
    assert_ne!(model.ws, weight);
    let empty = TchLearner::from_var_store(VarStore::new(Device::Cpu), (), AdamW::new());
    assert!(empty.err().unwrap().to_string().contains("no variables"));
}

#[test]
fn numbers_are_read_whatever_their_shape_and_type() {
    let learner = plain(Sgd::new());
    let scalars = [
        Tensor::from(0.5f32),
        Tensor::from_slice(&[1.0f64, 2.0]),
        Tensor::from(7i64),
        Tensor::from_slice(&[true]),
        Tensor::from(1.5f32).to_kind(Kind::BFloat16),
    ];
    let mut out = Readout::default();
    learner.read(&scalars, &mut out).unwrap();
    let read: Vec<_> = (0..out.len()).map(|i| out.get(i).to_vec()).collect();
    assert_eq!(read, [vec![0.5], vec![1.0, 2.0], vec![7.0], vec![1.0], vec![1.5]]);
}

#[test]
fn what_is_not_f32_is_trained_and_saved_but_not_lent() {
    let mut store = VarStore::new(Device::Cpu);
    let model = nn::linear(store.root(), 3, 1, nn::LinearConfig::default());
    store.double();
    let mut learner = TchLearner::from_var_store(store, model, AdamW::new()).unwrap();
    learner.init(1).unwrap();
    let loss = learner.train(|model| model.forward(&Tensor::ones([2, 3], (Kind::Double, Device::Cpu))).mean(None));
    drop(learner.backward(loss.unwrap(), 1.0, true).unwrap());
    let error = learner.gradients(&mut |_, _| Ok(())).unwrap_err().to_string();
    assert_eq!(error, "`weight` is of type Double: only f32 can be lent");
    let norm = learner.clip(0.5, &Clip::Norm(1e-3)).unwrap().unwrap();
    assert!((norm.double_value(&[]) - 0.5 * 2.0).abs() < 1e-6, "{norm:?}");
    learner.step(&Update::new(0.1)).unwrap();
    let state = learner.snapshot().unwrap();
    learner.load(&state).unwrap();
    assert!(bytes(&state) == bytes(&learner.snapshot().unwrap()));
}

#[test]
fn a_visitor_can_give_an_unused_parameter_its_gradient() {
    let mut learner = LibTorch::default().with(Architecture::Unused, Sgd::new());
    learner.init(1).unwrap();
    backward(&mut learner, 1, 1.0);
    learner.clip(1.0, &Clip::Norm(1.0)).unwrap();
    let before = parameters(&mut learner);
    let fill = |info: &zae_core::engine::ParamInfo<'_>, values: &mut [f32]| {
        values.iter_mut().for_each(|value| *value = if info.name == "unused.weight" { 0.5 } else { -0.0 });
        Ok(())
    };
    let mut fill = fill;
    learner.gradients(&mut fill).unwrap();
    assert!(gradients(&mut learner).iter().any(|(name, values)| name == "unused.weight" && values == &[0.5; 4]));
    learner.step(&Update::new(1.0)).unwrap();
    for ((name, before), (_, after)) in before.iter().zip(parameters(&mut learner)) {
        let moved = if name == "unused.weight" { 0.5 } else { 0.0 };
        assert!(before.iter().zip(after).all(|(before, after)| (before - after - moved).abs() < 1e-6), "{name}");
    }
}

/// LibTorch leaves them views of one tensor.
#[test]
fn gradients_that_share_their_memory_are_added_and_clipped_once() {
    let build = |path: &nn::Path<'_>| [path.ones("a", &[6]), path.ones("b", &[6])];
    let mut learner = TchLearner::new(build, Sgd::new(), Device::Cpu);
    learner.init(1).unwrap();
    let x = Tensor::arange(6, (Kind::Float, Device::Cpu)).reshape([2, 3]);
    for last in [false, true] {
        let loss = |[a, b]: &[Tensor; 2]| ((a.view([2, 3]) + b.view([2, 3])) * &x).sum(Kind::Float);
        let loss = learner.train(loss).unwrap();
        let _ = learner.backward(loss, 1.0, last).unwrap();
    }
    learner.clip(0.25, &Clip::Norm(f64::INFINITY)).unwrap();
    let expected = vec![0.0, 0.5, 1.0, 1.5, 2.0, 2.5];
    let found = zae_core::testing::gradients(&mut learner).unwrap();
    assert_eq!(found, [("a".to_owned(), expected.clone()), ("b".to_owned(), expected)]);
}

#[test]
fn a_second_set_averages_and_swaps_and_is_part_of_the_state() {
    let mut learner = plain(Sgd::new());
    let first = parameters(&mut learner);
    learner.shadow("ema", Shadow::Create).unwrap();
    step(&mut learner, 1, 0.5);
    learner.shadow("ema", Shadow::Lerp { decay: 0.75 }).unwrap();
    let last = parameters(&mut learner);
    let state = learner.snapshot().unwrap();
    let mut again = plain(Sgd::new());
    again.shadow("other", Shadow::Create).unwrap();
    again.load(&state).unwrap();
    assert!(again.shadow("other", Shadow::Swap).is_err());
    for learner in [&mut learner, &mut again] {
        learner.shadow("ema", Shadow::Swap).unwrap();
        let averaged = parameters(learner);
        for (((name, first), (_, last)), (_, averaged)) in first.iter().zip(&last).zip(&averaged) {
            for ((first, last), averaged) in first.iter().zip(last).zip(averaged) {
                assert!((0.75 * first + 0.25 * last - averaged).abs() < 1e-6, "{name}");
            }
        }
        learner.shadow("ema", Shadow::Swap).unwrap();
        assert_eq!(parameters(learner), last);
        step(learner, 2, 0.5);
    }
    assert!(bytes(&learner.snapshot().unwrap()) == bytes(&again.snapshot().unwrap()));
    learner.shadow("ema", Shadow::Drop).unwrap();
    assert!(learner.shadow("ema", Shadow::Swap).unwrap_err().to_string().contains("create it first"));
    assert!(learner.shadow("a/b", Shadow::Create).is_err());
    let mut damaged = state.clone();
    damaged.tensors.remove("shadow/ema/fc1.bias");
    assert!(again.load(&damaged).unwrap_err().to_string().contains("lacks `shadow/ema/fc1.bias`"));
}

#[test]
fn rows_are_taken_in_the_order_asked_for() {
    let x = Tensor::from_slice(&[0.0f32, 1.0, 2.0, 3.0, 4.0, 5.0]).reshape([3, 2]);
    let data = TensorDataset::new((x, Tensor::from_slice(&[10i64, 11, 12]))).unwrap();
    let (x, y) = data.gather(&[2, 0, 2]).unwrap();
    assert_eq!(Vec::<Vec<f32>>::try_from(x).unwrap(), [[4.0, 5.0], [0.0, 1.0], [4.0, 5.0]]);
    assert_eq!(Vec::<i64>::try_from(y).unwrap(), [12, 10, 12]);
    assert!(data.gather(&[3]).unwrap_err().to_string().contains("the data set has 3"));
    let uneven = TensorDataset::new((Tensor::from_slice(&[1.0f32]), Tensor::from_slice(&[1i64, 2])));
    assert!(uneven.unwrap_err().to_string().contains("[1, 2] rows"));
}

#[test]
fn accuracy_is_the_share_of_rows_that_are_right() {
    let logits = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 0.0]).reshape([2, 2]).set_requires_grad(true);
    let share = accuracy(&logits, &Tensor::from_slice(&[1i64, 1])).unwrap();
    assert!(share.double_value(&[]) == 0.5 && !share.requires_grad());
    assert!(accuracy(&logits, &Tensor::from_slice(&[1i64, 1, 1])).is_err());
}

#[test]
fn a_gradient_that_no_optimizer_takes_is_told_by_its_parameter() {
    let build = |path: &nn::Path<'_>| {
        let config = nn::EmbeddingConfig { sparse: true, ..nn::EmbeddingConfig::default() };
        nn::embedding(path / "words", 4, 2, config)
    };
    let mut learner = TchLearner::new(build, Sgd::new(), Device::Cpu);
    learner.init(1).unwrap();
    let loss = learner.train(|words| words.forward(&Tensor::from_slice(&[1i64, 2])).sum(Kind::Float)).unwrap();
    let _ = learner.backward(loss, 1.0, true).unwrap();
    for error in [
        learner.clip(1.0, &Clip::Norm(1.0)).unwrap_err().to_string(),
        learner.step(&Update::new(0.1)).unwrap_err().to_string(),
    ] {
        assert!(error.contains("`words.weight`") && error.contains("`sparse: false`"), "{error}");
    }
}
