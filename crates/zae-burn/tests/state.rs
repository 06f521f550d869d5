//! Snapshots: copies, loading, and going on bit for bit.
#![allow(clippy::unwrap_used, clippy::unit_arg)]

mod common;

use burn::{
    grad_clipping::GradientClippingConfig,
    module::{Module, Param, ParamGroup},
    optim::{
        AdaGradConfig, AdafactorConfig, AdamConfig, AdamWConfig, AdanConfig, LambConfig, LionConfig, MuonConfig,
        RmsPropConfig, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig,
    },
    prelude::*,
    tensor::{Bool, FloatDType},
};
use common::{Net, backward, bytes, device, evaluate, learner, loss, sgd, step};
use zae_burn::{AnyOptimizer, BurnLearner};
use zae_core::learner::{Dtype, Learner, Number, Update};

type Make = Box<dyn Fn() -> AnyOptimizer>;

fn optimizers() -> Vec<(&'static str, Make)> {
    let decay = || Some(WeightDecayConfig::new(1e-2));
    let clip = || Some(GradientClippingConfig::Norm(0.1));
    let momentum = |nesterov| Some(MomentumConfig::new().with_nesterov(nesterov));
    let matrices = || ParamGroup::from_any_predicates(vec!["first.weight", "second.weight"]);
    macro_rules! list {
        ($($name:literal $config:expr;)*) => { vec![$(($name, Box::new(move || $config.into()) as Make)),*] };
    }
    list! {
        "adamw" AdamWConfig::new();
        "adamw of Burn's making" AdamWConfig::new().init();
        "adamw amsgrad" AdamWConfig::new().with_amsgrad(true).with_cautious_weight_decay(true);
        "adam" AdamConfig::new().with_weight_decay(decay()).with_grad_clipping(clip());
        "sgd" SgdConfig::new().with_weight_decay(decay());
        "sgd momentum" SgdConfig::new().with_momentum(momentum(false));
        "sgd nesterov" SgdConfig::new().with_momentum(momentum(true));
        "rmsprop" RmsPropConfig::new();
        "rmsprop centered" RmsPropConfig::new().with_centered(true).with_momentum(0.0);
        "adagrad" AdaGradConfig::new().with_lr_decay(0.1);
        "adan" AdanConfig::new();
        "lamb" LambConfig::new();
        "lion" LionConfig::new();
        "adafactor" AdafactorConfig::new();
        "muon for matrices" AdamWConfig::new().init().with_group(matrices(), MuonConfig::new().build(), None);
    }
}

#[test]
fn a_fresh_learner_goes_on_bit_for_bit_with_every_optimizer() {
    for (name, optimizer) in optimizers() {
        let mut source = learner(optimizer());
        for number in 0..3 {
            step(&mut source, number, 0.01);
        }
        let state = source.snapshot().unwrap();
        // The target has trained on other data: other ids, other state, running statistics that wait to be added.
        let mut target = learner(optimizer());
        for number in 10..13 {
            step(&mut target, number, 0.1);
        }
        backward(&mut target, 14, 1.0);
        target.load(&state).unwrap();
        assert!(bytes(&target.snapshot().unwrap()) == bytes(&state), "{name}");
        assert!(target.step(&Update::new(0.1)).is_err(), "{name}: gradients are gone");
        for number in 3..6 {
            step(&mut source, number, 0.01);
            step(&mut target, number, 0.01);
        }
        let (source, target) = (source.snapshot().unwrap(), target.snapshot().unwrap());
        assert!(bytes(&source) == bytes(&target), "{name}");
        assert!(bytes(&source) != bytes(&state), "{name}");
    }
}

#[test]
fn names_go_by_path_and_numbers_keep_their_type() {
    let mut learner = learner(AdamWConfig::new().init());
    let names = |learner: &mut BurnLearner<Net>| {
        let state = learner.snapshot().unwrap();
        (state.tensors.into_keys().collect::<Vec<_>>(), state.numbers)
    };
    let (tensors, numbers) = names(&mut learner);
    let layers = ["first.bias", "first.weight", "norm.beta", "norm.gamma", "norm.running_mean", "norm.running_var"];
    let layers = layers.into_iter().chain(["second.bias", "second.weight", "unused.bias", "unused.weight"]);
    assert_eq!(tensors, layers.map(|name| format!("model/{name}")).collect::<Vec<_>>());
    assert!(numbers.is_empty());
    step(&mut learner, 1, 0.1);
    let (tensors, numbers) = names(&mut learner);
    assert!(tensors.contains(&"optimizer/norm.gamma/momentum.moment_2".to_owned()));
    assert_eq!(numbers["optimizer/first.weight/momentum.time"], Number::UInt(1));
    assert_eq!(numbers["optimizer/first.weight/__rank"], Number::UInt(2));
}

