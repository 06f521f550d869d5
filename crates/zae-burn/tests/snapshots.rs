//! Snapshots in buffers that are kept from one to the next.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use burn::optim::{
    AdaGradConfig, AdafactorConfig, AdamConfig, AdamWConfig, AdanConfig, LambConfig, LionConfig, RmsPropConfig,
    SgdConfig, momentum::MomentumConfig,
};
use burn::{
    module::{Module, Param},
    nn::{Linear, LinearConfig, LinearLayout},
    prelude::*,
};
use common::{Net, bytes, device, learner, step};
use zae_burn::{AnyOptimizer, BurnLearner};
use zae_core::{
    engine::{Engine, ParamInfo, Shadow},
    learner::{Learner, StateDict, Update},
};

/// Where the bytes of each tensor are.
fn addresses(state: &StateDict) -> BTreeMap<String, usize> {
    let address = |(name, tensor): (&String, &zae_core::learner::SavedTensor)| {
        (name.clone(), tensor.data.bytes().unwrap().as_ptr() as usize)
    };
    state.tensors.iter().map(address).collect()
}

/// Every configuration, beside the optimizer that Burn makes of it.
fn pairs() -> Vec<(&'static str, AnyOptimizer, AnyOptimizer)> {
    let clip = || Some(burn::grad_clipping::GradientClippingConfig::Norm(0.1));
    macro_rules! pairs {
        ($($name:literal $config:expr;)*) => { vec![$(($name, $config.into(), $config.init().into())),*] };
    }
    pairs! {
        "adamw" AdamWConfig::new().with_grad_clipping(clip());
        "adam" AdamConfig::new().with_amsgrad(true);
        "sgd" SgdConfig::new().with_gradient_clipping(clip());
        "sgd with momentum" SgdConfig::new().with_momentum(Some(MomentumConfig::new()));
        "adagrad" AdaGradConfig::new();
        "adafactor" AdafactorConfig::new();
        "adan" AdanConfig::new();
        "lamb" LambConfig::new();
        "lion" LionConfig::new();
        "rmsprop" RmsPropConfig::new().with_centered(true);
    }
}

#[test]
fn a_configuration_trains_and_is_saved_as_the_optimizer_made_of_it() {
    for (name, config, module) in pairs() {
        let (mut ours, mut burns) = (learner(config), learner(module));
        burns.load(&ours.snapshot().unwrap()).unwrap();
        for number in 0..4 {
            step(&mut ours, number, 0.01);
            step(&mut burns, number, 0.01);
            // A snapshot between two steps changes nothing: only one of the two takes it.
            ours.snapshot().unwrap();
        }
        let (ours_then, burns_then) = (ours.snapshot().unwrap(), burns.snapshot().unwrap());
        assert!(bytes(&ours_then) == bytes(&burns_then), "{name}");
        // Each loads what the other saved.
        ours.load(&burns_then).unwrap();
        burns.load(&ours_then).unwrap();
        step(&mut ours, 9, 0.01);
        step(&mut burns, 9, 0.01);
        assert!(bytes(&ours.snapshot().unwrap()) == bytes(&burns.snapshot().unwrap()), "{name}");
    }
}

#[test]
fn snapshots_that_are_held_are_untouched_by_steps_and_other_snapshots() {
    let mut learner = learner(AdamWConfig::new());
    let mut held = Vec::new();
    for number in 0..5 {
        step(&mut learner, number, 0.1);
        let state = learner.snapshot().unwrap();
        let bytes = bytes(&state);
        held.push((state, bytes));
        // The first ones are dropped again meanwhile, so that their buffers are used for others.
        if number > 2 {
            held.remove(0);
        }
    }
    assert!(held.iter().all(|(state, before)| bytes(state) == *before));
    assert!(held.windows(2).all(|pair| pair[0].1 != pair[1].1));
}

