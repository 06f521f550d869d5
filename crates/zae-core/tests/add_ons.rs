//! The add-ons of `zae-core` in real runs.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use zae_core::{
    add_on::{AddOn, Context, Moment, Phase},
    add_ons::{CsvLogger, EarlyStopping, EpochTable},
    data::from_fn,
    error::Fallible,
    learner::StateDict,
    progress::ProgressChecker,
    snapshot::Snapshot,
    state::State,
    testing::{
        Notices,
        null::{Echo, Null, batches, loss, trainer},
    },
    trainer::{Outcome, Trainer},
};

/// A log as it is on disk.
struct Log {
    rows: Vec<BTreeMap<String, String>>,
}

impl Log {
    fn read(path: impl AsRef<Path>) -> Self {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.ends_with('\n'));
        let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
        let names = lines.next().unwrap();
        let row = |cells: Vec<String>| {
            assert_eq!(cells.len(), names.len(), "{cells:?}");
            names.iter().cloned().zip(cells).collect()
        };
        Self { rows: lines.map(row).collect() }
    }

    fn events(&self, event: &str) -> Vec<&BTreeMap<String, String>> {
        self.rows.iter().filter(|row| row["event"] == event).collect()
    }

    /// Every step up to `steps` exactly once, in order, with the exact values of its batch.
    fn assert_steps(&self, steps: u64, per_epoch: u64) {
        let rows = self.events("step");
        assert_eq!(rows.len() as u64, steps);
        for (step, row) in rows.into_iter().enumerate() {
            let (epoch, micro_batch) = (step as u64 / per_epoch, step as u64 % per_epoch);
            let at = [("epoch", epoch), ("step", step as u64), ("micro_batch", micro_batch)];
            at.iter().for_each(|(name, value)| assert_eq!(row[*name], value.to_string()));
            assert_eq!(number(row, "train/loss").to_bits(), loss(epoch, micro_batch).to_bits());
            assert_eq!(number(row, "train/accuracy").to_bits(), (1.0 - loss(epoch, micro_batch)).to_bits());
            assert_eq!((number(row, "lr"), number(row, "samples")), (1e-3, 32.0 * (step + 1) as f64));
        }
    }
}

fn number(row: &BTreeMap<String, String>, name: &str) -> f64 {
    row[name].parse().unwrap()
}

/// Takes the trainer's place in keeping snapshots: one file, after so many steps.
struct Keep {
    file: PathBuf,
    after: u64,
}

