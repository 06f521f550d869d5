//! A generative adversarial network (Goodfellow et al., 2014) learns to draw handwritten digits: each batch makes a step of the
//! discriminator, then one of the generator. Killed and started again, it goes on with the pass that was next.
//!
//! `cargo run --example gan`
#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use burn::{
    nn::{Dropout, DropoutConfig, Linear, LinearConfig},
    optim::AdamConfig,
    prelude::*,
    tensor::{
        Distribution,
        activation::{leaky_relu, relu, sigmoid, softplus},
    },
};
use clap::Parser;
use zae_engine::{datasets, prelude::*};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOISE: usize = 16;
const PIXELS: usize = 64;
const SHOWN: usize = 10;

/// Learns to draw handwritten digits
#[derive(Parser)]
struct Options {
    /// Epochs to train, in all
    #[arg(long, default_value_t = 200)]
    epochs: u64,
    /// Decides everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where metrics.csv and checkpoints go
    #[arg(long, default_value = "runs/gan")]
    run_dir: PathBuf,
}

#[derive(Module, Debug)]
struct Gan {
    generator: Layers,
    discriminator: Layers,
    dropout: Dropout,
}

#[derive(Module, Debug)]
struct Layers {
    first: Linear,
    second: Linear,
    third: Linear,
}

impl Layers {
    fn new(sizes: [usize; 3], device: &Device) -> Self {
        let [from, hidden, to] = sizes;
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        Self { first: linear(from, hidden), second: linear(hidden, hidden), third: linear(hidden, to) }
    }
}

impl Gan {
    fn new(device: &Device) -> Self {
        Self {
            generator: Layers::new([NOISE, 128, PIXELS], device),
            discriminator: Layers::new([PIXELS, 128, 1], device),
            dropout: DropoutConfig::new(0.3).init(),
        }
    }

    /// `[batch, NOISE]` to `[batch, PIXELS]`.
    fn draw(&self, noise: Tensor<2>) -> Tensor<2> {
        let Layers { first, second, third } = &self.generator;
        sigmoid(third.forward(relu(second.forward(relu(first.forward(noise))))))
    }

    /// `[batch, PIXELS]` to `[batch, 1]`: more than 0 is taken for real.
    fn judge(&self, pixels: Tensor<2>) -> Tensor<2> {
        let Layers { first, second, third } = &self.discriminator;
        let layer = |linear: &Linear, x| self.dropout.forward(leaky_relu(linear.forward(x), 0.2));
        third.forward(layer(second, layer(first, pixels)))
    }
}

struct Adversaries;

impl Task for Adversaries {
    type Learner = BurnLearner<Gan>;
    /// The pass, and real digits.
    type Batch = (usize, Tensor<2>);

    fn train_step(&self, model: &Gan, (pass, real): Self::Batch, _: &At) -> StepResult<Self> {
        let rows = real.dims()[0];
        // The trainer has seeded the device for this batch and this pass.
        let drawn = model.draw(Tensor::random([rows, NOISE], Distribution::Normal(0.0, 1.0), &real.device()));
        if pass == 0 {
            let (real, drawn) = (model.judge(real), model.judge(drawn.detach()));
            let loss = softplus(real.neg(), 1.0).mean() + softplus(drawn, 1.0).mean();
            return Ok(Step::new(loss.clone(), rows).only("discriminator").metric("discriminator_loss", loss));
        }
        let loss = softplus(model.judge(drawn).neg(), 1.0).mean();
        Ok(Step::new(loss.clone(), rows).only("generator").metric("generator_loss", loss))
    }

    fn test_step(&self, _: &Gan, _: Self::Batch, _: &At) -> StepResult<Self> {
        Err("there is no loss that says how well it draws".into())
    }
}

impl Predict for Adversaries {
    type Input = Tensor<2>;
    type Output = Vec<f32>;

    fn predict(&self, model: &Gan, noise: Tensor<2>, _: &At) -> Fallible<Vec<f32>> {
        Ok(model.draw(noise).try_into_data()?.iter::<f32>().collect())
    }
}

/// How far pictures are from the digit that is nearest, on average: the root of the mean square over pixels.
fn distance(pictures: &[f32], digits: &[[f32; PIXELS]]) -> f64 {
    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    let nearest = |picture| digits.iter().map(|digit| apart(picture, digit)).fold(f64::INFINITY, f64::min);
    let sum: f64 = pictures.chunks(PIXELS).map(|picture| (nearest(picture) / PIXELS as f64).sqrt()).sum();
    sum / (pictures.len() / PIXELS) as f64
}

fn show(pictures: &[f32]) {
    let shades = [' ', '.', ':', '+', '*', '#', '@'];
    for row in 0..8 {
        let line = pictures.chunks(PIXELS).take(SHOWN).flat_map(|picture| {
            let shade = |pixel: &f32| shades[((pixel * shades.len() as f32) as usize).min(shades.len() - 1)];
            picture[row * 8..row * 8 + 8].iter().map(shade).chain([' ', ' ']).collect::<Vec<char>>()
        });
        println!("{}", line.collect::<String>().trim_end());
    }
}

fn main() -> Result<(), BoxError> {
    let options = Options::parse();
    let device = zae_engine::local_device();
    let digits = datasets::digits()?;
    let (known, held_out) = digits.split_at(1_437);
    let learner = BurnLearner::new(Gan::new(&device), AdamConfig::new().with_beta_1(0.5), &device);
    let tensors = |digits: Vec<datasets::Digit>| {
        let pixels: Vec<f32> = digits.iter().flat_map(|digit| digit.pixels).collect();
        Ok(Tensor::<1>::from_floats(pixels.as_slice(), &Device::flex()).reshape([digits.len(), PIXELS]))
    };
    let mut trainer = zae_engine::trainer(Adversaries, learner)
        .run_dir(options.run_dir)
        .seed(options.seed)
        .scheduler(1e-3)
        .add_on(StateManager::new());
    let batches = DataLoader::new(known.to_vec().collate(tensors), 32).shuffle(true).passes(2);
    trainer.run(options.epochs, &batches, ())?;

    device.seed(options.seed);
    let noise = Tensor::random([360, NOISE], Distribution::Normal(0.0, 1.0), &device);
    let drawn = trainer.inference(vec![noise])?.concat();
    show(&drawn);
    // Digits of other writers are as far away as a good drawing may be.
    let known: Vec<_> = known.iter().map(|digit| digit.pixels).collect();
    let others: Vec<f32> = held_out.iter().flat_map(|digit| digit.pixels).collect();
    println!(
        "from the nearest digit: drawn {:.3}, by other people {:.3}",
        distance(&drawn, &known),
        distance(&others, &known)
    );
    Ok(())
}
