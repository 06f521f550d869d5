//! Burn's own data sets and loaders, through our trainer.
#![allow(clippy::unwrap_used)]

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use burn::{
    data::{
        dataloader::{DataLoaderBuilder, batcher::Batcher},
        dataset::{Dataset as _, DatasetError, InMemDataset},
    },
    nn::{Initializer, Linear, LinearConfig},
    optim::AdamWConfig,
    prelude::*,
};
use zae_burn::{BurnLearner, batched_by, burn_dataset, burn_loader, local_device};
use zae_core::{
    add_on::AddOn,
    data::{DataLoader, Dataset, Draw, Loader},
    error::Fallible,
    progress::Cursor,
    snapshot::Snapshot,
    step::Step,
    task::{At, Task},
    trainer::{Trainer, Until},
};

/// Pairs of a number and its double.
#[derive(Clone)]
struct Pairs;

impl Batcher<f32, Tensor<2>> for Pairs {
    fn batch(&self, items: Vec<f32>, device: &Device) -> Tensor<2> {
        let rows: Vec<_> = items.iter().map(|x| Tensor::<2>::from_floats([[*x, 2.0 * x]], device)).collect();
        Tensor::cat(rows, 0)
    }
}

/// Learns to double, and remembers what it has seen.
struct Double(Arc<Mutex<Vec<u32>>>);

impl Task for Double {
    type Learner = BurnLearner<Linear>;
    type Batch = Tensor<2>;

    fn train_step(&self, model: &Linear, batch: Tensor<2>, at: &At) -> Fallible<Step<Tensor<1>>> {
        let x: Vec<f32> = batch.clone().narrow(1, 0, 1).into_data().try_to_vec().map_err(|e| format!("{e:?}"))?;
        self.0.lock().unwrap().extend(x.iter().map(|x| x.to_bits()));
        self.test_step(model, batch, at)
    }
    fn test_step(&self, model: &Linear, batch: Tensor<2>, _: &At) -> Fallible<Step<Tensor<1>>> {
        let samples = batch.dims()[0];
        let error = model.forward(batch.clone().narrow(1, 0, 1)) - batch.narrow(1, 1, 1);
        Ok(Step::new((error.clone() * error).mean(), samples))
    }
}

fn numbers() -> InMemDataset<f32> {
    InMemDataset::new((0..23_u8).map(|n| f32::from(n) / 23.0).collect())
}

fn trainer() -> (Trainer<Double>, Arc<Mutex<Vec<u32>>>) {
    let seen = Arc::default();
    let device = local_device();
    let model = LinearConfig::new(1, 1).with_initializer(Initializer::Constant { value: 0.1 }).init(&device);
    let learner = BurnLearner::new(model, AdamWConfig::new(), &device);
    (Trainer::new(Double(Arc::clone(&seen)), learner).seed(7).scheduler(0.05), seen)
}

fn weights(trainer: &mut Trainer<Double>) -> Vec<Vec<u8>> {
    let state = trainer.state_dict().unwrap();
    state.tensors.values().map(|tensor| tensor.data.bytes().unwrap().into_owned()).collect()
}

/// Where a run goes on from.
struct From(Arc<Snapshot>);

impl AddOn for From {
    fn name(&self) -> &'static str {
        "from"
    }
    fn latest(&mut self, _: Option<&Path>) -> Fallible<Option<Arc<Snapshot>>> {
        Ok(Some(self.0.clone()))
    }
}

/// Trains in one go, and cut at each step; each time it has to be the same.
fn is_cut_exactly(loader: &impl Loader<Tensor<2>>, per_epoch: u64) {
    let (mut whole, seen) = trainer();
    whole.run(2, loader, ()).unwrap();
    let mut all = seen.lock().unwrap().clone();
    let expected = (weights(&mut whole), all.clone());
    for epoch in all.chunks_mut(23) {
        epoch.sort_unstable();
        assert!(epoch.iter().zip(numbers().iter()).all(|(seen, number)| *seen == number.unwrap().to_bits()));
    }
    for cut in 1..2 * per_epoch {
        let (mut first, before) = trainer();
        first.run(Until::steps(cut), loader, ()).unwrap();
        let snapshot = first.snapshot().unwrap();
        let (second, after) = trainer();
        let mut second = second.add_on(From(snapshot));
        second.run(2, loader, ()).unwrap();
        let seen = [before.lock().unwrap().clone(), after.lock().unwrap().clone()].concat();
        assert!((weights(&mut second), seen) == expected, "cut after step {cut}");
    }
}

#[test]
fn a_data_set_of_burn_is_shuffled_and_resumed_exactly() {
    let data = burn_dataset(numbers());
    assert_eq!(Dataset::len(&data), 23);
    is_cut_exactly(&DataLoader::new(data.collate(batched_by(Pairs, &local_device())), 5).shuffle(true).workers(2), 5);
}

#[test]
fn a_loader_of_burn_is_resumed_exactly_if_its_order_is_fixed() {
    is_cut_exactly(&burn_loader(DataLoaderBuilder::new(Pairs).batch_size(5).build(numbers())), 5);
}

/// A data set with a hole.
struct Broken;

impl burn::data::dataset::Dataset<f32> for Broken {
    fn get(&self, index: usize) -> Result<f32, DatasetError> {
        if index == 3 { Err(DatasetError::new(std::io::Error::other("unreadable"))) } else { Ok(0.0) }
    }
    fn len(&self) -> usize {
        10
    }
}

#[test]
fn what_burn_cannot_read_is_an_error_of_the_run() {
    let loader = DataLoader::new(burn_dataset(Broken).collate(batched_by(Pairs, &local_device())), 2);
    let error = trainer().0.run(1, loader, ()).unwrap_err().to_string();
    assert!(error.contains("sample 3") && error.contains("unreadable"), "{error}");
    let loader = burn_loader(DataLoaderBuilder::new(Pairs).batch_size(2).build(Broken));
    let error = trainer().0.run(1, &loader, ()).unwrap_err().to_string();
    assert!(error.contains("unreadable"), "{error}");
    let from = |micro_batch| {
        loader
            .epoch(&Draw::new(0, Cursor { epoch: 0, micro_batch }))
            .map(|batches| batches.map(|b| b.is_ok()).collect::<Vec<_>>())
    };
    assert_eq!(from(0).unwrap(), vec![true, false]);
    assert!(from(2).is_err(), "what comes before the cut cannot be read");
}