#[test]
fn buffers_are_used_again_once_their_snapshot_is_gone() {
    let mut learner = learner(AdamWConfig::new());
    learner.shadow("ema", Shadow::Create).unwrap();
    step(&mut learner, 0, 0.1);
    learner.shadow("ema", Shadow::Lerp { decay: 0.9 }).unwrap();
    let first = learner.snapshot().unwrap();
    let second = learner.snapshot().unwrap();
    let (at_first, at_second) = (addresses(&first), addresses(&second));
    assert!(at_first.iter().all(|(name, address)| at_second[name] != *address));
    drop(first);
    step(&mut learner, 1, 0.1);
    let third = learner.snapshot().unwrap();
    assert_eq!(addresses(&third), at_first);
    drop((second, third));
    assert!(
        addresses(&learner.snapshot().unwrap())
            .values()
            .all(|address| at_first.values().chain(at_second.values()).any(|a| a == address))
    );
}

#[test]
fn a_snapshot_outlives_its_learner() {
    let mut learner = learner(AdamWConfig::new());
    step(&mut learner, 0, 0.1);
    let state = learner.snapshot().unwrap();
    let before = bytes(&state);
    drop(learner);
    assert!(bytes(&state) == before);
}

#[test]
fn weights_stay_where_they_are() {
    let weights = |learner: &mut BurnLearner<Net>| {
        let mut at = Vec::new();
        let visit = &mut |info: &ParamInfo<'_>, values: &mut [f32]| {
            at.extend(info.trainable.then_some(values.as_ptr() as usize));
            Ok(())
        };
        learner.parameters(visit).unwrap();
        at
    };
    let mut learner = learner(AdamWConfig::new());
    step(&mut learner, 0, 0.1);
    // A model in evaluation mode is no second owner.
    learner.model().unwrap();
    let before = weights(&mut learner);
    let state = learner.snapshot().unwrap();
    assert_eq!(weights(&mut learner), before);
    assert!(!addresses(&state).values().any(|address| before.contains(address)));
}

/// Its weight is a view of a tensor, columns first.
#[derive(Module, Debug)]
struct Strided {
    weight: Param<Tensor<2>>,
}

fn wave(shape: [usize; 2], from: i64) -> Tensor<2> {
    let numbers = Tensor::<1, Int>::arange(from..from + (shape[0] * shape[1]) as i64, &device());
    numbers.float().sin().reshape(shape)
}

#[test]
fn a_weight_that_was_a_view_computes_the_same_bits_after_a_snapshot_and_after_loading() {
    for (rows, inputs, outputs) in [(1, 3, 5), (7, 64, 48), (128, 301, 257)] {
        let learner = || {
            let model = Strided { weight: Param::from_tensor(wave([outputs, inputs], 1).transpose()) };
            BurnLearner::new(model, AdamWConfig::new(), &device())
        };
        let mut first = learner();
        let x = wave([rows, inputs], 5);
        let forward = |learner: &mut BurnLearner<Strided>| {
            let y = learner.eval(|model| x.clone().matmul(model.weight.val())).unwrap();
            y.into_data().as_bytes().to_vec()
        };
        let before = forward(&mut first);
        let state = first.snapshot().unwrap();
        assert!(forward(&mut first) == before, "{rows} x {inputs} x {outputs}");
        let mut second = learner();
        second.load(&state).unwrap();
        assert!(forward(&mut second) == before, "{rows} x {inputs} x {outputs}");
    }
}

#[test]
fn a_linear_in_column_layout_goes_on_bit_for_bit() {
    let learner = || {
        let layer: Linear = LinearConfig::new(64, 48).with_layout(LinearLayout::Col).init(&device());
        BurnLearner::new(layer, AdamWConfig::new(), &device())
    };
    // One row is multiplied in another way than many.
    let step = |learner: &mut BurnLearner<Linear>, number: i64| {
        let x = wave([1, 64], number).autodiff();
        let loss = learner.train(|layer| layer.forward(x).square().mean()).unwrap();
        learner.backward(loss, 1.0, true).unwrap();
        learner.step(&Update::new(0.01)).unwrap();
    };
    for steps in 0..3 {
        let (mut source, mut target) = (learner(), learner());
        source.init(1).unwrap();
        (0..steps).for_each(|number| step(&mut source, number));
        target.load(&source.snapshot().unwrap()).unwrap();
        (0..3).for_each(|number| step(&mut source, number));
        (0..3).for_each(|number| step(&mut target, number));
        assert!(bytes(&source.snapshot().unwrap()) == bytes(&target.snapshot().unwrap()), "{steps}");
    }
}