#[test]
fn a_snapshot_is_a_copy() {
    let mut learner = learner(AdamWConfig::new().init());
    step(&mut learner, 1, 0.1);
    let state = learner.snapshot().unwrap();
    let before = bytes(&state);
    for number in 2..5 {
        step(&mut learner, number, 0.1);
    }
    zae_core::engine::Engine::parameters(&mut learner, &mut |_, values| Ok(values.fill(7.0))).unwrap();
    assert!(bytes(&state) == before);
    learner.load(&state).unwrap();
    step(&mut learner, 2, 0.1);
    assert!(bytes(&state) == before, "loading lends nothing to the learner");
}

#[test]
fn running_statistics_of_a_snapshot_hold_the_last_update() {
    let mut source = learner(sgd());
    for number in 0..2 {
        backward(&mut source, number, 1.0);
    }
    let outputs = evaluate(&mut source);
    let mut target = learner(sgd());
    target.load(&source.snapshot().unwrap()).unwrap();
    assert_eq!(evaluate(&mut target), outputs);
}

#[test]
fn a_state_that_does_not_fit_changes_nothing_and_says_why() {
    let mut learner = learner(AdamWConfig::new().init());
    step(&mut learner, 1, 0.1);
    let good = learner.snapshot().unwrap();
    let mut refused = |change: &dyn Fn(&mut zae_core::learner::StateDict)| {
        let mut state = good.clone();
        change(&mut state);
        let error = learner.load(&state).unwrap_err().to_string();
        assert!(bytes(&learner.snapshot().unwrap()) == bytes(&good));
        error
    };
    let error = refused(&|state| {
        let weight = state.tensors.remove("model/first.weight").unwrap();
        state.tensors.insert("model/third.weight".into(), weight.clone());
        state.tensors.insert("model/second.weight".into(), weight);
    });
    assert_eq!(
        error,
        "the state does not fit this learner: the state lacks `model/first.weight`; this learner has no \
         `model/third.weight`; of another shape or type: `model/second.weight` is F32 [6, 8] in the state and F32 [8, 3] here"
    );
    let error = refused(&|state| state.tensors.get_mut("model/first.bias").unwrap().dtype = Dtype::I32);
    assert!(error.contains("`model/first.bias` is I32 [8] in the state and F32 [8] here"), "{error}");
    let error = refused(&|state| {
        let moment = state.tensors["optimizer/first.bias/momentum.moment_1"].clone();
        state.tensors.insert("optimizer/third.bias/momentum.moment_1".into(), moment.clone());
        state.tensors.insert("ema/first.bias".into(), moment);
        state.numbers.remove("optimizer/first.bias/momentum.time");
    });
    for part in ["`optimizer/third.bias/momentum.moment_1`", "`ema/first.bias`", "damaged"] {
        assert!(error.contains(part), "{error}");
    }
    let error = refused(&|state| {
        state.tensors.get_mut("optimizer/first.bias/momentum.moment_1").unwrap().shape = vec![2, 4];
        state.numbers.insert("optimizer/first.weight/__rank".into(), Number::UInt(3));
    });
    assert!(error.contains("[2, 4], and the parameter [8]"), "{error}");
    let error =
        refused(&|state| state.tensors.get_mut("model/first.bias").unwrap().data = std::sync::Arc::new(vec![0u8; 3]));
    assert!(error.contains("damaged"), "{error}");
    let error = refused(&|state| state.tensors.retain(|name, _| name.starts_with("optimizer")));
    assert!(error.contains("and 6 more"), "{error}");
}

#[test]
fn another_optimizers_state_is_refused() {
    let mut source = learner(SgdConfig::new().with_momentum(Some(MomentumConfig::new())).init());
    step(&mut source, 1, 0.1);
    let mut target = learner(AdamWConfig::new().init());
    let error = target.load(&source.snapshot().unwrap()).unwrap_err().to_string();
    assert!(error.contains("of another optimizer, or damaged: `optimizer/first.bias/"), "{error}");
    // A state of before the first step is fine: the optimizer starts afresh.
    step(&mut target, 1, 0.1);
    target.load(&learner(sgd()).snapshot().unwrap()).unwrap();
    assert!(target.snapshot().unwrap().numbers.is_empty());
}

