//! Runs that show and tell something of each kind, and what is left of it.

// Not every test uses everything.
#![allow(dead_code)]

use std::{io::Write, path::Path};

use serde_json::Value;
use sha2::{Digest, Sha256};
use zae_core::{
    step::Step,
    task::{At, StepResult, Task},
    testing::null::Null,
    trainer::Trainer,
};
use zae_loggers::{Histogram, Image, LogHandle, Table, WandbLogger};

use crate::{wandb_file, wandb_runs::Notices, wandb_server::RunThere};

pub(crate) const STEPS: u64 = 60;

/// Shows something of each kind at every third step, and writes a line at each.
pub(crate) struct Showing(pub(crate) LogHandle);

impl Task for Showing {
    type Learner = Null;
    type Batch = f64;
    fn train_step(&self, (): &(), batch: f64, at: &At) -> StepResult<Self> {
        let log = &self.0;
        writeln!(log.console(), "step {}", at.step).unwrap();
        if at.step.is_multiple_of(3) {
            let image = Image::gray(2, 1, vec![at.step as u8, 255]).unwrap().caption(format!("at {}", at.step));
            log.image("samples/größe?", image);
            log.histogram("weights", Histogram::of([batch, at.step as f64]));
            let mut table = Table::new(["step", "text"]);
            table.row([(at.step as i64).into(), "<é>".into()]).unwrap();
            log.table("t", table);
            log.text("said", format!("<b> {}", at.step));
        }
        Ok(Step::new(batch, 1))
    }
    fn test_step(&self, (): &(), batch: f64, _: &At) -> StepResult<Self> {
        Ok(Step::new(batch, 1))
    }
}

pub(crate) fn trainer(dir: &Path, logger: WandbLogger) -> (Trainer<Showing>, LogHandle, Notices) {
    let (log, told) = (LogHandle::new(), Notices::default());
    let logger = logger.handle(&log);
    let trainer = Trainer::new(Showing(log.clone()), Null::default()).scheduler(1e-3).run_dir(dir);
    (trainer.handle_signals(false).add_on((logger, told.clone())), log, told)
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// What the history has to have, each once and in order, and the files that it names with the bytes that it names.
#[track_caller]
pub(crate) fn assert_shown(lines: &[Value], file: impl Fn(&str) -> Option<Vec<u8>>, steps: u64) {
    let mut expected = Vec::new();
    for step in 0..steps {
        let names: &[&str] =
            if step % 3 == 0 { &["train/loss", "samples/größe?", "weights", "t", "said"] } else { &["train/loss"] };
        expected.extend(names.iter().map(|name| (step, *name)));
    }
    let of_steps = lines.iter().filter(|line| line.get("train/loss_epoch").is_none());
    let of_steps: Vec<&Value> = of_steps.collect();
    assert_eq!(of_steps.len(), expected.len());
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(line["_step"], index as f64);
    }
    for (line, (step, name)) in of_steps.into_iter().zip(expected) {
        assert_eq!(line["trainer/global_step"], step as f64);
        let value = line.get(name).unwrap_or_else(|| panic!("{name} is not in {line}"));
        let Some(path) = value["path"].as_str() else { continue };
        let bytes = file(path).unwrap_or_else(|| panic!("`{path}` is not there"));
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((value["sha256"].as_str(), value["size"].as_u64()), (Some(&*hash), Some(bytes.len() as u64)));
    }
}

#[track_caller]
pub(crate) fn assert_shown_there(run: &RunThere, steps: u64) {
    let lines: Vec<Value> = run.lines.values().map(|line| json(line)).collect();
    assert_shown(
        &lines,
        |path| run.files.get(path).filter(|_| run.uploaded.iter().any(|own| own == path)).cloned(),
        steps,
    );
}

/// The server has each record of the file once that is none of the history.
#[track_caller]
pub(crate) fn assert_asides(run: &RunThere, file: &Path) {
    let count = |field| wandb_file::count(file, field);
    assert_eq!((run.events.len(), run.output.len(), run.alerts.len()), (count(7), count(13), count(10)));
}

pub(crate) fn said(run: &RunThere) -> Vec<String> {
    run.output.values().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}
