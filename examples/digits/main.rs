//! A small convolutional network learns handwritten digits, from data that are part of this crate.
//!
//! `cargo run --example digits`

#[path = "../common/mod.rs"]
mod common;
mod model;

use std::time::Instant;

use burn::{
    nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig},
    optim::AdamWConfig,
    prelude::*,
};
use clap::FromArgMatches;
use zae_engine::{
    datasets::{self, Digit},
    prelude::*,
    rng::Rng,
};

use model::Cnn;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Digits {
    criterion: CrossEntropyLoss,
}

impl Task for Digits {
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

/// Digits moved by up to one pixel: other people write elsewhere.
struct Shifted<D>(D);

impl<D: Dataset<Item = Digit>> Dataset for Shifted<D> {
    type Item = Digit;

    fn len(&self) -> usize {
        self.0.len()
    }
    fn item(&self, at: &Sample) -> Fallible<Digit> {
        let digit = self.0.item(at)?;
        let random = at.rng().next_u32();
        let (down, right) = ((random % 3) as usize, (random / 3 % 3) as usize);
        let mut moved = Digit { pixels: [0.0; 64], ..digit };
        for (row, column) in (0..8).flat_map(|row| (0..8).map(move |column| (row, column))) {
            // A shift of 1 is none.
            let (to_row, to_column) = (row + down, column + right);
            if (1..9).contains(&to_row) && (1..9).contains(&to_column) {
                moved.pixels[(to_row - 1) * 8 + to_column - 1] = digit.pixels[row * 8 + column];
            }
        }
        Ok(moved)
    }
}

/// Makes tensors of digits. On the host: the trainer moves batches to the device.
fn tensors(digits: Vec<Digit>) -> Fallible<(Tensor<4>, Tensor<1, Int>)> {
    let (x, y): (Vec<_>, Vec<_>) = digits.into_iter().map(|digit| (digit.pixels, i64::from(digit.label))).unzip();
    let host = Device::flex();
    let x = Tensor::<1>::from_floats(x.as_flattened(), &host).reshape([y.len(), 1, 8, 8]);
    Ok((x, Tensor::from_ints(y.as_slice(), &host)))
}

fn main() -> Result<(), common::Failure> {
    let started = Instant::now();
    let defaults = [("epochs", "30"), ("batch_size", "32"), ("lr", "2e-3"), ("run_dir", "runs/digits")];
    let command = common::command::<common::Options>("Learns handwritten digits", &defaults);
    let options = common::Options::from_arg_matches(&command.get_matches())?;
    options.set_threads()?;

    // The last 360 are held out: mostly by writers that the others do not know.
    let [train, valid, test] = datasets::digits()?.ordered_split([1_257, 180, 360])?;
    let size = options.batch_size;
    let train = DataLoader::new(Shifted(train).collate(tensors), size).shuffle(true).limit(options.limit());
    let valid = DataLoader::new(valid.collate(tensors), size).limit(options.limit());
    let test = DataLoader::new(test.collate(tensors), size).limit(options.limit());

    let device = zae_engine::local_device();
    let learner = BurnLearner::new(Cnn::new(&device), AdamWConfig::new(), &device);
    let mut trainer = zae_engine::trainer(Digits { criterion: CrossEntropyLossConfig::new().init(&device) }, learner)
        .run_dir(&options.run_dir)
        .seed(options.seed)
        .scheduler(Cosine::new(options.lr).warmup(40))
        .gradient_clip(Clip::Norm(1.0))
        .accumulate(options.accumulate)
        .add_on((StateManager::new().keep_best("valid/accuracy", 1), common::FirstStep::since(started)))
        .add_on((SimpleProfiler::new(), HtmlReport::new()));
    if options.fresh {
        trainer = trainer.fresh();
    }

    trainer.run(options.epochs, &train, &valid)?;
    let report = trainer.evaluate(&test)?;
    common::finish(&trainer, &options, &report)?;
    Ok(())
}
