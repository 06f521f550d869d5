//! Images, histograms, tables, texts, console lines, alerts and files at Weights & Biases: each once, also of programs that are
//! killed. (Servers that refuse them: `wandb_media_faults.rs`.)

#![cfg(all(feature = "wandb", unix))]
#![allow(clippy::unwrap_used, clippy::panic)]

mod checkpoints;
mod server;
mod wandb_file;
mod wandb_runs;
mod wandb_server;
mod wandb_shown;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tempfile::tempdir;
use wandb_runs::{files_of, logger, wait_for};
use wandb_shown::{STEPS, assert_asides, assert_shown, assert_shown_there, json, said, trainer};
use zae_checkpoint::StateManager;
use zae_core::{testing::null::batches, trainer::Until};
use zae_loggers::{
    Level, Upload, WandbLogger,
    wandb::{Aggregate, Metric, Mode, ResumeRun},
};

#[test]
fn whatever_is_shown_and_told_is_on_the_server() {
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    let (mut trainer, log, told) = trainer(dir.path(), logger(&server.url()));
    let (kept, missing) = (dir.path().join("kept.txt"), dir.path().join("missing"));
    fs::write(&kept, "as it is").unwrap();
    log.file(&kept);
    log.file(&missing);
    log.file(dir.path());
    log.alert(Level::Warn, "high", "It is \"high\"");
    trainer.run(Until::steps(STEPS), batches(1000), ()).unwrap();
    let run = wandb.only_run();
    assert_shown_there(&run, STEPS);
    assert_asides(&run, &files_of(dir.path()).0);
    assert_eq!(said(&run), (0..STEPS).map(|step| format!("step {step}")).collect::<Vec<_>>());
    assert_eq!(run.alerts, [["high", "It is \"high\"", "WARN"].map(str::to_owned)]);
    assert_eq!(run.files["kept.txt"], b"as it is");
    let warnings = told.warnings();
    assert!(warnings.len() == 2 && warnings.iter().all(|text| text.contains("cannot be kept")), "{warnings:?}");
    // The latest of each is in the summary, and what W&B shows of a run is among its files.
    let summary = json(&run.summary);
    let last: Vec<Value> =
        run.lines.values().map(|line| json(line)).filter(|line| line.get("said").is_some()).collect();
    assert_eq!(summary["said"], last.last().unwrap()["said"]);
    assert_eq!(summary["weights"]["_type"], "histogram");
    let text = |name: &str| String::from_utf8(run.files[name].clone()).unwrap();
    assert_eq!(json(&text("wandb-summary.json")), summary);
    let metadata = json(&text("wandb-metadata.json"));
    assert!(metadata["program"].is_string() && metadata["startedAt"].is_string() && metadata.get("args").is_none());
    assert!(text("config.yaml").contains("\"trainer\":\n    \"value\":\n        "));
    assert!(text("config.yaml").contains("\n        \"engine\": \"null\""));
    let path = summary["said"]["path"].as_str().unwrap();
    assert!(text(path).contains(">&lt;b&gt; 57</pre>"));
    if cfg!(feature = "system-metrics") {
        let event = json(&run.events[&0]);
        assert_eq!(event["_wandb"], true);
        assert!(event["system.memory_percent"].is_number() && event["_runtime"].as_f64().unwrap() >= 0.0, "{event}");
    }
}

#[test]
fn without_a_server_all_of_it_is_on_disk() {
    let dir = tempdir().unwrap();
    let logger = WandbLogger::new("digits").mode(Mode::Offline);
    #[cfg(feature = "system-metrics")]
    let logger = logger.system_metrics(Duration::MAX);
    let (mut trainer, log, told) = trainer(dir.path(), logger);
    log.alert(Level::Info, "a", "");
    trainer.run(Until::steps(STEPS), batches(1000), ()).unwrap();
    assert_eq!(told.warnings(), Vec::<String>::new());
    let folder = wandb_runs::folders(dir.path()).remove(0);
    let file = wandb_file::in_folder(&folder);
    assert_shown(&wandb_file::lines(&file), |path| fs::read(folder.join("files").join(path)).ok(), STEPS);
    let count = |field| wandb_file::count(&file, field);
    assert_eq!((count(13) as u64, count(10), count(7)), (STEPS, 1, 0));
    assert_eq!(wandb_file::summary(&file)["t"]["_type"], "table-file");
}

#[test]
fn metrics_are_shown_as_they_were_defined() {
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    let with = || {
        logger(&server.url())
            .define_metric(Metric::new("valid/*").step_metric("epoch").summary([Aggregate::Min, Aggregate::Mean]))
            .define_metric(Metric::new("lr").summary([Aggregate::None]).hidden())
    };
    let (mut first, ..) = trainer(dir.path(), with());
    first.run(2, batches(5), batches(3)).unwrap();
    let snapshot = first.snapshot().unwrap();
    drop(first);
    let (mut second, ..) = trainer(dir.path(), with());
    second.restore(&snapshot).unwrap();
    second.run(4, batches(5), batches(3)).unwrap();
    let run = wandb.only_run();
    let losses: Vec<f64> = run.lines.values().filter_map(|line| json(line)["valid/loss"].as_f64()).collect();
    assert_eq!(losses.len(), 4);
    let (least, mean) = (losses.iter().copied().fold(f64::MAX, f64::min), losses.iter().sum::<f64>() / 4.0);
    let summary = json(&run.summary);
    assert_eq!(summary["valid/loss"], serde_json::json!({"min": least, "mean": mean}));
    assert!(summary["valid/loss.best"] == least && summary.get("lr").is_none() && summary["train/loss"].is_f64());
    let config = json(run.upsert["config"].as_str().unwrap());
    let defined = &config["_wandb"]["value"]["m"];
    assert_eq!(defined[2], serde_json::json!({"2": "valid/*", "5": 5, "6": [1], "7": [1, 3]}));
    let dir = tempdir().unwrap();
    let (mut bad, ..) = trainer(dir.path(), with().define_metric(Metric::new("a*b")));
    assert!(bad.run(1, batches(1), ()).unwrap_err().to_string().contains("`a*b`"));
}

