//! Burn and LibTorch train alike, and weights go from one to the other and give the same logits there.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../crates/zae-burn/tests/common/fixture.rs"]
mod burn_fixture;
mod common;
#[path = "../crates/zae-tch/tests/common/mod.rs"]
mod tch_fixture;

use std::path::Path;

use burn::optim::AdamWConfig;
use tch::Device;
use zae_core::testing::{Architecture, cross_check};
use zae_engine::{
    checkpoint::folder::scan,
    prelude::*,
    tch::{AdamW, TchLearner},
};

fn burn() -> Trainer<common::Classify> {
    let device = zae_engine::local_device();
    let learner = BurnLearner::new(common::Net::new(0.0), AdamWConfig::new(), &device);
    Trainer::new(common::Classify, learner).seed(3).scheduler(0.01)
}

fn libtorch() -> Trainer<common::tch::Classify> {
    let learner = TchLearner::new(common::tch::Net::new, AdamW::new(), Device::Cpu);
    Trainer::new(common::tch::Classify, learner).seed(4).scheduler(0.01)
}

/// The logits of both, for the same samples.
fn both(burn: &mut Trainer<common::Classify>, libtorch: &mut Trainer<common::tch::Classify>) -> [Vec<f32>; 2] {
    let (image, words, _) = common::samples(10, 12);
    let ours = burn.model().unwrap().forward(image, words).into_data().try_to_vec::<f32>().unwrap();
    let theirs = common::tch::logits(libtorch, &common::tch::samples(10, 12));
    [ours, common::tch::data(&theirs).try_to_vec::<f32>().unwrap()]
}

fn assert_agree([burn, libtorch]: [Vec<f32>; 2], what: &str) {
    let largest = |numbers: &mut dyn Iterator<Item = f32>| numbers.fold(0f32, |most, x| most.max(x.abs()));
    let difference = largest(&mut burn.iter().zip(&libtorch).map(|(a, b)| a - b));
    let scale = largest(&mut burn.iter().copied());
    assert!(scale > 0.1 && difference <= 1e-5 * scale, "{what}: {difference} of {scale}");
}

fn checkpoint(dir: &Path) -> std::path::PathBuf {
    scan(&dir.join("checkpoints")).unwrap().remove(0).path
}

#[test]
fn a_checkpoint_of_one_engine_gives_the_same_logits_in_the_other() {
    for format in [Format::Safetensors, Format::Ckpt] {
        let dir = tempfile::tempdir().unwrap();
        let [there, back] = ["burn", "libtorch"].map(|name| dir.path().join(name));
        let mut first = burn().run_dir(&there).add_on(StateManager::new().format(format));
        first.run(Until::steps(4), (0..3).map(|seed| common::samples(seed, 12)).collect::<Vec<_>>(), ()).unwrap();

        let mut second = libtorch().run_dir(&back).add_on(StateManager::new().format(format));
        let report = second.load_weights(Weights::from(checkpoint(&there))).unwrap();
        assert!(report.is_whole(), "{report}");
        assert_agree(both(&mut first, &mut second), "from Burn to LibTorch");

        second.run(Until::steps(4), from_fn(|_| (5..8).map(|seed| Ok(common::tch::samples(seed, 12)))), ()).unwrap();
        let mut third = burn();
        let report = third.load_weights(Weights::from(checkpoint(&back))).unwrap();
        assert!(report.is_whole(), "{report}");
        assert_agree(both(&mut third, &mut second), "from LibTorch to Burn");
    }
}

/// It would fit where matrices are square, and be the other way round.
#[test]
fn a_run_of_one_engine_is_not_gone_on_with_in_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let (there, back) = (dir.path().join("burn"), dir.path().join("libtorch"));
    let libtorch = || libtorch().seed(3);
    burn().save(&there).unwrap();
    libtorch().save(&back).unwrap();
    let refused = [
        libtorch().load(&there).unwrap_err().to_string(),
        libtorch().accept_change("optimizer").load(&there).unwrap_err().to_string(),
        libtorch().load_state_dict(&burn().state_dict().unwrap()).unwrap_err().to_string(),
        burn().load(&back).unwrap_err().to_string(),
        burn().accept_change("optimizer").load(&back).unwrap_err().to_string(),
    ];
    for error in refused {
        assert!(error.contains("load_weights"), "{error}");
    }
}

#[test]
fn a_file_of_weights_of_one_engine_gives_the_same_logits_in_the_other() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["weights.safetensors", "weights.pt"] {
        let file = dir.path().join(name);
        let (mut first, mut second) = (burn(), libtorch());
        first.save_weights(&file).unwrap();
        assert!(second.load_weights(&file).unwrap().is_whole());
        assert_agree(both(&mut first, &mut second), name);
        let (mut first, mut second) = (libtorch(), burn());
        first.save_weights(&file).unwrap();
        assert!(second.load_weights(&file).unwrap().is_whole());
        assert_agree(both(&mut second, &mut first), name);
    }
    // Out of a checkpoint's folder.
    let mut first = burn();
    first.save(dir.path().join("run")).unwrap();
    let mut second = libtorch();
    assert!(second.load_weights(dir.path().join("run/model.safetensors")).unwrap().is_whole());
    assert_agree(both(&mut first, &mut second), "model.safetensors");
}

/// Rounding apart. That grows from step to step: 20 of them keep five digits of the loss.
#[test]
fn burn_and_libtorch_train_alike() {
    let (burn, libtorch) = (burn_fixture::Flex::like_torch(), tch_fixture::LibTorch::default());
    for architecture in [Architecture::Plain, Architecture::Frozen] {
        let there = cross_check(&burn, &libtorch, architecture, 20).unwrap();
        let back = cross_check(&libtorch, &burn, architecture, 20).unwrap();
        for compared in [there, back] {
            let first = &compared.steps[0];
            assert!(first.loss < 1e-5 && first.weights < 1e-5, "{architecture:?}\n{compared}");
            assert!(compared.loss() < 1e-5 && compared.weights() < 1e-4, "{architecture:?}\n{compared}");
        }
    }
}
