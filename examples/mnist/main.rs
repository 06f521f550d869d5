//! A convolutional network learns MNIST, from files you have or downloaded.
//!
//! `cargo run --release --example mnist -- --epochs 3`

#[path = "../common/mod.rs"]
mod common;
mod download;
mod model;

use std::{path::PathBuf, time::Instant};

use burn::{
    nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig},
    optim::AdamWConfig,
    prelude::*,
};
use zae_engine::{
    data::{Idx, Subset},
    prelude::*,
};

use model::Cnn;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Mnist {
    criterion: CrossEntropyLoss,
}

impl Task for Mnist {
    type Learner = BurnLearner<Cnn>;
    type Batch = (Tensor<4>, Tensor<1, Int>);

    fn train_step(&self, model: &Cnn, (x, y): Self::Batch, _: &At) -> StepResult<Self> {
        let logits = model.forward(x);
        let loss = self.criterion.forward(logits.clone(), y.clone());
        Ok(Step::new(loss, y.dims()[0]).metric("accuracy", accuracy(logits, y)))
    }
    fn test_step(&self, model: &Cnn, batch: Self::Batch, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

/// Images and labels as bytes; batches are made of them on a worker thread.
struct Images {
    pixels: Idx,
    labels: Idx,
}

impl Source for Images {
    type Batch = (Tensor<4>, Tensor<1, Int>);

    fn len(&self) -> usize {
        self.labels.data.len()
    }
    fn batch(&self, samples: &[Sample]) -> Fallible<Self::Batch> {
        let mut x: Vec<f32> = Vec::with_capacity(samples.len() * 28 * 28);
        let mut y: Vec<i64> = Vec::with_capacity(samples.len());
        for sample in samples {
            let row = self.pixels.row(sample.index).ok_or("there are fewer images than labels")?;
            // The mean and the standard deviation of the training images.
            x.extend(row.iter().map(|&byte| (f32::from(byte) / 255.0 - 0.1307) / 0.3081));
            y.push(i64::from(self.labels.data[sample.index]));
        }
        let (host, n) = (Device::flex(), samples.len());
        Ok((
            Tensor::from_data(TensorData::new(x, [n, 1, 28, 28]), &host),
            Tensor::from_data(TensorData::new(y, [n]), &host),
        ))
    }
}

#[derive(clap::Args)]
struct Arguments {
    #[command(flatten)]
    common: common::Options,
    /// The folder of the four MNIST files, gzipped or not; those that are missing are downloaded into it
    #[arg(long, default_value = "data/mnist")]
    data: PathBuf,
    /// Where missing files are downloaded from, instead of the public copies
    #[arg(long)]
    mirror: Option<String>,
}

fn main() -> Result<(), common::Failure> {
    let started = Instant::now();
    let defaults = [("epochs", "3"), ("batch_size", "64"), ("lr", "2e-3"), ("run_dir", "runs/mnist")];
    let Arguments { common: options, data, mirror } = common::parse("Learns MNIST", &defaults)?;
    options.set_threads()?;

    let images = |part: &str| -> Fallible<Images> {
        let read = |kind: &str| download::file(&data, &format!("{part}-{kind}-ubyte"), mirror.as_deref());
        Ok(Images { pixels: read("images-idx3")?, labels: read("labels-idx1")? })
    };
    // The last 5,000 of the training images decide nothing here but what the bar shows.
    let [train, valid]: [Subset<_>; 2] = images("train")?.ordered_split([55_000, 5_000])?;
    let size = options.batch_size;
    let train = DataLoader::new(train, size).shuffle(true).limit(options.limit());
    let valid = DataLoader::new(valid, 250).limit(options.limit());
    let test = DataLoader::new(images("t10k")?, 250).limit(options.limit());

    let device = zae_engine::local_device();
    let learner = BurnLearner::new(Cnn::new(&device), AdamWConfig::new(), &device);
    let mut trainer = zae_engine::trainer(Mnist { criterion: CrossEntropyLossConfig::new().init(&device) }, learner)
        .run_dir(&options.run_dir)
        .seed(options.seed)
        .scheduler(Cosine::new(options.lr).warmup(100))
        .gradient_clip(Clip::Norm(1.0))
        .accumulate(options.accumulate)
        .add_on((StateManager::new().keep_best("valid/accuracy", 1), common::FirstStep::since(started)));
    if options.fresh {
        trainer = trainer.fresh();
    }

    trainer.run(options.epochs, &train, &valid)?;
    let report = trainer.evaluate(&test)?;
    common::finish(&trainer, &options, &report)?;
    Ok(())
}