impl AddOn for Keep {
    fn name(&self) -> &'static str {
        "keep"
    }
    fn phase(&self) -> Phase {
        Phase::Persist
    }
    fn wants_snapshot(&self, moment: Moment, progress: &ProgressChecker) -> bool {
        moment == Moment::Step && progress.step() == self.after
    }
    fn on_snapshot(&mut self, snapshot: &Arc<Snapshot>, _: &mut Context<'_>) -> Fallible {
        for durable in &snapshot.durable {
            durable()?;
        }
        let beside = self.file.with_extension("tmp");
        fs::write(&beside, State::encode(&snapshot.run)?.0)?;
        Ok(fs::rename(beside, &self.file)?)
    }
    fn latest(&mut self, _: Option<&Path>) -> Fallible<Option<Arc<Snapshot>>> {
        let Ok(bytes) = fs::read(&self.file) else { return Ok(None) };
        Ok(Some(Arc::new(Snapshot::new(State(bytes).decode()?, StateDict::default()))))
    }
}

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    fn get(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Starts this very program to do what [`child`] does for a role.
fn start(role: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture"]);
    command.env("ZAE_CHILD", role).env("ZAE_DIR", dir).stdin(Stdio::null());
    command
}

#[test]
#[ignore = "a process that other tests start"]
fn child() {
    let Some(dir) = std::env::var_os("ZAE_DIR").map(PathBuf::from) else { return };
    match std::env::var("ZAE_CHILD").unwrap().as_str() {
        "slow" => {
            let keep = Keep { file: dir.join("kept"), after: 150 };
            let data = from_fn(|epoch| {
                (0..100).map(move |i| {
                    std::thread::sleep(Duration::from_micros(300));
                    Ok(loss(epoch, i))
                })
            });
            trainer().run_dir(&dir).add_on((CsvLogger::new(), keep)).run(100_000, data, batches(3)).unwrap();
        }
        "full" => {
            let told = Notices::default();
            let mut trainer = trainer().run_dir(&dir).add_on((CsvLogger::new(), told.clone()));
            // The training goes on when the log cannot, and the next run is told of it again.
            for epochs in [20, 40] {
                trainer.run(epochs, batches(1000), batches(1)).unwrap();
            }
            assert_eq!(trainer.progress().step(), 40_000);
            let told = told.warnings();
            assert_eq!(told.len(), 2, "{told:?}");
            assert!(
                told.iter().all(|text| text.contains("metrics.csv") && text.contains("File too large")),
                "{told:?}"
            );
        }
        #[cfg(feature = "bar")]
        "bar" => {
            use zae_core::add_ons::ProgressBar;
            let mut trainer = trainer().add_on((EpochTable::new(), ProgressBar::new()));
            trainer.evaluate(batches(5)).unwrap();
            trainer.inference(vec![0.5; 3]).unwrap();
            trainer.run(3, vec![0.5; 10], vec![0.25; 4]).unwrap();
            trainer.run(3, vec![0.5; 10], vec![0.25; 4]).unwrap();
            trainer.run_batch(0.125).unwrap();
            let failed = trainer.run(4, from_fn(|_| [Ok(0.5), Err("bad sector".into())]), ());
            writeln!(std::io::stderr(), "the program: {}", failed.unwrap_err()).unwrap();
        }
        #[cfg(feature = "bar")]
        "terminal" => {
            use zae_core::add_ons::ProgressBar;
            let slow = |n: u64| {
                let pause = || std::thread::sleep(Duration::from_millis(10));
                from_fn(move |epoch| (0..n).map(move |i| Ok((pause(), loss(epoch, i)).1)))
            };
            let mut trainer = trainer().add_on((EpochTable::new(), ProgressBar::new()));
            trainer.run(2, slow(40), slow(40)).unwrap();
            let failed = trainer.run(3, from_fn(|_| [Ok(0.5), Err("bad sector".into())]), ());
            writeln!(std::io::stderr(), "the program: {}", failed.unwrap_err()).unwrap();
        }
        role => unreachable!("{role}"),
    }
}

fn wait_until(mut ready: impl FnMut() -> bool) {
    let since = Instant::now();
    while !ready() {
        assert!(since.elapsed() < Duration::from_secs(60), "waited for too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_log_has_every_step_evaluation_and_epoch() {
    for asynchronous in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::new(Echo, Null { asynchronous }).scheduler(1e-3).log_every(7);
        trainer = trainer.run_dir(dir.path()).add_on(CsvLogger::new());
        let run = trainer.run(3, batches(100), batches(5)).unwrap();
        let log = Log::read(dir.path().join("metrics.csv"));
        log.assert_steps(300, 100);
        assert_eq!(log.rows.len(), 306);
        for (row, epoch) in log.events("epoch").into_iter().zip(&run.history.epochs) {
            assert_eq!(row["epoch"], epoch.epoch.to_string());
            for (name, value) in &epoch.metrics {
                assert_eq!(number(row, name).to_bits(), value.to_bits(), "{name}");
            }
        }
        for (row, evaluation) in log.events("evaluation").into_iter().zip(&run.history.evaluations) {
            assert_eq!(number(row, "step"), evaluation.step as f64);
            assert_eq!(number(row, "valid/loss").to_bits(), evaluation.loss().unwrap().to_bits());
            assert_eq!(row["train/loss"], "");
        }
        // More runs and evaluations of the same trainer go on in the same file.
        trainer.run(4, batches(100), ()).unwrap();
        trainer.evaluate(batches(2)).unwrap();
        drop(trainer);
        let log = Log::read(dir.path().join("metrics.csv"));
        log.assert_steps(400, 100);
        assert!(log.rows.last().unwrap()["test/loss"].parse::<f64>().is_ok());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_resume_at_any_step_has_every_row_once() {
    let whole = tempfile::tempdir().unwrap();
    let new = |dir: &Path| trainer().run_dir(dir).add_on(CsvLogger::new());
    new(whole.path()).run(2, batches(5), batches(2)).unwrap();
    let without_clock = |dir: &Path| {
        let mut rows = Log::read(dir.join("metrics.csv")).rows;
        rows.iter_mut().for_each(|row| drop(row.remove("seconds")));
        rows
    };
    for cut in 0..=10 {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        let keep = Keep { file: kept.clone(), after: cut };
        new(dir.path()).add_on(keep).run(2, batches(5), batches(2)).unwrap();
        new(dir.path()).add_on(Keep { file: kept, after: 0 }).run(2, batches(5), batches(2)).unwrap();
        assert_eq!(without_clock(dir.path()), without_clock(whole.path()), "cut after {cut}");
    }
}

#[test]
fn a_trainer_that_goes_back_cuts_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut trainer = trainer().run_dir(dir.path()).add_on(CsvLogger::new());
    trainer.run(1, batches(10), ()).unwrap();
    let snapshot = trainer.snapshot().unwrap();
    trainer.run(3, batches(10), ()).unwrap();
    trainer.restore(&snapshot).unwrap();
    assert_eq!(trainer.snapshot().unwrap().run.add_ons["csv"], snapshot.run.add_ons["csv"]);
    trainer.evaluate(batches(1)).unwrap();
    trainer.run(2, batches(10), ()).unwrap();
    let log = Log::read(dir.path().join("metrics.csv"));
    log.assert_steps(20, 10);
    assert_eq!(log.rows.len(), 20 + 2 + 1);
}

#[test]
fn a_new_run_keeps_the_log_of_the_last_one() {
    let dir = tempfile::tempdir().unwrap();
    let new = || trainer().run_dir(dir.path()).add_on(CsvLogger::new());
    new().run(1, batches(4), ()).unwrap();
    // An evaluation alone begins no new log.
    new().evaluate(batches(2)).unwrap();
    new().run(1, batches(7), ()).unwrap();
    let first = Log::read(dir.path().join("metrics.1.csv"));
    first.assert_steps(4, 4);
    assert_eq!(first.events("evaluation").len(), 1);
    Log::read(dir.path().join("metrics.csv")).assert_steps(7, 7);
}

#[test]
fn rows_reach_the_file_while_the_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.csv");
    let mut trainer = trainer().run_dir(dir.path()).add_on(CsvLogger::new());
    for step in 0..3 {
        trainer.run_batch(loss(0, step)).unwrap();
        wait_until(|| fs::read_to_string(&path).is_ok_and(|text| text.lines().count() as u64 == step + 2));
    }
}

#[test]
fn what_stands_in_the_way_is_said_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (file, folder) = (dir.path().join("file"), dir.path().join("folder"));
    fs::write(&file, "x").unwrap();
    fs::create_dir(&folder).unwrap();
    let error = |trainer: Trainer<Echo>| {
        let mut trainer = trainer;
        let error = trainer.run(1, batches(3), ()).unwrap_err().to_string();
        assert_eq!(trainer.progress().step(), 0);
        error
    };
    let text = error(trainer().run_dir(&file).add_on(CsvLogger::new()));
    assert!(text.contains("the run folder") && text.contains("file"), "{text}");
    let text = error(trainer().add_on(CsvLogger::to(file.join("m.csv"))));
    assert!(text.contains("add-on `csv`") && text.contains("file/m.csv"), "{text}");
    let text = error(trainer().add_on(CsvLogger::to(&folder)));
    assert!(text.contains("folder` is not a regular file"), "{text}");
    let text = error(trainer().add_on(CsvLogger::new()));
    assert!(text.contains("`.run_dir(..)`"), "{text}");
}

#[test]
#[cfg(unix)]
fn a_full_disk_ends_no_run() {
    let dir = tempfile::tempdir().unwrap();
    let program = start("full", dir.path());
    // A limit on the size of files, as an error and not as a signal.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""]).arg(program.get_program());
    shell.args(program.get_args()).envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let out = shell.output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("1 passed"), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
}

/// Ends a process that is still there when its test fails.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_killed_run_loses_no_row_before_its_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (log, kept) = (dir.path().join("metrics.csv"), dir.path().join("kept"));
    let mut command = start("slow", dir.path());
    let process = Guard(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let rows = || fs::read_to_string(&log).map_or(0, |text| text.lines().count());
    // The snapshot is there, and the log goes beyond it.
    wait_until(|| kept.exists() && rows() > 200);
    drop(process);
    let mut killed = trainer().run_dir(dir.path()).add_on((CsvLogger::new(), Keep { file: kept, after: 0 }));
    killed.run(5, batches(100), batches(3)).unwrap();
    let log = Log::read(log);
    log.assert_steps(500, 100);
    assert_eq!((log.events("epoch").len(), log.events("evaluation").len()), (5, 5));
}

#[test]
fn early_stopping_ends_the_run_and_says_why() {
    let validations = |values: &'static [f64]| {
        let at = std::sync::atomic::AtomicUsize::new(0);
        from_fn(move |_| [Ok(values[at.fetch_add(1, std::sync::atomic::Ordering::Relaxed)])])
    };
    let stop = || (EarlyStopping::new("valid/loss").patience(2), EarlyStopping::new("valid/accuracy").patience(9));
    let mut stopped = trainer().add_on(stop());
    // What is measured on other data does not count.
    (0..5).for_each(|_| drop(stopped.evaluate(vec![9.0]).unwrap()));
    let run = stopped.run(100, batches(3), validations(&[0.5, 0.4, 0.4, 0.45, 0.0])).unwrap();
    let Outcome::Stopped(reason) = run.outcome else { unreachable!("{:?}", run.outcome) };
    assert!(reason.contains("`valid/loss`") && reason.contains("best 0.4, patience 2"), "{reason}");
    assert_eq!(run.history.epochs.len(), 4);
    // A resume in between goes on counting.
    let mut first = trainer().add_on(stop());
    first.run(3, batches(3), validations(&[0.5, 0.4, 0.4])).unwrap();
    let mut second = trainer().add_on(stop());
    second.restore(&first.snapshot().unwrap()).unwrap();
    let run = second.run(100, batches(3), validations(&[0.45, 0.0])).unwrap();
    assert_eq!((run.outcome, run.history.epochs.len()), (Outcome::Stopped(reason), 4));
    let error = trainer().add_on(EarlyStopping::new("loss")).run(2, batches(3), batches(1)).unwrap_err().to_string();
    assert!(error.contains("watches `loss`") && error.contains("valid/accuracy, valid/loss"), "{error}");
}

