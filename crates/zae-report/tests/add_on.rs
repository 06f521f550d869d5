//! [`HtmlReport`] in real runs.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use zae_checkpoint::StateManager;
use zae_core::{
    add_on::{AddOn, AddOns, Context, Notice, Phase},
    add_ons::{CsvLogger, JsonlLogger, SimpleProfiler},
    data::from_fn,
    error::{Error, Fallible},
    metrics::EpochSummary,
    testing::{
        Notices,
        null::{Echo, batches, loss, trainer},
    },
    trainer::{Outcome, Trainer, Until},
};
use zae_report::HtmlReport;

fn reported(folder: &Path, others: impl AddOns) -> Trainer<Echo> {
    trainer().run_dir(folder).handle_signals(false).add_on(HtmlReport::new()).add_on(others)
}

fn record(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("run.json")).unwrap()).unwrap()
}

fn html(folder: &Path) -> String {
    fs::read_to_string(folder.join("report.html")).unwrap()
}

/// A curve: its steps, and its values as they are drawn.
fn curve(html: &str, name: &str) -> (Vec<i64>, Vec<f64>) {
    let (_, data) = html.split_once("id=\"data\">").unwrap();
    let data: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
    let charts = data["sections"].as_array().unwrap().iter().flat_map(|section| section["charts"].as_array().unwrap());
    let mut curves = charts.flat_map(|chart| chart["curves"].as_array().unwrap());
    let curve = curves.find(|curve| curve["name"] == name).unwrap_or_else(|| panic!("there is no {name}"));
    let differences = curve["s"].as_array().unwrap().iter().map(|step| step.as_i64().unwrap());
    let steps = differences.scan(0, |sum, step| {
        *sum += step;
        Some(*sum)
    });
    (steps.collect(), curve["y"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect())
}

fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-5 * expected.abs(), "{found} and {expected}");
}

/// Nothing half-written is left.
fn assert_clean(folder: &Path) {
    let names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|name| !name.ends_with(".tmp")), "{names:?}");
}

#[test]
fn a_run_leaves_a_report_and_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    for format in ["csv", "jsonl"] {
        let folder = dir.path().join(format);
        let logger = || if format == "csv" { CsvLogger::new().into_boxes() } else { JsonlLogger::new().into_boxes() };
        let settings = json!({"model": {"width": 64}, "api_key": "abc"});
        let mut trainer = trainer().run_dir(&folder).handle_signals(false).seed(7);
        trainer = trainer.add_on((HtmlReport::new().config(&settings), logger(), SimpleProfiler::new()));
        trainer.run(3, batches(5), batches(2)).unwrap();
        let record = record(&folder);
        assert_eq!(
            (&record["ending"], &record["steps"], &record["starts"]),
            (&json!("complete"), &json!(15), &json!(1))
        );
        assert_eq!((&record["total_epochs"], &record["total_steps"]), (&json!(3), &Value::Null));
        let config = &record["config"];
        let told = ["engine", "seed", "model/width", "api_key"].map(|name| config[name].as_str().unwrap());
        assert_eq!(told, ["null", "7", "64", "[redacted]"]);
        assert!(record["written"].as_f64() >= record["started"].as_f64());
        let text = record["notices"][0]["text"].as_str().unwrap();
        assert!(text.starts_with("what the run spent its time on"), "{text}");
        let html = html(&folder);
        let (steps, values) = curve(&html, "train/loss");
        assert_eq!(steps, (0..15).collect::<Vec<_>>());
        values.iter().enumerate().for_each(|(i, value)| assert_close(*value, loss(i as u64 / 5, i as u64 % 5)));
        assert_eq!(curve(&html, "valid/accuracy").0, [5, 10, 15]);
        assert!(html.contains("id=\"phases\"") && html.contains("complete") && html.contains(">3 of 3<"));
        assert_clean(&folder);
    }
}

