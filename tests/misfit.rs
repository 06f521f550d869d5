//! What is said to who goes on with another model or optimizer than the saved ones.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use burn::{
    module::ParamGroup,
    optim::{AdamWConfig, AdanConfig, SgdConfig},
};
use common::{Classify, Net, samples};
use zae_engine::{burn::AnyOptimizer, prelude::*};

fn trainer(net: Net, optimizer: impl Into<AnyOptimizer>) -> Trainer<Classify> {
    with(BurnLearner::new(net, optimizer, &zae_engine::local_device()))
}

fn with(learner: BurnLearner<Net>) -> Trainer<Classify> {
    Trainer::new(Classify, learner).scheduler(0.01)
}

/// The head is called otherwise.
fn renamed() -> Net {
    let mut net = Net::new(0.0);
    net.absent = net.head.take();
    net
}

fn wider() -> Net {
    Net::of_width(9, 0.0)
}

fn assert_says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "no {word}: {error}");
    }
}

fn saved(dir: &Path) -> Trainer<Classify> {
    let mut trainer = trainer(Net::new(0.0), AdamWConfig::new());
    trainer.run(Until::steps(2), &vec![samples(1, 6); 2], ()).unwrap();
    trainer.save(dir.join("run")).unwrap();
    trainer
}

#[test]
fn another_model_is_refused_with_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = saved(dir.path());
    let ways_out = ["the snapshot", "the saved run", "`.fresh()`"];
    let error = trainer(renamed(), AdamWConfig::new()).load(dir.path().join("run")).unwrap_err().to_string();
    assert_says(&error, &ways_out);
    assert_says(&error, &["lacks `model/absent.weight`, `model/absent.bias`", "no `model/head.bias`"]);
    assert!(!error.contains("optimizer/"), "what follows from it is noise: {error}");
    let error = trainer(wider(), AdamWConfig::new()).load(dir.path().join("run")).unwrap_err().to_string();
    assert_says(&error, &ways_out);
    assert_says(&error, &["`model/fc.weight` is F32 [11, 7] in the state and F32 [11, 9] here"]);
    for name in ["w.pt", "w.safetensors", "run"] {
        let path = dir.path().join(name);
        if name != "run" {
            source.save_weights(&path).unwrap();
        }
        let refused = |net| trainer(net, AdamWConfig::new()).load_weights(&path).unwrap_err().to_string();
        let error = refused(renamed());
        assert_says(&error, &[name, "nothing was loaded", "19 fit", "`.rename(..)`", "`.non_strict()`"]);
        assert_says(&error, &["missing: absent.bias, absent.weight; unexpected: head.bias, head.weight"]);
        let error = refused(wider());
        assert_says(&error, &["16 fit", "fc.weight is F32 [11, 7], the model's F32 [11, 9], head.weight is"]);
        let weights = Weights::from(&path).rename("head.", "absent.");
        assert!(trainer(renamed(), AdamWConfig::new()).load_weights(weights).unwrap().is_whole());
        let report = trainer(wider(), AdamWConfig::new()).load_weights(Weights::from(&path).non_strict()).unwrap();
        assert_eq!((report.loaded.len(), report.mismatched.len()), (16, 5));
    }
}

#[test]
fn another_optimizer_is_refused_by_name_and_can_be_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    saved(dir.path());
    let accept = "`.accept_change(\"optimizer\")`";
    let resume = |mut trainer: Trainer<Classify>| {
        let loaded = trainer.load(&path);
        loaded.map(|()| drop(trainer.run_batch(samples(2, 6)).unwrap())).map_err(|e| e.to_string())
    };
    let new = |optimizer: AnyOptimizer| trainer(Net::new(0.0), optimizer);
    assert_eq!(resume(new(AdamWConfig::new().into())), Ok(()));
    let decay = || AdamWConfig::new().with_weight_decay(0.1).into();
    let words = ["`optimizer` AdamW with weight_decay 0.0001, this one AdamW with weight_decay 0.1", accept];
    assert_says(&resume(new(decay())).unwrap_err(), &words);
    assert_eq!(resume(new(decay()).accept_change("optimizer")), Ok(()));
    let sgd = || SgdConfig::new().into();
    assert_says(&resume(new(sgd())).unwrap_err(), &["`optimizer` AdamW, this one SGD", accept, "`.fresh()`"]);
    assert_eq!(resume(new(sgd()).accept_change("optimizer")), Ok(()));
    // PyTorch has no such optimizer, so only its state tells it from the saved one.
    let adan = || AdanConfig::new().into();
    assert_says(&resume(new(adan())).unwrap_err(), &["of another optimizer, or damaged: `optimizer/", accept]);
    assert_eq!(resume(new(adan()).accept_change("optimizer")), Ok(()));
    let device = zae_engine::local_device();
    let learner = || BurnLearner::new(Net::new(0.0), AdamWConfig::new(), &device);
    let groups = learner().group_lr(ParamGroup::from_predicate("head."), 0.1);
    assert_says(&resume(with(groups)).unwrap_err(), &["factors [1.0] on", "factors [1.0, 0.1] on", accept]);
    // Accepted or not, the model has to be the saved one.
    let error = resume(trainer(wider(), SgdConfig::new()).accept_change("optimizer")).unwrap_err();
    assert_says(&error, &["`model/fc.weight` is F32 [11, 7] in the state"]);
}
