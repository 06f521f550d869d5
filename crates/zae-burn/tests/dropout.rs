//! Dropout masks. One test only: Burn's generator is one per process.
#![allow(clippy::unwrap_used)]

use burn::{
    module::Module,
    nn::{Dropout, DropoutConfig, Linear, LinearConfig},
    optim::{GradientsParams, SgdConfig},
    prelude::*,
};
use zae_burn::BurnLearner;
use zae_core::{
    learner::{Learner, Update},
    place::Place,
    rng::{init_seed, seed_for},
    task::Mode,
};

#[derive(Module, Debug)]
struct Noisy {
    dropout: Dropout,
    linear: Linear,
}

impl Noisy {
    fn new() -> Self {
        let linear = LinearConfig::new(20, 5).init(&Device::flex());
        Self { dropout: DropoutConfig::new(0.5).init(), linear }
    }

    fn loss(&self, x: Tensor<2>) -> Tensor<1> {
        self.linear.forward(self.dropout.forward(x)).square().mean()
    }
}

fn weights(model: &Noisy) -> Vec<f32> {
    model.linear.weight.val().into_data().iter().collect()
}

#[test]
fn the_seed_alone_decides_the_masks() {
    let device = Device::flex();
    let batch = Tensor::<2>::ones([4, 20], &device);
    let learned = |epoch| {
        let mut learner = BurnLearner::new(Noisy::new(), SgdConfig::new().init(), &device);
        learner.init(init_seed(3)).unwrap();
        for micro_batch in 0..3 {
            learner.seed(seed_for(3, epoch, micro_batch));
            let x = <_ as Place<BurnLearner<Noisy>>>::place(batch.clone(), &learner.device(Mode::Train));
            let loss = learner.train(|model| model.loss(x)).unwrap();
            learner.backward(loss, 1.0, true).unwrap();
            learner.step(&Update::new(0.1)).unwrap();
        }
        weights(learner.model().unwrap())
    };
    let first = learned(0);
    assert_eq!(first, learned(0));
    assert_ne!(first, learned(1));

    // A loop written by hand.
    device.seed(init_seed(3));
    let mut model = Noisy::new().train();
    let mut optimizer = SgdConfig::new().init();
    for micro_batch in 0..3 {
        device.seed(seed_for(3, 0, micro_batch));
        let loss = model.loss(batch.clone().autodiff());
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(0.1, model, gradients);
    }
    assert_eq!(first, weights(&model));
}
