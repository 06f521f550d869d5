//! The memory of a step is there for the next one.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used)]

use tch::{Device, Kind, Tensor, nn, nn::Module};
use zae_core::learner::{Learner, Update};
use zae_tch::{AdamW, TchLearner};

/// How many pages this process has been given by the system.
fn faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(7).unwrap().parse().unwrap()
}

#[test]
fn a_step_takes_no_memory_from_the_system_that_the_one_before_has_given_back() {
    let build = |path: &nn::Path<'_>| nn::linear(path, 64, 256, nn::LinearConfig::default());
    let mut learner = TchLearner::new(build, AdamW::new(), Device::Cpu);
    learner.init(0).unwrap();
    let x = Tensor::ones([4096, 64], (Kind::Float, Device::Cpu));
    let mut step = || {
        // Four megabytes for each of these.
        let loss = learner.train(|model| model.forward(&x).relu().square().tanh().mean(Kind::Float)).unwrap();
        let _ = learner.backward(loss, 1.0, true).unwrap();
        learner.step(&Update::new(1e-3)).unwrap();
    };
    (0..5).for_each(|_| step());
    let before = faults();
    (0..10).for_each(|_| step());
    let pages = (faults() - before) / 10;
    // A thread of a test has a heap of its own, which is small, so not all can be kept.
    assert!(pages < 2_000, "{pages} pages per step, of some 10,000 that it uses");
}
