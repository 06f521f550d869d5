//! Running statistics measured anew are those that PyTorch measures.
#![allow(clippy::unwrap_used)]

use burn::{nn, optim::SgdConfig, prelude::*};
use zae_burn::BurnLearner;
use zae_core::{
    add_ons::Swa,
    step::Step,
    task::{At, StepResult, Task},
    trainer::Trainer,
};

const FEATURES: usize = 6;

struct Norm;

impl Task for Norm {
    type Learner = BurnLearner<nn::BatchNorm>;
    type Batch = Tensor<2>;

    fn train_step(&self, model: &nn::BatchNorm, x: Tensor<2>, _: &At) -> StepResult<Self> {
        let rows = x.dims()[0];
        Ok(Step::new(model.forward(x).square().mean(), rows))
    }
    fn test_step(&self, model: &nn::BatchNorm, x: Tensor<2>, at: &At) -> StepResult<Self> {
        self.train_step(model, x, at)
    }
}

/// `tables/update_bn.py` wrote the table.
#[test]
fn update_bn_is_that_of_pytorch() {
    let (mut batches, mut expected) = (vec![Vec::new(); 5], Vec::new());
    for line in include_str!("tables/update_bn.csv").lines().filter(|line| !line.starts_with('#')) {
        let (name, numbers) = line.split_once(',').unwrap();
        let numbers = numbers.split(',').map(|number| number.parse::<f32>().unwrap());
        match name.parse::<usize>() {
            Ok(batch) => batches[batch].extend(numbers),
            // Burn's batch norm keeps another variance than PyTorch's.
            Err(_) if name == "var" => {}
            Err(_) => expected.extend(numbers),
        }
    }
    let device = Device::flex();
    let tensor = |x: &Vec<f32>| Tensor::<1>::from_floats(x.as_slice(), &device).reshape([x.len() / FEATURES, FEATURES]);
    let data: Vec<Tensor<2>> = batches.iter().map(tensor).collect();
    let model: nn::BatchNorm = nn::BatchNormConfig::new(FEATURES).init(&device);
    let learner = BurnLearner::new(model, SgdConfig::new(), &device);
    let mut trainer = Trainer::new(Norm, learner).scheduler(0.1).handle_signals(false).add_on(Swa::from_epoch(0));
    trainer.run(1, &data, ()).unwrap();
    let before = trainer.state_dict().unwrap();
    trainer.update_bn(&data).unwrap();
    let weights = trainer.weights().unwrap();
    let found: Vec<f32> = ["running_mean", "running_var"]
        .iter()
        .flat_map(|name| {
            let bytes = weights.tensors[&format!("model/{name}")].data.bytes().unwrap().into_owned();
            bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-4 * expected.abs().max(1.0), "{found} and {expected}");
    }
    let after = trainer.state_dict().unwrap();
    for (name, tensor) in before.tensors.iter().filter(|(name, _)| !name.starts_with("shadow/swa/running")) {
        assert!(*tensor.data.bytes().unwrap() == *after.tensors[name].data.bytes().unwrap(), "{name}");
    }
}