/// What is left of a run that went on with one of another program begins behind that.
#[test]
fn a_rest_begins_behind_the_run_that_it_goes_on_with() {
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    let mut first = wandb_runs::of(dir.path(), logger(&server.url()).id("mine"));
    first.run(Until::steps(9), batches(100), ()).unwrap();
    assert_eq!(wandb.only_run().lines.len(), 9);
    let own = dir.path().join("second");
    let (its, server) = (wandb.clone(), Arc::new(Mutex::new(Some(server))));
    let url = server.lock().unwrap().as_ref().unwrap().url();
    let data = wandb_runs::watched(move |step| {
        if step == 20 {
            wait_for("a line", || its.only_run().lines.len() > 9);
            server.lock().unwrap().take();
        }
    });
    let upload =
        Upload::default().every(Duration::from_millis(5)).retry(Duration::from_millis(5), Duration::from_millis(5));
    let logger = logger(&url).id("mine").resume(ResumeRun::Allow).upload(upload);
    let mut second = wandb_runs::of(&own, logger.finish_within(Duration::from_millis(100)));
    second.run(Until::steps(40), data, ()).unwrap();
    let there = wandb.only_run().lines.len() as u64;
    let lines = wandb_file::lines(&files_of(&own).1.unwrap());
    let steps: Vec<u64> = lines.iter().map(|line| line["_step"].as_f64().unwrap() as u64).collect();
    assert!(steps.len() > 10);
    // The server may have taken what it has not answered for.
    assert!(steps[0] <= there && steps.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{there} {steps:?}");
    let last = 9 + 40;
    assert!((last..=last + 1).contains(&(steps.last().unwrap() + 1)), "{steps:?}");
}

/// Lines of the console and about the machine, too.
#[test]
fn a_run_that_goes_on_with_another_adds_to_what_that_has_told() {
    let (wandb, server) = wandb_runs::wandb();
    let (first, second) = (tempdir().unwrap(), tempdir().unwrap());
    let with = || logger(&server.url()).id("mine");
    trainer(first.path(), with()).0.run(Until::steps(6), batches(100), ()).unwrap();
    let before = wandb.only_run();
    trainer(second.path(), with().resume(ResumeRun::Allow)).0.run(Until::steps(3), batches(100), ()).unwrap();
    let run = wandb.only_run();
    let said_of = |steps: u64| (0..steps).map(|step| format!("step {step}"));
    assert_eq!(said(&run), said_of(6).chain(said_of(3)).collect::<Vec<_>>());
    assert!(before.events.iter().all(|(number, line)| run.events[number] == *line));
    assert_eq!(run.events.len(), 2 * before.events.len());
}

// ---- programs that are killed ----

const DIR: &str = "ZAE_CHILD_DIR";
const URL: &str = "ZAE_CHILD_URL";

fn manager() -> StateManager {
    StateManager::new().every_steps(10).keep_last(5)
}

/// Does nothing unless this process is a child.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR).map(PathBuf::from) else { return };
    let (trainer, log, _) = trainer(&dir, logger(&std::env::var(URL).unwrap()));
    log.alert(Level::Info, "begun", "");
    let data = zae_core::data::from_fn(|_| {
        (0..1000).map(|i| {
            std::thread::sleep(Duration::from_millis(5));
            Ok(f64::from(i))
        })
    });
    trainer.add_on(manager()).run(Until::steps(STEPS), data, ()).unwrap();
}

/// Killed with `SIGKILL`, gone on from the last checkpoint or an older one, and when nobody knows what was sent.
#[test]
fn killed_and_started_again_everything_is_there_once() {
    for (older, forgets) in [(0, false), (1, false), (1, true)] {
        let (wandb, server) = wandb_runs::wandb();
        let dir = tempdir().unwrap();
        for (alerts, lines) in [(1, 40), (2, 80)] {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["child", "--exact"]).env(DIR, dir.path()).env(URL, server.url());
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let there = || wandb.0.lock().unwrap().runs.values().next().cloned().unwrap_or_default();
            wait_for("the alert", || there().alerts.len() == alerts);
            // A line that comes after it: the alert is known as sent.
            let lines = lines.max(there().lines.len());
            wait_for("lines and files", || there().lines.len() > lines && there().uploaded.len() > lines / 8);
            child.kill().unwrap();
            assert!(!child.wait().unwrap().success(), "it was not killed in time");
        }
        checkpoints::remove_newest_checkpoints(dir.path(), older);
        let (file, _) = files_of(dir.path());
        if forgets {
            fs::remove_file(format!("{}.sent", file.display())).unwrap();
        }
        let said_before = said(&wandb.only_run());
        let (trainer, log, told) = trainer(dir.path(), logger(&server.url()));
        log.alert(Level::Info, "again", "");
        trainer.add_on(manager()).run(Until::steps(STEPS), batches(1000), ()).unwrap();
        assert_eq!(told.warnings(), Vec::<String>::new());
        let run = wandb.only_run();
        assert_shown_there(&run, STEPS);
        assert_asides(&run, &file);
        // What was said is not taken back.
        assert_eq!(said(&run)[..said_before.len()], said_before);
        assert_eq!(run.alerts.iter().map(|alert| &*alert[0]).collect::<Vec<_>>(), ["begun", "begun", "again"]);
    }
}
