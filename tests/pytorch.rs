//! A Burn model's checkpoint is PyTorch's too, and PyTorch's are Burn's: weights, optimizer, the steps that follow.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "../crates/zae-checkpoint/tests/common/interpreter.rs"]
mod interpreter;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use burn::{
    module::{Module, ParamGroup},
    optim::{AdaGradConfig, AdamConfig, AdamWConfig, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig},
    prelude::*,
};
use common::{
    Batch, Classify, Net,
    python::{from_torch, to_torch},
    samples,
};
use interpreter::python;
use zae_engine::{
    burn::AnyOptimizer,
    checkpoint::{
        Bytes,
        folder::scan,
        torch::{self, Value},
    },
    prelude::*,
};

const STEPS: u64 = 4;

fn logits(trainer: &mut Trainer<Classify>, image: Tensor<4>, words: Tensor<2, Int>) -> TensorData {
    trainer.model().unwrap().forward(image, words).into_data()
}

/// What PyTorch has to find: what comes out of the model as it is, and the batches that follow.
fn write_case(path: &Path, trainer: &mut Trainer<Classify>, batches: &[Batch], entries: Vec<(&'static str, Value)>) {
    let batch = |(image, words, y): &Batch| {
        let tensors = [image.to_data(), words.to_data(), y.to_data()];
        Value::Tuple(tensors.map(to_torch).into())
    };
    let (image, words, _) = batches[0].clone();
    let own = [
        ("batches", Value::List(batches.iter().map(batch).collect())),
        ("logits", to_torch(logits(trainer, image, words))),
    ];
    let case = Value::dict(own.into_iter().chain(entries));
    torch::write(&case, &mut File::create(path).unwrap()).unwrap();
}

/// Trained some steps, and saved at the end: the trainer and the checkpoint's folder.
fn trained(learner: BurnLearner<Net>, dir: &Path, format: Format) -> (Trainer<Classify>, PathBuf) {
    let mut trainer =
        Trainer::new(Classify, learner).run_dir(dir).seed(3).scheduler(0.01).add_on(StateManager::new().format(format));
    let batches: Vec<Batch> = (0..3).map(|seed| samples(seed, 12)).collect();
    trainer.run(Until::steps(STEPS), &batches, ()).unwrap();
    let folder = scan(&dir.join("checkpoints")).unwrap().remove(0);
    assert_eq!(folder.manifest.unwrap().step, STEPS);
    (trainer, folder.path)
}

/// A run with this optimizer and its next steps, for PyTorch's `class` to take over.
fn run_to_take_over(class: &str, optimizer: AnyOptimizer, frozen: bool, groups: bool, dir: &Path) {
    let mut net = Net::new(0.0);
    if frozen {
        net.embedding = net.embedding.freeze();
    }
    let mut learner = BurnLearner::new(net, optimizer, &zae_engine::local_device());
    if groups {
        learner = learner.group_lr(ParamGroup::from_predicate("embedding."), 0.1);
        learner = learner.group_lr(ParamGroup::from_predicate("head."), 3.0);
    }
    let (mut trainer, folder) = trained(learner, dir, Format::Ckpt);
    fs::rename(folder.join("checkpoint.ckpt"), dir.join("run.ckpt")).unwrap();
    let batches: Vec<Batch> = (10..13).map(|seed| samples(seed, 12)).collect();
    let entries = vec![("class", class.into()), ("frozen", Value::Bool(frozen)), ("groups", Value::Bool(groups))];
    write_case(&dir.join("case.pt"), &mut trainer, &batches, entries);
    for (i, batch) in batches.into_iter().enumerate() {
        trainer.run_batch(batch).unwrap();
        trainer.save_weights(dir.join(format!("next-{i}.pt"))).unwrap();
    }
}

#[test]
#[ignore = "needs Python with torch: cargo xtask test runs it"]
fn pytorch_takes_over_and_makes_the_same_next_steps() {
    let decay = || Some(WeightDecayConfig::new(1e-2));
    let momentum = |nesterov| Some(MomentumConfig::new().with_nesterov(nesterov));
    let undamped = MomentumConfig::new().with_dampening(0.0).with_nesterov(true);
    let as_pytorch = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(1e-2);
    let (plain, frozen, groups) = ((false, false), (true, false), (false, true));
    let runs: [(&str, AnyOptimizer, (bool, bool)); 10] = [
        ("AdamW", AdamWConfig::new().into(), plain),
        ("AdamW", as_pytorch.clone().into(), groups),
        ("AdamW", as_pytorch.with_amsgrad(true).into(), frozen),
        ("Adam", AdamConfig::new().with_weight_decay(decay()).into(), plain),
        ("SGD", SgdConfig::new().with_weight_decay(decay()).into(), plain),
        ("SGD", SgdConfig::new().with_momentum(momentum(false)).into(), groups),
        ("SGD", SgdConfig::new().with_momentum(momentum(true)).with_weight_decay(decay()).into(), frozen),
        ("SGD", SgdConfig::new().with_momentum(Some(undamped)).into(), plain),
        ("Adagrad", AdaGradConfig::new().with_weight_decay(decay()).into(), groups),
        ("Adagrad", AdaGradConfig::new().with_lr_decay(0.1).into(), frozen),
    ];
    let dir = tempfile::tempdir().unwrap();
    let mut folders = Vec::new();
    for (i, (class, optimizer, (frozen, groups))) in runs.into_iter().enumerate() {
        folders.push(dir.path().join(format!("{i}-{class}")));
        run_to_take_over(class, optimizer, frozen, groups, &folders[i]);
    }
    let arguments = std::iter::once(Path::new("burn")).chain(folders.iter().map(PathBuf::as_path));
    python("take_over.py", &arguments.collect::<Vec<_>>());
}

#[test]
#[ignore = "needs Python with torch: cargo xtask test runs it"]
fn python_reads_the_folder_of_the_default_format() {
    let dir = tempfile::tempdir().unwrap();
    let learner = BurnLearner::new(Net::new(0.3), AdamWConfig::new(), &zae_engine::local_device());
    let (mut trainer, folder) = trained(learner, dir.path(), Format::default());
    let case = dir.path().join("case.pt");
    write_case(&case, &mut trainer, &[samples(10, 12)], Vec::new());
    python("read_folder.py", &[&case, &folder]);
}

/// The same logits, up to 1e-5 of the largest.
fn assert_agree(found: TensorData, expected: TensorData, what: &str) {
    let [found, expected] = [found, expected].map(|data| data.try_to_vec::<f32>().unwrap());
    assert_eq!(found.len(), expected.len());
    let largest = |numbers: &mut dyn Iterator<Item = f32>| numbers.fold(0f32, |most, x| most.max(x.abs()));
    let difference = largest(&mut found.iter().zip(&expected).map(|(a, b)| a - b));
    let scale = largest(&mut expected.iter().copied());
    assert!(scale > 0.1 && difference <= 1e-5 * scale, "{what}: {difference} of {scale}");
}

#[test]
#[ignore = "needs Python with torch: cargo xtask test runs it"]
fn weights_of_pytorch_give_the_same_logits() {
    let dir = tempfile::tempdir().unwrap();
    python("theirs.py", &[dir.path()]);
    let file = |name: &str| dir.path().join(name);
    let expected = torch::read(&Bytes::map(&file("expected.pt")).unwrap()).unwrap();
    let host = Device::flex();
    let image = Tensor::<4>::from_data(from_torch(&expected, "image"), &host);
    let words = Tensor::<2, Int>::from_data(from_torch(&expected, "words"), &host);
    let new = || {
        let learner = BurnLearner::new(Net::new(0.3), AdamWConfig::new(), &zae_engine::local_device());
        Trainer::new(Classify, learner).scheduler(0.01)
    };
    for (name, of) in [
        ("theirs.pt", "theirs"),
        ("training.pt", "theirs"),
        ("theirs.safetensors", "theirs"),
        ("half.pt", "half"),
        ("half.safetensors", "half"),
        ("lightning.ckpt", "lightning"),
    ] {
        let mut trainer = new();
        let mut weights = Weights::from(&file(name));
        if of == "half" {
            let error = trainer.load_weights(weights.clone()).unwrap_err().to_string();
            assert!(error.contains("BF16") && error.contains("`.cast()`"), "{error}");
            weights = weights.cast();
        }
        if of == "lightning" {
            let error = trainer.load_weights(weights.clone()).unwrap_err().to_string();
            assert!(error.contains("`.strip_prefix(\"model.\")`"), "{error}");
            weights = weights.strip_prefix("model.");
        }
        let report = trainer.load_weights(weights).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(report.is_whole() && report.loaded.len() == 21, "{name}: {report}");
        assert_agree(logits(&mut trainer, image.clone(), words.clone()), from_torch(&expected, of), name);
        // And it trains on from there.
        trainer.run_batch(samples(1, 6)).unwrap();
    }
}
