//! Groups, hyperparameters, what PyTorch calls it all, and what a state has to be.
#![allow(clippy::unwrap_used)]

mod common;

use common::{LibTorch, bytes, parameters, plain, step};
use zae_core::{
    learner::{Learner, Number},
    testing::Architecture,
};
use zae_tch::{Adam, AdamW, Optimizer, Sgd};

#[test]
fn a_group_follows_the_schedule_by_its_factor_and_its_own_settings() {
    let mut one = plain(Sgd::new());
    let grouped = Optimizer::from(Sgd::new())
        .group_lr(|name| name.ends_with("bias"), 0.0)
        .group_lr(|name| name.starts_with("fc2"), 2.0)
        .group(|name| name == "fc1.weight", Sgd::new().maximize(), 1.0);
    let mut grouped = plain(grouped);
    let before = parameters(&mut one);
    step(&mut one, 1, 0.25);
    step(&mut grouped, 1, 0.25);
    for (((name, before), (_, one)), (_, grouped)) in
        before.iter().zip(parameters(&mut one)).zip(parameters(&mut grouped))
    {
        let factor = match name.as_str() {
            "fc1.weight" => -1.0,
            "fc1.bias" => 0.0,
            _ => 2.0,
        };
        for ((before, one), grouped) in before.iter().zip(one).zip(grouped) {
            assert!(((grouped - before) - factor * (one - before)).abs() < 1e-6, "{name}");
        }
    }
}

#[test]
fn groups_are_pytorchs_groups() {
    let optimizer = Optimizer::from(AdamW::new().betas(0.8, 0.95))
        .group(|name| name.ends_with("bias"), AdamW::new().weight_decay(0.0), 1.0)
        .group_lr(|name| name.starts_with("fc"), 0.5)
        .group(|name| name == "fc1.bias", AdamW::new().amsgrad(), 3.0);
    let mut learner = plain(optimizer);
    let layout = learner.layout().unwrap();
    let tensors: Vec<_> = layout.tensors.iter().map(|tensor| (tensor.torch.as_str(), tensor.group)).collect();
    // The first two groups have no parameter left, and are not PyTorch's.
    assert_eq!(tensors, [("fc1.weight", 0), ("fc1.bias", 1), ("fc2.weight", 0), ("fc2.bias", 0)]);
    let optimizer = layout.optimizer.as_ref().unwrap();
    assert_eq!((optimizer.class.as_str(), optimizer.rates.as_slice()), ("AdamW", [0.5, 3.0].as_slice()));
    assert_eq!(optimizer.groups[0]["betas"], [0.8, 0.95].map(Number::Float));
    assert_eq!(optimizer.groups[1]["betas"], [0.9, 0.999].map(Number::Float));
    assert_eq!(optimizer.groups[1]["amsgrad"], [Number::Bool(true)]);
    assert_eq!(optimizer.groups[0]["weight_decay"], [Number::Float(1e-2)]);
    let fields: Vec<_> = optimizer.fields.keys().map(String::as_str).collect();
    assert_eq!(fields, ["exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"]);
    step(&mut learner, 1, 0.1);
    let state = learner.snapshot().unwrap();
    assert!(state.tensors.contains_key("optimizer/fc1.bias/max_exp_avg_sq"));
    assert!(!state.tensors.contains_key("optimizer/fc1.weight/max_exp_avg_sq"));
    assert_eq!(state.numbers["optimizer/fc2.weight/step"], Number::UInt(1));
}

#[test]
fn optimizers_of_two_classes_train_but_are_not_one_of_pytorch() {
    let mixed = || Optimizer::from(Adam::new()).group(|name| name.starts_with("fc2"), Sgd::new().momentum(0.9), 1.0);
    let mut learner = plain(mixed());
    assert!(learner.layout().unwrap().optimizer.is_none());
    step(&mut learner, 1, 0.1);
    let state = learner.snapshot().unwrap();
    let mut again = plain(mixed());
    again.load(&state).unwrap();
    for learner in [&mut learner, &mut again] {
        step(learner, 2, 0.1);
    }
    assert!(bytes(&learner.snapshot().unwrap()) == bytes(&again.snapshot().unwrap()));
}