#[test]
fn a_state_that_burn_would_load_in_another_type_is_refused() {
    let half = || {
        let mut net = Net::new(&device());
        net.second.weight = net.second.weight.map(|w| w.cast(FloatDType::F16));
        net.second.bias = net.second.bias.map(|b| b.map(|b| b.cast(FloatDType::F16)));
        BurnLearner::new(net, AdamWConfig::new().init(), &device())
    };
    let train = |learner: &mut BurnLearner<Net>| {
        let loss = learner.train(|net| {
            let hidden = net.first.forward(common::batch(1)).cast(FloatDType::F16);
            net.second.forward(hidden).cast(FloatDType::F32).square().mean()
        });
        let loss = loss.unwrap();
        learner.backward(loss, 1.0, true).unwrap();
        let norm = learner.clip(2.0, &zae_core::learner::Clip::Norm(1e-3)).unwrap().unwrap();
        assert!(norm.into_scalar::<f32>() > 1e-3);
        learner.step(&Update::new(0.1)).unwrap();
    };
    let mut source = half();
    source.init(1).unwrap();
    train(&mut source);
    let state = source.snapshot().unwrap();
    assert_eq!(state.tensors["optimizer/second.bias/momentum.moment_1"].dtype, Dtype::F16);
    let error = half().load(&state).unwrap_err().to_string();
    assert!(error.contains("Burn loads it as F32"), "{error}");
}

#[derive(Module, Debug)]
struct Types {
    half: Param<Tensor<1>>,
    double: Param<Tensor<1>>,
    counts: Param<Tensor<2, Int>>,
    mask: Param<Tensor<1, Bool>>,
}

impl Types {
    fn new(value: f32) -> Self {
        let tensor = Tensor::<1>::full([3], value, &device());
        Self {
            half: Param::from_tensor(tensor.clone().cast(FloatDType::BF16)),
            double: Param::from_tensor(tensor.clone().cast(FloatDType::F64)),
            counts: Param::initialized(burn::module::ParamId::new(), tensor.clone().int().reshape([1, 3])),
            mask: Param::initialized(burn::module::ParamId::new(), tensor.greater_elem(1.5)),
        }
    }
}

#[test]
fn all_element_types_survive() {
    let mut source = BurnLearner::new(Types::new(2.0), sgd(), &device());
    let state = source.snapshot().unwrap();
    let types: Vec<_> = state.tensors.values().map(|tensor| tensor.dtype).collect();
    assert_eq!(types[1..], [Dtype::F64, Dtype::BF16, Dtype::Bool]);
    let mut target = BurnLearner::new(Types::new(1.0), sgd(), &device());
    target.load(&state).unwrap();
    assert!(bytes(&target.snapshot().unwrap()) == bytes(&state));
    let model = target.into_model().unwrap();
    assert_eq!(model.mask.val().into_data().iter::<bool>().collect::<Vec<_>>(), [true; 3]);
}

#[test]
fn a_learner_equals_a_loop_written_by_hand() {
    use burn::optim::GradientsParams;
    let mut learner = learner(AdamWConfig::new().init());
    let mut by_hand = BurnLearner::new(Net::new(&device()), sgd(), &device());
    by_hand.load(&learner.snapshot().unwrap()).unwrap();
    let mut model = by_hand.into_model().unwrap().train();
    let mut optimizer = AdamWConfig::new().init();
    for number in 0..5 {
        step(&mut learner, number, 0.01);
        let loss = loss(&model, number);
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(0.01, model, gradients);
    }
    let mut by_hand = BurnLearner::without_optimizer(model, &device());
    let model_of = |state: zae_core::learner::StateDict| {
        bytes(&state).into_iter().filter(|(name, _)| name.starts_with("model/")).collect::<Vec<_>>()
    };
    assert!(model_of(learner.snapshot().unwrap()) == model_of(by_hand.snapshot().unwrap()));
}

#[test]
fn a_moment_of_another_shape_is_refused() {
    for shape in [vec![1], vec![4], vec![8, 1]] {
        let mut learner = learner(AdamWConfig::new().init());
        step(&mut learner, 0, 0.01);
        let mut state = learner.snapshot().unwrap();
        let name = "optimizer/first.bias/momentum.moment_1";
        let tensor = state.tensors.get_mut(name).unwrap();
        tensor.data = std::sync::Arc::new(vec![0u8; 4 * shape.iter().product::<usize>()]);
        tensor.shape = shape;
        let error = learner.load(&state).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}
