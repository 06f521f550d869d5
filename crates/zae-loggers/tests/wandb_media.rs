//! Images, histograms, tables, texts, console lines, alerts and files at Weights & Biases: each once, whatever happens, and rows
//! wait for none of them.

#![cfg(all(feature = "wandb", unix))]
#![allow(clippy::unwrap_used, clippy::panic)]

mod checkpoints;
mod server;
mod wandb_file;
mod wandb_runs;
mod wandb_server;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use server::{Answer, Asked, Server};
use sha2::{Digest, Sha256};
use tempfile::tempdir;
use wandb_runs::{Notices, files_of, logger, wait_for};
use wandb_server::{RunThere, Wandb};
use zae_checkpoint::StateManager;
use zae_core::{
    step::Step,
    task::{At, StepResult, Task},
    testing::null::{Null, batches},
    trainer::{Trainer, Until},
};
use zae_loggers::{
    Histogram, Image, Level, LogHandle, Table, Upload, WandbLogger,
    wandb::{Aggregate, Metric, Mode, ResumeRun},
};

const STEPS: u64 = 60;

/// Shows something of each kind at every third step, and writes a line at each.
struct Showing(LogHandle);

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

fn trainer(dir: &Path, logger: WandbLogger) -> (Trainer<Showing>, LogHandle, Notices) {
    let (log, told) = (LogHandle::new(), Notices::default());
    let logger = logger.handle(&log);
    let trainer = Trainer::new(Showing(log.clone()), Null::default()).scheduler(1e-3).run_dir(dir);
    (trainer.handle_signals(false).add_on((logger, told.clone())), log, told)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// What the history has to have, each once and in order, and the files that it names with the bytes that it names.
#[track_caller]
fn assert_shown(lines: &[Value], file: impl Fn(&str) -> Option<Vec<u8>>, steps: u64) {
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
fn assert_shown_there(run: &RunThere, steps: u64) {
    let lines: Vec<Value> = run.lines.values().map(|line| json(line)).collect();
    assert_shown(
        &lines,
        |path| run.files.get(path).filter(|_| run.uploaded.iter().any(|own| own == path)).cloned(),
        steps,
    );
}

/// The server has each record of the file once that is none of the history.
#[track_caller]
fn assert_asides(run: &RunThere, file: &Path) {
    let count = |field| wandb_file::count(file, field);
    assert_eq!((run.events.len(), run.output.len(), run.alerts.len()), (count(7), count(13), count(10)));
}

fn said(run: &RunThere) -> Vec<String> {
    run.output.values().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

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
    assert!(text("config.yaml").contains("\"trainer\":\n    \"value\":\n        \"engine\": \"null\""));
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

/// A server that treats files like this.
fn with(answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> (Wandb, Server) {
    let wandb = Wandb::default();
    let its = wandb.clone();
    (wandb, Server::start(move |asked| answer(asked).unwrap_or_else(|| its.answer(asked))))
}

fn has(asked: &Asked, text: &str) -> bool {
    String::from_utf8_lossy(&asked.body).contains(text)
}

/// Rows come as if there were no files, and people are told once.
#[test]
fn files_that_are_refused_stop_nothing_else() {
    let refused = |status| Some(Answer::Status(status, Vec::new(), "no room".to_owned()));
    let nowhere = |asked: &Asked| {
        let reply = r#"{"data": {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": []}}}"#;
        has(asked, "createRunFiles").then(|| Answer::Ok(reply.to_owned()))
    };
    let denied = |asked: &Asked| {
        has(asked, "createRunFiles").then(|| Answer::Ok(r#"{"errors": [{"message": "permission denied"}]}"#.to_owned()))
    };
    type Treats = Box<dyn Fn(&Asked) -> Option<Answer> + Send + Sync>;
    let servers: [(&str, Treats); 4] = [
        ("no room", Box::new(move |asked| if asked.method == "PUT" { refused(404) } else { None })),
        ("no room", Box::new(move |asked| if has(asked, "createRunFiles") { refused(403) } else { None })),
        ("no place", Box::new(nowhere)),
        ("permission denied", Box::new(denied)),
    ];
    for (why, treats) in servers {
        let (wandb, server) = with(treats);
        let dir = tempdir().unwrap();
        let (mut trainer, _, told) = trainer(dir.path(), logger(&server.url()));
        trainer.run(Until::steps(STEPS), batches(1000), ()).unwrap();
        let run = wandb.only_run();
        assert_eq!((run.lines.len() as u64, run.exit_code), (STEPS + 4 * STEPS.div_ceil(3), Some(0)));
        assert!(run.uploaded.is_empty());
        let warnings = told.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains(why), "{warnings:?}");
    }
}

#[test]
fn one_file_that_is_refused_is_told_once_and_the_others_are_there() {
    let (wandb, server) = with(|asked| {
        (asked.method == "PUT" && has(asked, "&lt;b&gt; 6<")).then(|| Answer::Status(404, Vec::new(), "odd".to_owned()))
    });
    let dir = tempdir().unwrap();
    let (mut trainer, _, told) = trainer(dir.path(), logger(&server.url()));
    trainer.run(Until::steps(STEPS), batches(1000), ()).unwrap();
    let run = wandb.only_run();
    // Those of the run, and three for each third step.
    assert_eq!(run.files.len() as u64, 3 + 3 * STEPS.div_ceil(3) - 1);
    let warnings = told.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("html") && warnings[0].contains("odd"), "{warnings:?}");
}

/// A storage that is down for a time, then for good.
#[test]
fn a_storage_that_fails_is_waited_for_while_rows_come() {
    let down = Arc::new(AtomicBool::new(true));
    let its = down.clone();
    let (wandb, server) = with(move |asked| {
        (asked.method == "PUT" && its.load(Ordering::SeqCst)).then(|| Answer::Status(500, Vec::new(), String::new()))
    });
    let dir = tempdir().unwrap();
    let logger = logger(&server.url()).finish_within(Duration::from_millis(300));
    let (mut first, _, told) = trainer(dir.path(), logger);
    first.run(Until::steps(STEPS), batches(1000), ()).unwrap();
    let run = wandb.only_run();
    assert_eq!((run.lines.len() as u64, run.exit_code), (STEPS + 4 * STEPS.div_ceil(3), Some(0)));
    let warnings = told.warnings();
    assert!(warnings.last().unwrap().contains("wandb sync"), "{warnings:?}");
    // The rest has the files, and no row.
    let rest = files_of(dir.path()).1.unwrap();
    assert_eq!(wandb_file::lines(&rest), Vec::<Value>::new());
    let folder = rest.parent().unwrap().join("files/media");
    assert!(folder.join("images/samples").is_dir() && folder.join("table").is_dir());
    let snapshot = first.snapshot().unwrap();
    drop(first);
    down.store(false, Ordering::SeqCst);
    let (mut second, _, told) = trainer(dir.path(), wandb_runs::logger(&server.url()));
    second.restore(&snapshot).unwrap();
    second.run(Until::steps(STEPS + 6), batches(1000), ()).unwrap();
    assert_eq!(told.warnings(), Vec::<String>::new());
    assert_shown_there(&wandb.only_run(), STEPS + 6);
    assert_asides(&wandb.only_run(), &files_of(dir.path()).0);
}

/// The server has files and has not been told so: the next process does.
#[test]
fn a_server_that_dies_between_a_file_and_the_word_that_it_is_there() {
    let dead = Arc::new(AtomicBool::new(true));
    let its = dead.clone();
    let (wandb, server) =
        with(move |asked| (has(asked, "\"uploaded\":") && its.load(Ordering::SeqCst)).then_some(Answer::Nothing));
    let dir = tempdir().unwrap();
    let logger = logger(&server.url()).finish_within(Duration::from_millis(300));
    let (mut first, ..) = trainer(dir.path(), logger);
    first.run(Until::steps(STEPS), batches(1000), ()).unwrap();
    assert!(!wandb.only_run().files.is_empty() && wandb.only_run().uploaded.is_empty());
    let snapshot = first.snapshot().unwrap();
    drop(first);
    dead.store(false, Ordering::SeqCst);
    let (mut second, _, told) = trainer(dir.path(), wandb_runs::logger(&server.url()));
    second.restore(&snapshot).unwrap();
    second.run(Until::steps(STEPS + 3), batches(1000), ()).unwrap();
    assert_eq!(told.warnings(), Vec::<String>::new());
    assert_shown_there(&wandb.only_run(), STEPS + 3);
    assert_asides(&wandb.only_run(), &files_of(dir.path()).0);
}

#[test]
fn an_alert_that_is_refused_is_told_once() {
    let (wandb, server) = with(|asked| {
        has(asked, "notifyScriptableRunAlert").then(|| Answer::Status(500, Vec::new(), "no mail".to_owned()))
    });
    let dir = tempdir().unwrap();
    let (mut trainer, log, told) = trainer(dir.path(), logger(&server.url()));
    log.alert(Level::Error, "a", "b");
    log.alert(Level::Error, "c", "d");
    trainer.run(Until::steps(STEPS), batches(1000), ()).unwrap();
    assert_shown_there(&wandb.only_run(), STEPS);
    assert_eq!(wandb.only_run().exit_code, Some(0));
    let warnings = told.warnings();
    assert_eq!(warnings.iter().filter(|text| text.contains("an alert was not sent")).count(), 1, "{warnings:?}");
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
    let (its, server) = (wandb.clone(), Arc::new(std::sync::Mutex::new(Some(server))));
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

/// A server of one's own that keeps the files itself.
#[test]
fn files_go_to_addresses_of_the_server_itself() {
    let its = Wandb::default();
    let wandb = its.clone();
    let put = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = put.clone();
    let server = Server::start(move |asked| {
        if asked.method == "PUT" {
            seen.lock().unwrap().push((asked.path.clone(), asked.header("authorization").is_some()));
            return Answer::Ok(String::new());
        }
        if !has(asked, "createRunFiles") {
            return its.answer(asked);
        }
        let files = json(&String::from_utf8_lossy(&asked.body))["variables"]["files"].as_array().unwrap().clone();
        let file = |name: &Value| serde_json::json!({"name": name, "uploadUrl": "/own/file"});
        let files: Vec<Value> = files.iter().map(file).collect();
        let reply = serde_json::json!({"data": {"createRunFiles": {"uploadHeaders": [], "files": files}}});
        Answer::Ok(reply.to_string())
    });
    let dir = tempdir().unwrap();
    let (mut trainer, _, told) = trainer(dir.path(), logger(&server.url()));
    trainer.run(Until::steps(2), batches(100), ()).unwrap();
    assert_eq!(told.warnings(), Vec::<String>::new());
    let put = put.lock().unwrap();
    assert!(put.len() == 6 && put.iter().all(|(path, has_key)| path == "/own/file" && *has_key), "{put:?}");
    assert_eq!(wandb.only_run().uploaded.len(), 6);
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
