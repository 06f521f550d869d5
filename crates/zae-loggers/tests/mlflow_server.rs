//! Runs that are logged to a real MLflow server: whole, without it, killed, and resumed from older checkpoints.

#![cfg(all(feature = "mlflow", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod interpreter;
mod mlflow_peer;
mod mlflow_shown;
mod runs;

use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use base64::Engine;
use mlflow_peer::{Server, free_port};
use mlflow_shown::Showing;
use runs::*;
use serde_json::Value;
use tempfile::tempdir;
use zae_core::{
    data::from_fn,
    step::Step,
    task::{At, StepResult, Task},
    testing::{
        Architecture, Fixture,
        reference::{Batch, Net, Reference, ReferenceLearner},
    },
    trainer::{Outcome, Trainer, Until},
};
use zae_loggers::{Level, LogHandle, MlflowLogger, Upload};

fn logger(uri: &str, experiment: &str) -> MlflowLogger {
    let often =
        Upload::default().every(Duration::from_millis(20)).retry(Duration::from_millis(50), Duration::from_millis(200));
    let settings = serde_json::json!({"width": 24, "optimizer": {"name": "adam", "betas": [0.9, 0.999]}, "empty": "", "top@5": null});
    MlflowLogger::new(experiment)
        .tracking_uri(uri)
        .run_name("wide")
        .tag("team", "vision")
        .note("A *note*.")
        .config(&settings)
        .upload(often)
}

/// Trains, in the experiment of this name.
fn train(run_dir: &Path, uri: &str, experiment: &str, epochs: u64) {
    let run = trainer(run_dir).add_on(logger(uri, experiment)).run(epochs, train_data(), valid_data()).unwrap();
    assert!(matches!(run.outcome, Outcome::Complete | Outcome::AlreadyComplete));
}

/// As MLflow has them: other names, and the largest number for infinity.
fn expected_there(run_dir: &Path) -> Curves {
    let change = |(name, points): (String, Vec<(u64, u32)>)| {
        // The largest `f64` is infinite as an `f32`, so that infinities are what they were.
        let mut points = points;
        points.sort_unstable_by_key(|point| point.0);
        (name.replace('✓', "_"), points)
    };
    expected(run_dir).into_iter().map(change).collect()
}

#[track_caller]
fn assert_same(found: &Curves, expected: &Curves) {
    for name in expected.keys().chain(found.keys()) {
        assert!(found.get(name) == expected.get(name), "{name}: {:?}, not {:?}", found.get(name), expected.get(name));
    }
}

fn the_run(server: &Server, experiment: &str) -> Value {
    let mut runs = server.runs(experiment);
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.remove(0)
}

fn pairs(list: &Value) -> std::collections::BTreeMap<&str, &str> {
    list.as_array().unwrap().iter().map(|own| (own["key"].as_str().unwrap(), own["value"].as_str().unwrap())).collect()
}

#[test]
#[ignore = "needs Python with MLflow"]
fn runs_are_there_with_all_that_belongs_to_them() {
    let there = tempdir().unwrap();
    let server = Server::start(there.path(), free_port());
    a_run_that_goes_on_from_older_checkpoints(&server);
    steps_of_thousands_of_metrics(&server);
    a_run_that_is_killed_over_and_over(&server, there.path());
    what_is_shown_by_a_run_that_is_killed(&server);
}

