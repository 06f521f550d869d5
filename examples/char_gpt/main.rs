//! A decoder-only transformer learns a text, character by character, and writes some of its own in the end.
//!
//! `cargo run --example char_gpt -- --data FILE`, where the file is any text in UTF-8, and with LibTorch
//! `cargo run --features tch --example char_gpt -- --engine tch --data FILE`
#![allow(clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;
mod with_burn;
#[cfg(feature = "tch")]
mod with_tch;

use std::{path::PathBuf, time::Instant};

use clap::{Args, FromArgMatches, ValueEnum};
use zae_engine::{
    data::{TokenWindows, Vocabulary, read_text},
    prelude::*,
    rng::Rng,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How large the network is.
#[derive(Args, Clone, Copy)]
struct Size {
    /// Characters that it sees at once
    #[arg(long, default_value_t = 64)]
    context: usize,
    /// Layers
    #[arg(long, default_value_t = 4)]
    layers: usize,
    /// Numbers per character
    #[arg(long, default_value_t = 128)]
    width: usize,
    /// Heads of attention
    #[arg(long, default_value_t = 4)]
    heads: usize,
    /// How much of what it learns by heart is dropped
    #[arg(long, default_value_t = 0.1)]
    dropout: f64,
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
    #[command(flatten)]
    size: Size,
    /// What computes: Burn, or LibTorch (with the feature `tch`)
    #[arg(long, value_enum, default_value = "burn")]
    engine: Engine,
    /// The text, a file in UTF-8: a megabyte is a good size
    #[arg(long)]
    data: PathBuf,
    /// Characters that it writes in the end
    #[arg(long, default_value_t = 400)]
    sample: usize,
}

/// Windows of characters and of what follows each, row by row.
struct Windows {
    rows: usize,
    tokens: Vec<i64>,
    next: Vec<i64>,
}

impl Windows {
    fn new(windows: Vec<(Vec<i64>, Vec<i64>)>) -> Self {
        let rows = windows.len();
        let (tokens, next): (Vec<_>, Vec<_>) = windows.into_iter().unzip();
        Self { rows, tokens: tokens.concat(), next: next.concat() }
    }
}

/// What is written after a beginning.
struct Prompt {
    tokens: Vec<i64>,
    length: usize,
}

impl Prompt {
    /// Draws one character after another from what the model thinks of the last `context`.
    fn go_on(self, context: usize, at: &At, logits: impl Fn(&[i64]) -> Fallible<Vec<f32>>) -> Fallible<Vec<i64>> {
        let (mut tokens, mut rng) = (self.tokens, at.rng());
        for _ in 0..self.length {
            let logits = logits(&tokens[tokens.len().saturating_sub(context)..])?;
            let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            // A little colder than it was trained: fewer slips.
            let shares: Vec<f32> = logits.iter().map(|logit| ((logit - highest) / 0.8).exp()).collect();
            let mut left = rng.next_u32() as f32 / u32::MAX as f32 * shares.iter().sum::<f32>();
            let drawn = shares.iter().position(|share| {
                left -= share;
                left <= 0.0
            });
            tokens.push(drawn.unwrap_or(shares.len() - 1) as i64);
        }
        Ok(tokens)
    }
}

impl<L: Learner> Place<L> for Prompt {
    fn place(self, _: &L::Device) -> Self {
        self
    }
}

fn main() -> Result<(), common::Failure> {
    let started = Instant::now();
    let defaults = [("epochs", "3"), ("batch_size", "16"), ("lr", "2e-3"), ("run_dir", "runs/char_gpt")];
    let command = common::command::<Arguments>("Learns to write", &defaults)
        .mut_arg("run_dir", |arg| arg.default_value_if("engine", "tch", "runs/char_gpt_tch"));
    let arguments = Arguments::from_arg_matches(&command.get_matches())?;
    let text = read_text(&arguments.data)?;
    let vocabulary = Vocabulary::of(&text);
    let tokens = vocabulary.encode(&text)?;
    let (size, characters) = (arguments.size, vocabulary.len());
    if size.heads == 0 || size.width % size.heads != 0 {
        return Err(format!("--width {} has to be a multiple of --heads {}", size.width, size.heads).into());
    }
    match arguments.engine {
        Engine::Burn => {
            arguments.common.set_threads()?;
            let device = zae_engine::local_device();
            let learner = with_burn::learner(characters, size, &device);
            train(
                with_burn::Writer::new(size.context),
                learner,
                with_burn::batch,
                tokens,
                &vocabulary,
                &arguments,
                started,
            )
        }
        #[cfg(feature = "tch")]
        Engine::Tch => {
            arguments.common.threads.inspect(|&threads| tch::set_num_threads(threads as i32));
            let learner = with_tch::learner(characters, size);
            train(with_tch::Writer(size.context), learner, with_tch::batch, tokens, &vocabulary, &arguments, started)
        }
        #[cfg(not(feature = "tch"))]
        Engine::Tch => Err("this program was built without LibTorch: `cargo xtask libtorch` installs it, and \
                            `cargo run --features tch --example char_gpt` builds with it"
            .into()),
    }
}

/// All that is the same for both engines.
fn train<T: Predict<Input = Prompt, Output = Vec<i64>>>(
    task: T,
    learner: T::Learner,
    tensors: fn(Windows) -> Fallible<T::Batch>,
    tokens: Vec<i64>,
    vocabulary: &Vocabulary,
    Arguments { common: options, size, sample, .. }: &Arguments,
    started: Instant,
) -> Result<(), common::Failure>
where
    T::Batch: Send,
{
    let beginning = tokens.iter().take(1).copied().collect();
    let parts = TokenWindows::new(tokens, size.context)?.split([0.9, 0.05, 0.05])?;
    let [train, valid, test] = parts.map(|part| {
        let batches = part.collate(move |windows: Vec<_>| tensors(Windows::new(windows)));
        DataLoader::new(batches, options.batch_size)
    });
    let train = train.shuffle(true).limit(options.limit());
    let [valid, test] = [valid, test].map(|part| part.limit(options.limit()));
    let mut trainer = zae_engine::trainer(task, learner)
        .run_dir(&options.run_dir)
        .seed(options.seed)
        .scheduler(Cosine::new(options.lr).warmup(100))
        .gradient_clip(Clip::Norm(1.0))
        .accumulate(options.accumulate)
        .add_on((StateManager::new(), common::FirstStep::since(started)));
    if options.fresh {
        trainer = trainer.fresh();
    }
    trainer.run(options.epochs, &train, &valid)?;
    let report = trainer.evaluate(&test)?;
    common::finish(&trainer, options, &report)?;
    let prompt = from_fn(move |_| [Ok(Prompt { tokens: Vec::clone(&beginning), length: *sample })]);
    let written = trainer.inference(prompt)?.concat();
    println!("perplexity {:.3} per character", report.get("loss").map_or(f64::NAN, f64::exp));
    println!("{}", vocabulary.decode(&written)?);
    Ok(())
}