#[test]
fn an_evaluation_after_the_run_is_in_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut trainer = reported(dir.path(), CsvLogger::new());
    trainer.run(1, batches(4), ()).unwrap();
    assert!(!html(dir.path()).contains("test/loss"));
    let test = trainer.evaluate(batches(3)).unwrap();
    let (steps, values) = curve(&html(dir.path()), "test/loss");
    assert_eq!(steps, [4]);
    assert_close(values[0], test.loss().unwrap());
    // Once, also when it is in the log too.
    drop(trainer);
    let page = dir.path().join("again.html");
    zae_report::write(&[dir.path().to_owned()], &page).unwrap();
    assert_eq!(curve(&fs::read_to_string(page).unwrap(), "test/loss").0, [4]);
    assert_eq!(curve(&html(dir.path()), "test/loss").0, [4]);
}

type Act = fn(&mut Context<'_>) -> Fallible;

/// Fails, or asks for an end, at a step.
struct At(u64, Act);

impl AddOn for At {
    fn name(&self) -> &str {
        "at"
    }
    fn phase(&self) -> Phase {
        Phase::Decide
    }
    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        if cx.progress.step() == self.0 { (self.1)(cx) } else { Ok(()) }
    }
}

#[test]
fn however_it_ends_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let ends: [(&str, &str, Act); 2] = [
        ("failed", "add-on `at` (epoch 0, step 2): no more <of> this", |_| Err("no more <of> this".into())),
        ("stopped", "enough", |cx| {
            cx.requests.stop("enough");
            Ok(())
        }),
    ];
    for (ending, reason, end) in ends {
        let folder = dir.path().join(ending);
        let _ = reported(&folder, (CsvLogger::new(), At(3, end))).run(1, batches(8), ());
        let record = record(&folder);
        assert_eq!(
            (&record["ending"], &record["reason"], &record["steps"]),
            (&json!(ending), &json!(reason), &json!(3))
        );
        let html = html(&folder);
        assert!(
            html.contains(&format!(">{ending}</span>"))
                && html.contains(&reason.replace('<', "&lt;").replace('>', "&gt;"))
        );
        assert_eq!(curve(&html, "train/loss").0.len(), 3);
    }
}

/// It goes on where it was: every step is there once, and what was told before is told still.
#[test]
fn a_resumed_run_has_one_report() {
    let dir = tempfile::tempdir().unwrap();
    let states = || StateManager::new().every_steps(2).background(false);
    let warn = |cx: &mut Context<'_>| {
        cx.requests.notice(Notice::Warning("of the first process".to_owned()));
        Ok(())
    };
    let fail = |_: &mut Context<'_>| -> Fallible { Err("killed".into()) };
    for cut in 3..10 {
        let folder = dir.path().join(cut.to_string());
        let add_ons = (CsvLogger::new(), states(), At(1, warn));
        let mut first = reported(&folder, add_ons).add_on(Renamed(At(cut, fail)));
        assert!(first.run(2, batches(5), batches(2)).is_err());
        let began = record(&folder)["started"].clone();
        drop(first);
        reported(&folder, (CsvLogger::new(), states())).run(2, batches(5), batches(2)).unwrap();
        let record = record(&folder);
        assert_eq!((&record["starts"], &record["started"], &record["ending"]), (&json!(2), &began, &json!("complete")));
        assert!(record["notices"].to_string().contains("of the first process"));
        assert_eq!(record["reason"], "");
        let (steps, values) = curve(&html(&folder), "train/loss");
        assert_eq!(steps, (0..10).collect::<Vec<_>>(), "cut at {cut}");
        values.iter().enumerate().for_each(|(i, value)| assert_close(*value, loss(i as u64 / 5, i as u64 % 5)));
        assert_eq!(curve(&html(&folder), "valid/loss").0, [5, 10]);
    }
    // And a new run in the same folder has nothing of it.
    let folder = dir.path().join("3");
    reported(&folder, CsvLogger::new()).run(1, batches(5), ()).unwrap();
    let record = record(&folder);
    assert_eq!((&record["starts"], &record["notices"]), (&json!(1), &json!([])));
}

/// Two of a kind.
struct Renamed(At);