fn a_run_that_goes_on_from_older_checkpoints(server: &Server) {
    let dir = tempdir().unwrap();
    let mut trainer = trainer(dir.path()).add_on(logger(&server.uri(), "digits"));
    trainer.run(2, train_data(), valid_data()).unwrap();
    assert_eq!(the_run(server, "digits")["info"]["status"], "FINISHED");
    let logged = expected_there(dir.path());
    // Nothing of it is in a checkpoint: resumed runs do not know that it has a row.
    let test = trainer.evaluate(valid_data()).unwrap();
    drop(trainer);
    let run = the_run(server, "digits");
    let curves = server.curves(&run);
    assert_same(&curves, &expected_there(dir.path()));
    assert_eq!(curves.len(), logged.len() + test.metrics.len());
    assert_eq!((&run["info"]["status"], &run["info"]["run_name"]), (&"FINISHED".into(), &"wide".into()));
    let (params, tags) = (pairs(&run["data"]["params"]), pairs(&run["data"]["tags"]));
    assert_eq!((params["width"], params["optimizer/betas/1"], params["optimizer/name"]), ("24", "0.999", "adam"));
    assert_eq!((params["top_5"], params["empty"], params["trainer/engine"]), ("null", "", "reference"));
    assert_eq!((tags["team"], tags["mlflow.note.content"]), ("vision", "A *note*."));
    assert_eq!((tags["mlflow.source.type"], tags["mlflow.source.git.commit"].len()), ("LOCAL", 40));
    for (removed, epochs) in [(0, 3), (1, 4), (4, 4), (6, 5)] {
        remove_newest_checkpoints(dir.path(), removed);
        train(dir.path(), &server.uri(), "digits", epochs);
        let run = the_run(server, "digits");
        assert_eq!(run["info"]["status"], "FINISHED");
        let (mut found, expected) = (server.curves(&run), expected_there(dir.path()));
        // The file with which it is compared has lost it.
        found.retain(|name, _| !name.starts_with("test/"));
        assert_same(&found, &expected);
    }
}

#[test]
#[ignore = "needs Python with MLflow"]
fn a_server_that_is_away_or_dies_gets_everything_when_it_is_back() {
    let (dir, there) = (tempdir().unwrap(), tempdir().unwrap());
    let port = free_port();
    let uri = format!("http://127.0.0.1:{port}");
    // Away from the start: the run is complete, and what it says is true.
    let notices = Notices::default();
    let impatient = logger(&uri, "digits").finish_within(Duration::from_millis(100));
    let mut away = trainer(dir.path()).add_on((impatient, notices.clone()));
    assert_eq!(away.run(1, train_data(), valid_data()).unwrap().outcome, Outcome::Complete);
    drop(away);
    let warnings = notices.warnings();
    assert!(warnings.iter().any(|text| text.contains("zae_loggers::mlflow::sync")), "{warnings:?}");
    // Started again, the program sends it though there is nothing left to train.
    let server = Server::start(there.path(), port);
    train(dir.path(), &uri, "digits", 1);
    let run = the_run(&server, "digits");
    assert_same(&server.curves(&run), &expected_there(dir.path()));
    assert_eq!(run["info"]["status"], "FINISHED");
    // Dead in the middle, and back with the same database.
    let (folder, of) = (dir.path().to_owned(), uri.clone());
    let training = thread::spawn(move || {
        let patient = logger(&of, "digits").finish_within(Duration::from_secs(300));
        trainer(&folder).add_on(patient).run(60, train_data(), valid_data()).unwrap();
    });
    let since = Instant::now();
    while the_run(&server, "digits")["info"]["status"] != "RUNNING" {
        assert!(since.elapsed() < Duration::from_secs(60));
    }
    drop(server);
    let server = Server::start(there.path(), port);
    training.join().unwrap();
    let run = the_run(&server, "digits");
    assert_eq!(run["info"]["status"], "FINISHED");
    assert_same(&server.curves(&run), &expected_there(dir.path()));
}

/// More metrics than one request may have, or else one by a name whose letters are letters here, but not to MLflow.
struct Wide(usize);

const WIDTH: usize = 2_500;

