//! Checkpoints of every version of the format that there ever was still load, to the last bit.
//!
//! `tests/formats/v1` and so on each hold checkpoints that were written when that was the version, and `known.txt`, what
//! is in them.
#![allow(clippy::unwrap_used)]

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use zae_checkpoint::{
    FORMAT, Format,
    disk::Disk,
    folder::{Folder, scan},
    read_checkpoint,
};
use zae_core::{
    add_ons::EarlyStopping,
    metrics::{Direction, Metrics},
    schedule::{Cosine, ReduceOnPlateau, Schedule},
    snapshot::Snapshot,
    state::State,
    testing::{Architecture, Fixture, FixtureTask, Samples, reference::Reference},
    trainer::Trainer,
};

fn formats() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats")
}

/// What a snapshot holds, line by line, every number by its bits.
fn description(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| writeln!(text, "{what} = {value}").unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let bits = |value: f64| format!("{:016x}", value.to_bits());
    let state = |state: &State| hex(&state.0);
    let run = &snapshot.run;
    let progress = &run.progress;
    line("cursor", format!("{} {}", progress.epoch(), progress.micro_batch()));
    line("step", format!("{} {}", progress.step(), progress.skipped()));
    line("samples", bits(progress.samples()));
    line("due", format!("{} {}", run.due.evaluation, run.due.epoch_end));
    line("seed", run.seed.to_string());
    line("window", run.window.to_string());
    line("unit", run.unit.map_or_else(String::new, bits));
    line("stopped", run.stopped.clone().unwrap_or_default());
    line("lr", bits(run.lr));
    line("epoch batches", format!("{:?}", run.epoch_batches));
    line("schedule", run.schedule.as_ref().map_or_else(String::new, state));
    line("task", run.task.as_ref().map_or_else(String::new, state));
    run.config.iter().for_each(|(name, value)| line(&format!("config {name}"), value.clone()));
    run.add_ons.iter().for_each(|(name, add_on)| line(&format!("add-on {name}"), state(add_on)));
    line("total samples", bits(run.totals.samples()));
    run.totals.metrics().iter().for_each(|(name, value)| line(&format!("total {name}"), bits(*value)));
    for epoch in &run.history.epochs {
        line(&format!("epoch {}", epoch.epoch), format!("{} {} {}", epoch.step, bits(epoch.samples), bits(epoch.lr)));
        epoch.metrics.iter().for_each(|(name, value)| line(&format!("epoch {} {name}", epoch.epoch), bits(*value)));
    }
    for evaluation in &run.history.evaluations {
        let of = format!("evaluation {} {}", evaluation.set, evaluation.step);
        line(&of, format!("{} {}", evaluation.epoch, bits(evaluation.samples)));
        evaluation.metrics.iter().for_each(|(name, value)| line(&format!("{of} {name}"), bits(*value)));
    }
    line("layout", state(&State::encode(&*snapshot.learner.layout).unwrap()));
    for (name, number) in &snapshot.learner.numbers {
        line(name, format!("{number:?}"));
    }
    for (name, tensor) in &snapshot.learner.tensors {
        line(name, format!("{:?} {:?} {}", tensor.dtype, tensor.shape, hex(&tensor.data.bytes().unwrap())));
    }
    text
}

#[test]
fn checkpoints_of_every_version_load_to_the_last_bit() {
    let mut versions = 0;
    for version in (1..=FORMAT).map(|version| formats().join(format!("v{version}"))) {
        let known = fs::read_to_string(version.join("known.txt")).unwrap();
        let entries = scan(&version).unwrap();
        assert_eq!(entries.len(), 2, "one of each encoding in {}", version.display());
        for entry in entries {
            assert_eq!(description(&entry.load().unwrap()), known, "{}", entry.path.display());
            let metrics = &entry.manifest.unwrap().metrics;
            assert_eq!(metrics["valid/loss"].to_bits(), (0.1f64 + 0.2).to_bits());
            assert_eq!(metrics["valid/worst"], f64::INFINITY);
        }
        for pointer in ["last", "best"] {
            assert_eq!(description(&read_checkpoint(&version.join(pointer)).unwrap()), known);
        }
        versions += 1;
    }
    assert_eq!(versions, FORMAT);
}

/// Run it once for a new version of the format, and never again: what it writes is kept for ever.
#[test]
#[ignore = "writes the checkpoints of the present version into the sources"]
fn write_the_checkpoints_of_this_version() {
    let dir = formats().join(format!("v{FORMAT}"));
    assert!(!dir.exists(), "{} is there already", dir.display());
    let fixture = Reference::default();
    let sizes = fixture.sizes(Architecture::Full);
    let batches = |seed| -> Vec<_> {
        let samples = Samples::random(14, sizes.features, sizes.classes, seed);
        samples.batches(&[5, 5, 4]).iter().map(|samples| fixture.batch(samples)).collect()
    };
    let schedule = ReduceOnPlateau::new(Cosine::new(0.02).warmup(3)).patience(0).threshold(0.9);
    let mut trainer = Trainer::new(FixtureTask::new(&fixture), fixture.learner(Architecture::Full))
        .seed(11)
        .handle_signals(false)
        .scheduler(schedule)
        .accumulate(2)
        .add_on(EarlyStopping::new("valid/loss").patience(2));
    trainer.run(2, batches(1), batches(2)).unwrap();
    let mut snapshot = Snapshot::clone(&*trainer.snapshot().unwrap());
    snapshot.run.add_ons.insert("bytes".to_owned(), State(vec![0xc1, 0, 255]));
    let odd =
        (f64::from_bits(0x7ff8_0000_0000_1234), f64::NEG_INFINITY, -0.0, 5e-324, 0.1f32, f32::NAN, Direction::Maximize);
    snapshot.run.add_ons.insert("odd".to_owned(), State::encode(&odd).unwrap());
    let folder = Folder::open(&dir, Disk::new()).unwrap();
    let metrics = Metrics::from([("valid/loss".to_owned(), 0.1 + 0.2), ("valid/worst".to_owned(), f64::INFINITY)]);
    for format in [Format::Safetensors, Format::Ckpt] {
        let saved = folder.save(&snapshot, format, &metrics).unwrap();
        folder.point(zae_checkpoint::folder::Pointer::Last, Some(saved.name)).unwrap();
    }
    let first = scan(&dir).unwrap().pop().unwrap();
    folder.point(zae_checkpoint::folder::Pointer::Best, Some(first.name)).unwrap();
    fs::write(dir.join("known.txt"), description(&snapshot)).unwrap();
    fs::remove_file(dir.join("lock")).unwrap();
}
