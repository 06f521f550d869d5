//! A convolutional network learns MNIST, from files you have or downloaded.
//!
//! `cargo run --example mnist -- --epochs 3`, and with LibTorch
//! `cargo run --features tch --example mnist -- --engine tch`
//!
//! On several processes: `mpirun -n 2 target/debug/examples/mnist --threads 1` (built with the feature `mpi`), or, with
//! LibTorch, `torchrun --nproc-per-node 2 --no-python target/debug/examples/mnist --engine tch --threads 1`.

#[path = "../common/mod.rs"]
mod common;
mod download;
mod with_burn;
#[cfg(feature = "tch")]
mod with_tch;

use std::{path::PathBuf, time::Instant};

use clap::{Args, FromArgMatches, ValueEnum};
use zae_engine::{
    data::{Idx, Normalize, Subset},
    prelude::*,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 28x28 numbers per image, and the labels: what an engine makes a batch of.
type Numbers = (Vec<f32>, Vec<i64>);

/// Images and labels as bytes; batches are made of them on a worker thread.
struct Images {
    pixels: Idx,
    labels: Idx,
    normalize: Normalize,
}

impl Source for Images {
    type Batch = Numbers;

    fn len(&self) -> usize {
        self.labels.data.len()
    }
    fn batch(&self, samples: &[Sample]) -> Fallible<Self::Batch> {
        let mut x: Vec<f32> = Vec::with_capacity(samples.len() * 28 * 28);
        let mut y: Vec<i64> = Vec::with_capacity(samples.len());
        for sample in samples {
            let row = self.pixels.row(sample.index).ok_or("there are fewer images than labels")?;
            self.normalize.extend(&mut x, row);
            y.push(i64::from(self.labels.data[sample.index]));
        }
        Ok((x, y))
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    Burn,
    Tch,
}

#[derive(Args)]
struct Arguments {
    #[command(flatten)]
    common: common::Options,
    /// What computes: Burn, or LibTorch (with the feature `tch`)
    #[arg(long, value_enum, default_value = "burn")]
    engine: Engine,
    /// The type in which the model computes: f32, bf16 or f16
    #[arg(long, default_value_t = Precision::F32)]
    precision: Precision,
    /// The folder of the four MNIST files, gzipped or not; those that are missing are downloaded into it
    #[arg(long, default_value = "data/mnist")]
    data: PathBuf,
    /// Batches per optimizer step of all processes together, instead of `--accumulate` of each
    #[arg(long)]
    micro_batches: Option<u64>,
    /// The same bits on 1, 2, 4, ... processes, if there are as many `--micro-batches` on each run
    #[arg(long)]
    reproducible: bool,
    /// Where missing files are downloaded from, instead of the public copies
    #[arg(long)]
    mirror: Option<String>,
}

fn main() -> Result<(), common::Failure> {
    let started = Instant::now();
    let defaults = [("epochs", "3"), ("batch_size", "64"), ("lr", "2e-3"), ("run_dir", "runs/mnist")];
    // A folder of its own for each engine: a run goes on with the one that began it.
    let command = common::command::<Arguments>("Learns MNIST", &defaults)
        .mut_arg("run_dir", |arg| arg.default_value_if("engine", "tch", "runs/mnist_tch"));
    let arguments = Arguments::from_arg_matches(&command.get_matches())?;
    match arguments.engine {
        Engine::Burn => {
            arguments.common.set_threads()?;
            let device = zae_engine::local_device();
            let task = with_burn::Mnist::new(&device);
            let learner = with_burn::learner(&device).precision(arguments.precision);
            train(task, learner, with_burn::batch, &arguments, started)
        }
        #[cfg(feature = "tch")]
        Engine::Tch => {
            arguments.common.threads.inspect(|&threads| tch::set_num_threads(threads as i32));
            let learner = with_tch::learner().precision(arguments.precision);
            train(with_tch::Mnist, learner, with_tch::batch, &arguments, started)
        }
        #[cfg(not(feature = "tch"))]
        Engine::Tch => Err("this program was built without LibTorch: `cargo xtask libtorch` installs it, and \
                            `cargo run --features tch --example mnist` builds with it"
            .into()),
    }
}

/// All that is the same for both engines.
fn train<T: Task>(
    task: T,
    learner: T::Learner,
    tensors: fn(Numbers) -> Fallible<T::Batch>,
    Arguments { common: options, data, mirror, micro_batches, reproducible, .. }: &Arguments,
    started: Instant,
) -> Result<(), common::Failure>
where
    T::Batch: Send,
{
    let images = |part: &str| -> Fallible<Images> {
        let read = |kind: &str| download::file(data, &format!("{part}-{kind}-ubyte"), mirror.as_deref());
        // The mean and the standard deviation of the training images.
        let normalize = Normalize::new(0.1307, 0.3081)?;
        Ok(Images { pixels: read("images-idx3")?, labels: read("labels-idx1")?, normalize })
    };
    // The last 5,000 of the training images decide nothing here but what the bar shows.
    let [train, valid]: [Subset<_>; 2] = images("train")?.ordered_split([55_000, 5_000])?;
    let train = DataLoader::new(train.map(tensors), options.batch_size).shuffle(true).limit(options.limit());
    let valid = DataLoader::new(valid.map(tensors), 250).limit(options.limit());
    let test = DataLoader::new(images("t10k")?.map(tensors), 250).limit(options.limit());

    let reduction = if *reproducible { Reduction::Reproducible } else { Reduction::Fast };
    let mut trainer = zae_engine::trainer(task, learner)
        .run_dir(&options.run_dir)
        .seed(options.seed)
        .scheduler(Cosine::new(options.lr).warmup(100))
        .gradient_clip(Clip::Norm(1.0))
        .add_on(DataParallel::from_env()?.reduction(reduction))
        .add_on((StateManager::new().keep_best("valid/accuracy", 1), common::FirstStep::since(started)));
    trainer = match micro_batches {
        Some(all) => trainer.micro_batches(*all),
        None => trainer.accumulate(options.accumulate),
    };
    if options.fresh {
        trainer = trainer.fresh();
    }

    trainer.run(options.epochs, &train, &valid)?;
    let report = trainer.evaluate(&test)?;
    common::finish(&trainer, options, &report)?;
    Ok(())
}
