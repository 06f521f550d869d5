//! Looks for a learning rate and a batch size before it trains with them.
//!
//! `cargo run --example lr_finder`
#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use burn::{nn, optim::AdamWConfig, prelude::*};
use clap::Parser;
use zae_engine::{
    datasets::{self, Digit},
    prelude::*,
    tune::{BatchSizeFinder, LrFinder},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Looks for a learning rate and a batch size
#[derive(Parser)]
struct Options {
    /// Epochs to train with what was found
    #[arg(long, default_value_t = 5)]
    epochs: u64,
    /// Where lr.svg and metrics.csv go
    #[arg(long, default_value = "runs/lr_finder")]
    run_dir: PathBuf,
}

struct Digits;

impl Task for Digits {
    type Learner = BurnLearner<nn::Linear>;
    type Batch = (Tensor<2>, Tensor<1, Int>);

    fn train_step(&self, model: &nn::Linear, (x, y): Self::Batch, _: &At) -> StepResult<Self> {
        let logits = model.forward(x);
        let loss = nn::loss::CrossEntropyLossConfig::new().init(&logits.device()).forward(logits.clone(), y.clone());
        Ok(Step::new(loss, y.dims()[0]).metric("accuracy", accuracy(logits, y)))
    }
    fn test_step(&self, model: &nn::Linear, batch: Self::Batch, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

/// Makes tensors of digits.
fn tensors(digits: Vec<Digit>) -> Fallible<(Tensor<2>, Tensor<1, Int>)> {
    let (x, y): (Vec<_>, Vec<_>) = digits.into_iter().map(|d| (d.pixels, i64::from(d.label))).unzip();
    let x = Tensor::<1>::from_floats(x.as_flattened(), &Device::flex()).reshape([y.len(), 64]);
    Ok((x, Tensor::<1, Int>::from_ints(y.as_slice(), &Device::flex())))
}

fn main() -> Result<(), BoxError> {
    let options = Options::parse();
    let digits = datasets::digits()?;
    let (known, held_out) = digits.split_at(1_437);
    let batches = |size| DataLoader::new(known.to_vec().collate(tensors), size).shuffle(true);
    let device = zae_engine::local_device();
    let learner = BurnLearner::new(nn::LinearConfig::new(64, 10).init(&device), AdamWConfig::new(), &device);
    let mut trainer = zae_engine::trainer(Digits, learner).run_dir(&options.run_dir).seed(1).fresh();

    let sizes = trainer.scale_batch_size(&BatchSizeFinder::new().range(16, 256), batches)?;
    println!("{sizes}");
    let curve = trainer.lr_find(&LrFinder::new().range(1e-5, 10.0).steps(200), batches(32))?;
    print!("{}", curve.plot());
    std::fs::create_dir_all(&options.run_dir)?;
    std::fs::write(options.run_dir.join("lr.svg"), curve.svg())?;

    // Nothing of that has stayed: training begins with the first weights.
    let lr = curve.suggestion().ok_or("the loss falls nowhere: look at the model and at the data")?;
    let mut trainer = trainer.scheduler(Cosine::new(lr));
    trainer.run(options.epochs, batches(32), ())?;
    let test = trainer.evaluate(DataLoader::new(held_out.to_vec().collate(tensors), 360))?;
    println!("accuracy {:.4}", test.get("accuracy").unwrap_or_default());
    Ok(())
}