#[test]
fn the_table_of_epochs_is_written_at_the_end() {
    let text = Text::default();
    let mut trainer = trainer().add_on(EpochTable::to(text.clone()));
    trainer.run(3, vec![0.5], vec![0.25]).unwrap();
    let text = text.get();
    assert!(text.starts_with("epoch  train/loss  valid/loss  train/accuracy  valid/accuracy     lr"), "{text}");
    assert_eq!(text.lines().count(), 5);
}

#[test]
#[cfg(feature = "bar")]
fn without_a_terminal_progress_is_plain_lines() {
    let dir = tempfile::tempdir().unwrap();
    let out = start("bar", dir.path()).output().unwrap();
    assert!(out.status.success());
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    let lines: Vec<_> = text.lines().collect();
    let metrics = "train/accuracy 0.5000  train/loss 0.5000  valid/accuracy 0.7500  valid/loss 0.2500  lr 0.001  ";
    assert_eq!(lines[0], "training to 3 epochs, 30 steps");
    (1..=3).for_each(|n| assert!(lines[n].starts_with(&format!("epoch {n}/3  {metrics}")), "{}", lines[n]));
    assert!(lines[4].starts_with("complete: 3 epochs, 30 steps in "));
    let table = |at: usize| assert!(lines[at].starts_with("epoch  train/loss") && lines[at + 4].starts_with("* best"));
    table(5);
    assert!(lines[10].starts_with("NOTHING WAS TRAINED: the run was complete already (3 epochs, 30 steps)"));
    table(11);
    assert_eq!(lines[16], "training goes on from 31 steps to 4 epochs");
    assert!(lines[17].starts_with("the program: the data (epoch 3") && lines[17].ends_with("bad sector"));
    assert_eq!(lines.len(), 18);
}

#[test]
#[cfg(all(feature = "bar", target_os = "linux"))]
fn on_a_terminal_the_bar_is_gone_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let program = start("terminal", dir.path());
    // `script` runs a command on a terminal of its own.
    let line: Vec<_> = [program.get_program()].into_iter().chain(program.get_args()).map(|arg| arg.to_str()).collect();
    let line = line.into_iter().collect::<Option<Vec<_>>>().unwrap().join(" ");
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").stdin(Stdio::null());
    script.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let Ok(out) = script.output() else { return };
    let text = String::from_utf8(out.stdout).unwrap();
    let (before, after) = text.split_once("complete: 2 epochs, 80 steps in ").unwrap();
    assert!(
        before.contains("epoch 1/2  batch ") && before.contains("epoch 2/2") && before.contains("valid "),
        "{text:?}"
    );
    // What comes next begins on a line that was cleared.
    assert!(before.ends_with("\x1b[2K") || before.ends_with("\x1b[2K\x1b[1A"), "{text:?}");
    assert!(!after.contains('\x1b') && after.contains("\nthe program: the data"), "{text:?}");
}