impl Task for Wide {
    type Learner = ReferenceLearner;
    type Batch = Batch;
    fn train_step(&self, model: &Net, batch: Batch, _: &At) -> StepResult<Self> {
        let (loss, _) = model.loss(&batch)?;
        let step = Step::new(loss, batch.labels.len());
        let step = if self.0 == 0 { step.number("हिन्दी", 1.0) } else { step };
        Ok((0..self.0).fold(step, |step, i| step.number(format!("größe/{}{i}", "x".repeat(i % 300)), i as f64)))
    }
    fn test_step(&self, model: &Net, batch: Batch, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

fn run_of(server: &Server, width: usize, experiment: &str) -> Value {
    let (dir, notices) = (tempdir().unwrap(), Notices::default());
    let learner = Reference { asynchronous: false }.learner(Architecture::Full);
    let mut trainer = Trainer::new(Wide(width), learner).run_dir(dir.path()).scheduler(0.01).handle_signals(false);
    let patient = logger(&server.uri(), experiment).finish_within(Duration::from_secs(300));
    trainer = trainer.add_on((patient, notices.clone()));
    trainer.run(1, train_data(), ()).unwrap();
    drop(trainer);
    assert!(notices.warnings().is_empty(), "{:?}", notices.warnings());
    let run = the_run(server, experiment);
    assert_eq!(run["info"]["status"], "FINISHED");
    run
}

fn steps_of_thousands_of_metrics(server: &Server) {
    let run = run_of(server, WIDTH, "wide");
    let names = run["data"]["metrics"].as_array().unwrap();
    assert_eq!(names.iter().filter(|own| own["key"].as_str().unwrap().starts_with("train/größe/")).count(), 2 * WIDTH);
    assert!(names.iter().all(|own| own["step"] == 4 || own["step"] == 5), "the last step of each");
    let run = run_of(server, 0, "script");
    let names: Vec<_> =
        run["data"]["metrics"].as_array().unwrap().iter().map(|own| own["key"].as_str().unwrap()).collect();
    assert!(names.len() == 5 && names.iter().any(|name| name.starts_with("train/u939_")), "{names:?}");
}

// ---- processes ----

const DIR: &str = "ZAE_CHILD_DIR";
const URI: &str = "ZAE_CHILD_URI";
const SHOWS: &str = "ZAE_CHILD_SHOWS";
const EPOCHS: u64 = 40;

/// Does nothing unless this process is the child.
#[test]
fn child() {
    let Ok(dir) = env::var(DIR).map(PathBuf::from) else { return };
    let uri = env::var(URI).unwrap();
    if env::var_os(SHOWS).is_some() {
        show(&dir, &uri);
    } else {
        train(&dir, &uri, "killed", EPOCHS);
    }
}

fn start(dir: &Path, uri: &str, shows: bool) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["child", "--exact"]).env(DIR, dir).env(URI, uri).stdout(Stdio::null()).stderr(Stdio::null());
    if shows {
        command.env(SHOWS, "1");
    }
    command.spawn().unwrap()
}

