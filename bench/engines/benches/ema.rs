//! What an update of averaged weights costs on LibTorch, beside a copy of as many bytes: a perceptron of 8 M numbers, of which
//! steps are made in between, as in training.
//!
//! `cargo bench -p zae-bench-engines --bench ema`. One thread for both. The update and the copy take turns; of their ratios the
//! median is printed with its 95 % interval, as `name value unit [low high]`: `ema_over_memcpy_tch`, and the times of both.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::{hint::black_box, time::Instant};

use tch::{Device, Kind, Tensor, nn, nn::Module};
use zae_bench_peers::stats::Median;
use zae_core::{
    engine::{Engine, Shadow},
    learner::{Learner, Update},
};
use zae_tch::{Sgd, TchLearner};

const ROUNDS: usize = 101;
const WARM_UP: usize = 5;

fn seconds(run: impl FnOnce()) -> f64 {
    let since = Instant::now();
    run();
    since.elapsed().as_secs_f64()
}

fn main() {
    tch::set_num_threads(1);
    let build = |path: &nn::Path<'_>| {
        let linear = |name: &str, input, output| nn::linear(path / name, input, output, nn::LinearConfig::default());
        nn::seq().add(linear("first", 784, 2000)).add(linear("second", 2000, 3100)).add(linear("third", 3100, 10))
    };
    let mut learner = TchLearner::new(build, Sgd::new(), Device::Cpu);
    learner.init(1).unwrap();
    learner.shadow("ema", Shadow::Create).unwrap();
    let mut length = 0;
    learner
        .parameters(&mut |_, values| {
            length += values.len();
            Ok(())
        })
        .unwrap();
    let (source, mut target) = (vec![1.0f32; length], vec![2.0f32; length]);
    let x = Tensor::ones([8, 784], (Kind::Float, Device::Cpu));
    let mut rounds = Vec::new();
    for _ in 0..WARM_UP + ROUNDS {
        let loss = learner.train(|model| model.forward(&x).square().mean(Kind::Float)).unwrap();
        let _ = learner.backward(loss, 1.0, true).unwrap();
        learner.step(&Update::new(1e-6)).unwrap();
        let update = seconds(|| learner.shadow("ema", Shadow::Lerp { decay: 0.999 }).unwrap());
        let copy = seconds(|| target.copy_from_slice(black_box(&source)));
        black_box(&target);
        rounds.push((update, copy));
    }
    let rounds = &rounds[WARM_UP..];
    println!("{}", Median::of(rounds.iter().map(|(update, copy)| update / copy)).line("ema_over_memcpy_tch", "ratio"));
    println!("{}", Median::of(rounds.iter().map(|(update, _)| update * 1e3)).line("ema_update_tch", "ms"));
    println!("{}", Median::of(rounds.iter().map(|(_, copy)| copy * 1e3)).line("ema_memcpy", "ms"));
}
