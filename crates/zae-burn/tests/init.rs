//! First weights. One test only: Burn's generator is one per process.
#![allow(clippy::unwrap_used)]

mod common;

use burn::{
    module::{Module, ModuleVisitor, Param},
    prelude::*,
};
use common::{Net, bytes, device, sgd};
use zae_burn::BurnLearner;
use zae_core::{learner::Learner, rng::init_seed};

#[derive(Default)]
struct Flatten(Vec<f32>);

impl ModuleVisitor for Flatten {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.extend(param.val().into_data().iter::<f32>());
    }
}

fn flatten<M: Module>(model: &M) -> Vec<f32> {
    let mut all = Flatten::default();
    model.visit(&mut all);
    all.0
}

#[test]
fn the_seed_alone_decides_the_first_weights() {
    let seed = init_seed(7);
    let new = |device: &Device| BurnLearner::new(Net::new(device), sgd(), &common::device());
    let weights = |mut learner: BurnLearner<Net>, seed| {
        learner.init(seed).unwrap();
        bytes(&learner.snapshot().unwrap())
    };

    let first = weights(new(&device()), seed);
    assert!(first == weights(new(&device()), seed));
    assert!(first == weights(new(&device().autodiff()), seed), "where the model was built does not matter");
    assert!(first != weights(new(&device()), init_seed(8)));

    // A loop written by hand.
    device().seed(seed);
    let by_hand = flatten(&Net::new(&device()));
    let mut learner = new(&device());
    learner.init(seed).unwrap();
    assert_eq!(by_hand, flatten(learner.model().unwrap()));

    // Weights that are there stay.
    let built = Net::new(&device());
    let there = flatten(&built);
    let mut learner = BurnLearner::new(built, sgd(), &device());
    learner.init(seed).unwrap();
    assert_eq!(there, flatten(learner.model().unwrap()));
}