/// When its spool has so many bytes.
fn kill_at(mut child: Child, spool: &Path, bytes: u64) {
    let since = Instant::now();
    while spool.metadata().map_or(0, |meta| meta.len()) < bytes {
        assert!(child.try_wait().unwrap().is_none() && since.elapsed() < Duration::from_secs(120));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn a_run_that_is_killed_over_and_over(server: &Server, there: &Path) {
    let dir = tempdir().unwrap();
    let spool = dir.path().join("mlflow/spool.jsonl");
    for kills in 1..=3 {
        kill_at(start(dir.path(), &server.uri(), false), &spool, kills * 12_000);
        remove_newest_checkpoints(dir.path(), 2);
    }
    // What is left behind by the last that is killed.
    zae_loggers::mlflow::sync(spool.parent().unwrap()).unwrap();
    assert_eq!(the_run(server, "killed")["info"]["status"], "KILLED");
    assert!(start(dir.path(), &server.uri(), false).wait().unwrap().success());
    let run = the_run(server, "killed");
    assert_eq!(run["info"]["status"], "FINISHED");
    let (found, expected) = (server.curves(&run), expected_there(dir.path()));
    if found != expected {
        // Whether the spool has what the server lacks tells who has lost it.
        println!("look at `{}`; the server says {}", dir.keep().display(), server.log(there));
    }
    assert_same(&found, &expected);
}

const STEPS: u64 = 240;

/// Slowly enough to be killed in between.
fn show(run_dir: &Path, uri: &str) {
    let log = LogHandle::new();
    let logger = logger(uri, "shown").handle(&log);
    #[cfg(feature = "system-metrics")]
    let logger = logger.system_metrics(Duration::from_millis(100));
    let slow = from_fn(|_| {
        (0..STEPS).map(|i| {
            thread::sleep(Duration::from_millis(5));
            Ok(i as f64)
        })
    });
    log.file(env::current_exe().unwrap());
    log.alert(Level::Warn, "Look", "at this");
    writeln!(log.console(), "it shows").unwrap();
    mlflow_shown::of(run_dir, Showing(log)).add_on(logger).run(Until::steps(STEPS), slow, ()).unwrap();
}

/// By MLflow's own client: every file once, images with the very pixels, and by the names that MLflow itself gives.
fn what_is_shown_by_a_run_that_is_killed(server: &Server) {
    let dir = tempdir().unwrap();
    let spool = dir.path().join("mlflow/spool.jsonl");
    for kills in 1..=3 {
        kill_at(start(dir.path(), &server.uri(), true), &spool, kills * 12_000);
        remove_newest_checkpoints(dir.path(), 2);
    }
    zae_loggers::mlflow::sync(spool.parent().unwrap()).unwrap();
    assert!(start(dir.path(), &server.uri(), true).wait().unwrap().success());
    let mut python = interpreter::python();
    python.arg(interpreter::script("mlflow_read.py")).args([&server.uri(), "shown"]);
    let output = interpreter::output(&mut python);
    // The client tells people things, too.
    let found: Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!((&found["status"], &found["tags"]["mlflow.loggedImages"]), (&"FINISHED".into(), &found["own"]["tag"]));
    assert!(found["tags"]["zae.alerts"].as_str().unwrap().starts_with("warning: Look\nat this"));
    let bytes = |text: &Value| base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap()).unwrap();
    let files = found["files"].as_object().unwrap();
    // Each step once, in all ways.
    let mut names: Vec<String> = Vec::new();
    for (path, image) in found["images"].as_object().unwrap() {
        let parts: Vec<_> = path.split('+').collect();
        let step: u64 = parts[2].parse().unwrap();
        assert_eq!((&image["mode"], &image["size"]), (&"RGB".into(), &serde_json::json!([5, 3])));
        assert_eq!(bytes(&image["pixels"]), mlflow_shown::pixels(step), "{path}");
        names.push(shape(path));
    }
    let mut expected: Vec<_> = mlflow_shown::shown_at(STEPS)
        .flat_map(|step| {
            ["#.png", "#+compressed.png"].map(|end| format!("images/valid~samples+step+{step}+timestamp+#+{end}"))
        })
        .collect();
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
    for own in found["own"]["images"].as_array().unwrap() {
        let own = shape(own.as_str().unwrap()).replace(".webp", ".png");
        assert!(names.contains(&own), "{own}");
    }
    let said = files.iter().filter(|(path, _)| path.starts_with("texts/said/"));
    let mut said: Vec<_> = said.map(|(_, text)| String::from_utf8(bytes(text)).unwrap()).collect();
    let mut expected: Vec<_> = mlflow_shown::shown_at(STEPS).map(|step| format!("At {step}")).collect();
    said.sort();
    expected.sort();
    assert_eq!(said, expected);
    for folder in ["tables/predictions/", "histograms/weights/", "captions/valid~samples/"] {
        assert_eq!(files.keys().filter(|path| path.starts_with(folder)).count(), expected.len(), "{folder}");
    }
    let program = env::current_exe().unwrap();
    let name = program.file_name().unwrap().to_str().unwrap();
    assert!(bytes(&files[name]) == std::fs::read(&program).unwrap(), "the program is another");
    assert!(bytes(&files["console.log"]).starts_with(b"it shows\n"));
    let steps = |name: &str| {
        let all = found["points"][name].as_array().unwrap();
        all.iter().map(|point| point[0].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(steps("train/loss"), (0..STEPS).collect::<Vec<_>>());
    if cfg!(feature = "system-metrics") {
        let samples = steps("system/cpu_utilization_percentage");
        assert!(samples.len() > 3 && samples == (0..samples.len() as u64).collect::<Vec<_>>(), "{samples:?}");
    }
}

/// A name without its time and what makes it the only one.
fn shape(path: &str) -> String {
    let mut parts: Vec<_> = path.split('+').collect();
    let end = parts[5].find('.').map_or("", |at| &parts[5][at..]);
    let own = format!("#{end}");
    (parts[4], parts[5]) = ("#", &own);
    parts.join("+")
}