#[test]
fn what_cannot_be_set_is_refused_before_the_first_step() {
    let optimizers: [(Optimizer, &str); 7] = [
        (AdamW::new().betas(0.9, 1.0).into(), "`betas` of AdamW are [0.9, 1.0]"),
        (Adam::new().eps(-1.0).into(), "`eps` of Adam is -1"),
        (Adam::new().weight_decay(f64::NAN).into(), "`weight_decay` of Adam is NaN"),
        (Sgd::new().nesterov().into(), "`nesterov` of SGD needs a momentum"),
        (Sgd::new().momentum(f64::INFINITY).into(), "`momentum` of SGD is inf"),
        (Optimizer::from(Sgd::new()).group_lr(|_| true, -1.0), "the factor of a group is -1"),
        (
            Optimizer::from(Sgd::new()).group_lr(|name| name == "fc3.weight", 1.0),
            "the model has fc1.weight, fc1.bias, fc2",
        ),
    ];
    for (optimizer, expected) in optimizers {
        let mut learner = LibTorch::default().with(Architecture::Plain, optimizer);
        let error = learner.init(1).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn every_optimizer_goes_on_from_its_state_bit_for_bit() {
    let optimizers: [fn() -> Optimizer; 6] = [
        || AdamW::new().into(),
        || AdamW::new().amsgrad().into(),
        || Adam::new().weight_decay(0.1).into(),
        || Sgd::new().into(),
        || Sgd::new().momentum(0.9).dampening(0.5).weight_decay(0.1).into(),
        || Sgd::new().momentum(0.9).nesterov().into(),
    ];
    for (i, optimizer) in optimizers.iter().enumerate() {
        let mut learner = plain(optimizer());
        // With nothing saved of it yet, too.
        for steps in [0, 1, 2] {
            let state = learner.snapshot().unwrap();
            let mut again = plain(optimizer());
            step(&mut again, 9, 0.1);
            again.load(&state).unwrap();
            assert!(bytes(&state) == bytes(&again.snapshot().unwrap()), "optimizer {i} after {steps} steps");
            for learner in [&mut learner, &mut again] {
                step(learner, steps, 0.1);
            }
            assert!(
                bytes(&learner.snapshot().unwrap()) == bytes(&again.snapshot().unwrap()),
                "optimizer {i} after {steps} steps"
            );
        }
    }
}

#[test]
fn a_state_of_another_optimizer_is_refused_and_changes_nothing() {
    let mut learner = plain(AdamW::new());
    step(&mut learner, 1, 0.1);
    let before = learner.snapshot().unwrap();
    let mut other = plain(Sgd::new().momentum(0.9));
    step(&mut other, 1, 0.1);
    let error = learner.load(&other.snapshot().unwrap()).unwrap_err().to_string();
    assert!(error.contains("of another optimizer, or damaged: `optimizer/fc1.bias/momentum_buffer`"), "{error}");

    let mut damaged = before.clone();
    damaged.numbers.remove("optimizer/fc1.bias/step");
    damaged.tensors.remove("optimizer/fc2.bias/exp_avg");
    damaged.numbers.insert("optimizer/fc2.weight/step".into(), Number::Float(1.0));
    let moments = damaged.tensors["optimizer/fc2.weight/exp_avg"].clone();
    damaged.tensors.insert("optimizer/fc1.weight/exp_avg".into(), moments);
    let error = learner.load(&damaged).unwrap_err().to_string();
    for part in [
        "lacks `optimizer/fc1.bias/step`",
        "`optimizer/fc2.bias/exp_avg`",
        "`optimizer/fc1.weight/exp_avg` is F32 [3, 8] in the state and F32 [8, 6] here",
        "damaged: `optimizer/fc2.weight/step`",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(bytes(&before) == bytes(&learner.snapshot().unwrap()));
}