impl AddOn for Renamed {
    fn name(&self) -> &str {
        "renamed"
    }
    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.0.on_step_end(cx)
    }
}

#[test]
fn what_it_lacks_is_said_before_the_run_starts() {
    let dir = tempfile::tempdir().unwrap();
    let error = |result: Result<_, Error>| Result::<zae_core::trainer::Run, _>::unwrap_err(result).to_string();
    let found = error(reported(dir.path(), Notices::default()).run(1, batches(2), ()));
    assert!(found.contains("add-on `report`") && found.contains("`CsvLogger`, which is part of"), "{found}");
    let found = error(trainer().handle_signals(false).add_on(HtmlReport::new()).run(1, batches(2), ()));
    assert!(found.contains("give the trainer a `.run_dir(..)`"), "{found}");
    let add_ons = (HtmlReport::new().config(&3), CsvLogger::new());
    let found = error(trainer().run_dir(dir.path()).handle_signals(false).add_on(add_ons).run(1, batches(2), ()));
    assert!(found.contains("give the value a name"), "{found}");
}

/// The disk fails, or the log is another run's: people are told, and the run is what it would have been.
#[test]
fn no_report_costs_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let notices = Notices::default();
    fs::create_dir(dir.path().join("report.html")).unwrap();
    let run = reported(dir.path(), (CsvLogger::new(), notices.clone())).run(2, batches(3), ()).unwrap();
    assert_eq!(run.history.epochs.len(), 2);
    let warnings = notices.warnings();
    assert!(warnings.iter().all(|text| text.contains("report.html`: it is a folder")), "{warnings:?}");
    assert!((1..=3).contains(&warnings.len()), "{warnings:?}");
    fs::remove_dir(dir.path().join("report.html")).unwrap();
    // The log is that of the run before.
    let notices = Notices::default();
    let elsewhere = CsvLogger::to(dir.path().join("logs/metrics.csv"));
    reported(dir.path(), (elsewhere, notices.clone())).run(1, batches(3), ()).unwrap();
    let warnings = notices.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("goes to step 6 and the run to 3"), "{warnings:?}");
}

/// Ends the run as soon as there is a report of it.
struct Await;

impl AddOn for Await {
    fn name(&self) -> &str {
        "await"
    }
    fn on_epoch_end(&mut self, _: &EpochSummary, cx: &mut Context<'_>) -> Fallible {
        if let Ok(html) = fs::read_to_string(cx.run_dir.unwrap().join("report.html")) {
            assert!(html.contains(">running</span>"));
            cx.requests.stop("seen");
        }
        Ok(())
    }
}

#[test]
fn a_run_that_goes_on_has_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let until = Until::epochs(1_000_000).or_time(Duration::from_secs(120));
    let run = reported(dir.path(), (CsvLogger::new(), Await)).run(until, batches(4), ()).unwrap();
    assert_eq!(run.outcome, Outcome::Stopped("seen".to_owned()));
    assert!(html(dir.path()).contains(">stopped</span>"));
}

/// A program that keeps the loop to itself has a report of all when it drops the trainer.
#[test]
fn a_loop_of_ones_own_has_a_report_at_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut trainer = reported(dir.path(), CsvLogger::new());
    for _ in 0..5 {
        trainer.run_epoch(batches(4)).unwrap();
    }
    drop(trainer);
    assert_eq!(curve(&html(dir.path()), "train/loss").0, (0..20).collect::<Vec<_>>());
    assert_eq!(record(dir.path())["starts"], 1);
}

/// Without numbers in the data there is an error, and a report of it.
#[test]
fn an_error_of_the_data_is_told_too() {
    let dir = tempfile::tempdir().unwrap();
    let data = from_fn(|_| (0..3).map(|i| if i == 2 { Err("unreadable".into()) } else { Ok(0.5) }));
    reported(dir.path(), CsvLogger::new()).run(1, data, ()).unwrap_err();
    assert!(record(dir.path())["reason"].as_str().unwrap().contains("unreadable"));
    assert!(html(dir.path()).contains(">failed</span>"));
}
