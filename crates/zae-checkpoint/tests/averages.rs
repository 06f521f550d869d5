//! Averages of weights in checkpoints: which weights are published, and which are loaded.

#![allow(clippy::unwrap_used, clippy::panic)]

mod program;

use std::{collections::BTreeMap, path::Path};

use program::*;
use tempfile::tempdir;
use zae_checkpoint::{Format, SaveLoad, StateManager, Weights, read_checkpoint};
use zae_core::{
    add_ons::{Ema, Swa},
    learner::StateDict,
    trainer::Trainer,
};

fn model(state: &StateDict) -> BTreeMap<String, Vec<u8>> {
    state.model().map(|(name, tensor)| (name.to_owned(), tensor.data.bytes().unwrap().into_owned())).collect()
}

/// What weights a program gets that knows nothing of the run.
fn loaded(weights: impl Into<Weights>) -> BTreeMap<String, Vec<u8>> {
    let dir = tempdir().unwrap();
    let mut trainer = trainer(dir.path());
    trainer.load_weights(weights).unwrap();
    model(&trainer.state_dict().unwrap())
}

fn averaged(dir: &Path) -> Trainer<Classify> {
    trainer(dir).add_on((Ema::new(0.99), Swa::from_epoch(0).evaluate(false)))
}

#[test]
fn the_weights_that_were_evaluated_are_published_and_loaded() {
    let dir = tempdir().unwrap();
    let mut first = averaged(dir.path());
    run(&mut first).unwrap();
    let state = first.state_dict().unwrap();
    let [raw, ema, swa] = [None, Some("ema"), Some("swa")].map(|slot| model(&state.weights(slot).unwrap()));
    assert!(raw != ema && ema != swa && raw != swa);
    let at = |name: &str| dir.path().join(name);
    for name in ["w.safetensors", "w.pt"] {
        first.save_weights(at(name)).unwrap();
        assert!(loaded(at(name)) == ema, "{name}");
    }
    for name in ["run", "run.ckpt"] {
        first.save(at(name)).unwrap();
        assert!(loaded(at(name)) == ema, "{name}");
        assert!(loaded(Weights::from(&at(name)).trained()) == raw, "{name}");
        assert!(loaded(Weights::from(&at(name)).average("swa")) == swa, "{name}");
    }
    first.use_average(false);
    first.save_weights(at("raw.safetensors")).unwrap();
    assert!(loaded(at("raw.safetensors")) == raw);
    // The whole run comes back as it was, weights and averages.
    let mut again = averaged(dir.path());
    again.load(at("run.ckpt")).unwrap();
    again.use_average(false);
    assert_eq!(bits_of(&mut again), bits_of(&mut first));

    let mut other = trainer(dir.path());
    let error = other.load_weights(Weights::from(&at("run")).average("emma")).unwrap_err().to_string();
    assert!(error.contains("no second set of weights `emma`") && error.contains("{\"ema\", \"swa\"}"), "{error}");
    for name in ["w.safetensors", "w.pt"] {
        let error = other.load_weights(Weights::from(&at(name)).average("ema")).unwrap_err().to_string();
        assert!(error.contains("weights alone") && error.contains("leave out `.average(..)`"), "{error}");
    }
}

/// The metric is that of the average, and so are the weights that `best` gives.
#[test]
fn the_best_checkpoint_is_that_of_the_best_average() {
    for format in [Format::Safetensors, Format::Ckpt] {
        let dir = tempdir().unwrap();
        let manager = || StateManager::in_dir(dir.path().join("kept")).format(format).keep_best("valid/loss", 1);
        let mut first = averaged(dir.path()).add_on(manager());
        let history = run(&mut first).unwrap().history;
        let losses = history.evaluations.iter().map(|evaluation| evaluation.metrics["valid/loss"]);
        let best = losses.min_by(f64::total_cmp).unwrap();
        let weights = dir.path().join("kept/best");
        let mut bare = trainer(dir.path());
        bare.load_weights(&weights).unwrap();
        assert_eq!(bare.evaluate_as("valid", valid_data()).unwrap().metrics["valid/loss"], best, "{format:?}");
        bare.load_weights(Weights::from(&weights).trained()).unwrap();
        assert_ne!(bare.evaluate_as("valid", valid_data()).unwrap().metrics["valid/loss"], best, "{format:?}");
        assert_eq!(read_checkpoint(&weights).unwrap().run.average.as_deref(), Some("ema"));
    }
}

#[test]
fn weights_that_are_loaded_have_no_average_of_others() {
    let dir = tempdir().unwrap();
    let mut first = averaged(dir.path());
    let path = dir.path().join("w.safetensors");
    first.save_weights(&path).unwrap();
    let fresh = model(&first.state_dict().unwrap());
    run(&mut first).unwrap();
    first.load_weights(&path).unwrap();
    assert!(model(&first.weights().unwrap()) == fresh);
    assert!(first.state_dict().unwrap().shadows().is_empty());
}
