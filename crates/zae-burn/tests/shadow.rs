//! Second sets of weights.
#![allow(clippy::unwrap_used, clippy::unit_arg)]

mod common;

use common::{bytes, evaluate, learner, parameters, sgd, step};
use zae_core::{
    engine::{Engine, Shadow},
    learner::Learner,
};

#[test]
fn a_second_set_averages_and_swaps() {
    let mut learner = learner(sgd());
    let first = parameters(&mut learner);
    learner.shadow("ema", Shadow::Create).unwrap();
    for number in 0..3 {
        step(&mut learner, number, 0.5);
    }
    learner.shadow("ema", Shadow::Lerp { decay: 0.75 }).unwrap();
    let last = parameters(&mut learner);
    assert_ne!(first, last);
    let outputs = evaluate(&mut learner);

    learner.shadow("ema", Shadow::Swap).unwrap();
    assert_ne!(evaluate(&mut learner), outputs);
    let averaged = parameters(&mut learner);
    for (((name, first), (_, last)), (_, averaged)) in first.iter().zip(&last).zip(&averaged) {
        for ((first, last), averaged) in first.iter().zip(last).zip(averaged) {
            assert!((0.75 * first + 0.25 * last - averaged).abs() < 1e-6, "{name}");
        }
    }
    learner.shadow("ema", Shadow::Swap).unwrap();
    assert_eq!(parameters(&mut learner), last);
    assert_eq!(evaluate(&mut learner), outputs);

    // Still trainable.
    step(&mut learner, 4, 0.5);
    assert_ne!(parameters(&mut learner), last);
    learner.shadow("ema", Shadow::Drop).unwrap();
    let error = learner.shadow("ema", Shadow::Swap).unwrap_err().to_string();
    assert_eq!(error, "there is no second set of weights `ema`: create it first");
    assert!(learner.shadow("a/b", Shadow::Create).is_err());
}

#[test]
fn second_sets_are_part_of_the_state() {
    let mut source = learner(sgd());
    source.shadow("ema", Shadow::Create).unwrap();
    step(&mut source, 1, 0.5);
    let state = source.snapshot().unwrap();
    assert!(state.tensors.contains_key("shadow/ema/norm.running_mean"));
    let mut target = learner(sgd());
    target.shadow("other", Shadow::Create).unwrap();
    target.load(&state).unwrap();
    for learner in [&mut source, &mut target] {
        step(learner, 2, 0.5);
        learner.shadow("ema", Shadow::Lerp { decay: 0.9 }).unwrap();
    }
    assert!(bytes(&source.snapshot().unwrap()) == bytes(&target.snapshot().unwrap()));
    target.shadow("other", Shadow::Swap).unwrap_err();

    let mut damaged = state.clone();
    let weight = damaged.tensors.remove("shadow/ema/first.weight").unwrap();
    damaged.tensors.insert("shadow/ema/first.bias".into(), weight);
    let error = target.load(&damaged).unwrap_err().to_string();
    assert!(error.contains("the state lacks `shadow/ema/first.weight`"), "{error}");
    assert!(error.contains("`shadow/ema/first.bias` is F32 [6, 8] in the state and F32 [8] here"), "{error}");
}
