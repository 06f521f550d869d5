//! PyTorch takes over what LibTorch trained here: weights, optimizer, the steps that follow.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "../crates/zae-checkpoint/tests/common/interpreter.rs"]
mod interpreter;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use common::{
    python::to_torch,
    tch::{Batch, Classify, Net, data, logits, samples},
};
use interpreter::python;
use tch::Device;
use zae_engine::{
    checkpoint::{
        folder::scan,
        torch::{self, Value},
    },
    prelude::*,
    tch::{Adam, AdamW, Optimizer, Sgd},
};

const STEPS: u64 = 4;

/// A run with this optimizer and its next steps, for PyTorch's `class` to take over.
fn run_to_take_over(class: &str, optimizer: Optimizer, frozen: bool, groups: bool, dir: &Path) {
    let optimizer = if groups {
        optimizer.group_lr(|name| name.starts_with("embedding."), 0.1).group_lr(|name| name.starts_with("head."), 3.0)
    } else {
        optimizer
    };
    let build = move |path: &tch::nn::Path<'_>| {
        let net = Net::new(path);
        let _ = net.embedding.ws.set_requires_grad(!frozen);
        net
    };
    let learner = TchLearner::new(build, optimizer, Device::Cpu);
    let state = StateManager::new().format(Format::Ckpt);
    let mut trainer = Trainer::new(Classify, learner).run_dir(dir).seed(3).scheduler(0.01).add_on(state);
    trainer.run(Until::steps(STEPS), from_fn(|_| (0..3).map(|seed| Ok(samples(seed, 12)))), ()).unwrap();
    let folder = scan(&dir.join("checkpoints")).unwrap().remove(0);
    fs::rename(folder.path.join("checkpoint.ckpt"), dir.join("run.ckpt")).unwrap();

    let next: Vec<Batch> = (10..13).map(|seed| samples(seed, 12)).collect();
    let tuple = |(image, words, y): &Batch| Value::Tuple([image, words, y].map(|x| to_torch(data(x))).into());
    let case = Value::dict([
        ("batches", Value::List(next.iter().map(tuple).collect())),
        ("logits", to_torch(data(&logits(&mut trainer, &next[0])))),
        ("class", class.into()),
        ("frozen", Value::Bool(frozen)),
        ("groups", Value::Bool(groups)),
    ]);
    torch::write(&case, &mut File::create(dir.join("case.pt")).unwrap()).unwrap();
    for (i, batch) in next.into_iter().enumerate() {
        trainer.run_batch(batch).unwrap();
        trainer.save_weights(dir.join(format!("next-{i}.pt"))).unwrap();
    }
}

#[test]
#[ignore = "needs Python with torch: cargo xtask test runs it"]
fn pytorch_takes_over_and_makes_the_same_next_steps() {
    let (plain, frozen, groups) = ((false, false), (true, false), (false, true));
    let runs: [(&str, Optimizer, (bool, bool)); 8] = [
        ("AdamW", AdamW::new().into(), plain),
        ("AdamW", AdamW::new().betas(0.8, 0.95).eps(1e-5).weight_decay(0.1).into(), groups),
        ("AdamW", AdamW::new().amsgrad().into(), frozen),
        ("Adam", Adam::new().weight_decay(1e-2).into(), plain),
        ("SGD", Sgd::new().weight_decay(1e-2).into(), plain),
        ("SGD", Sgd::new().momentum(0.9).dampening(0.1).into(), groups),
        ("SGD", Sgd::new().momentum(0.9).nesterov().into(), frozen),
        ("SGD", Sgd::new().maximize().into(), plain),
    ];
    let dir = tempfile::tempdir().unwrap();
    let mut folders = Vec::new();
    for (i, (class, optimizer, (frozen, groups))) in runs.into_iter().enumerate() {
        folders.push(dir.path().join(format!("{i}-{class}")));
        run_to_take_over(class, optimizer, frozen, groups, &folders[i]);
    }
    let arguments = std::iter::once(Path::new("libtorch")).chain(folders.iter().map(PathBuf::as_path));
    python("take_over.py", &arguments.collect::<Vec<_>>());
}
