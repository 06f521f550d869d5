//! What is shown and told through a handle, on a server that speaks MLflow: each file there with its very bytes, also when
//! requests for files fail, and metrics whatever happens to files.

#![cfg(feature = "mlflow")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod checkpoints;
mod mlflow_mock;
mod mlflow_shown;
mod server;

use std::{
    fs,
    io::Write,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use checkpoints::remove_newest_checkpoints;
use mlflow_mock::{Fault, Mock};
use mlflow_shown::{Showing, pixels, shown_at, trainer};
use serde_json::Value;
use server::{Answer, Server};
use tempfile::tempdir;
use zae_core::{
    testing::{Notices, null::batches},
    trainer::Until,
};
use zae_loggers::{Level, LogHandle, MlflowLogger, Upload};

fn logger(uri: &str) -> MlflowLogger {
    let often = Upload::default().every(Duration::from_millis(5));
    let often = often.retry(Duration::from_millis(1), Duration::from_millis(20)).timeout(Duration::from_secs(20));
    MlflowLogger::new("digits").tracking_uri(uri).upload(often)
}

/// A run of so many steps, after which the server has everything, or after so much time not.
fn run(dir: &Path, uri: &str, steps: u64, patience: Duration) -> Vec<String> {
    let told = Notices::default();
    let logger = logger(uri).finish_within(patience);
    trainer(dir, logger).add_on(told.clone()).run(Until::steps(steps), batches(1000), ()).unwrap();
    told.warnings()
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

/// Each thing that such a run shows is there once, with its bytes, and so is every metric.
#[track_caller]
fn assert_shown(mock: &Mock, steps: u64) {
    let state = mock.lock();
    let mut images = Vec::new();
    for (path, (bytes, _)) in &state.artifacts {
        let step = |text: &str| text.parse::<u64>().unwrap();
        if let Some(name) = path.strip_prefix("images/") {
            let parts: Vec<_> = name.strip_suffix(".png").unwrap().split('+').collect();
            assert_eq!((parts[0], parts[1], parts[3]), ("valid~samples", "step", "timestamp"));
            assert_eq!(mlflow_shown::decoded(bytes), pixels(step(parts[2])), "{path}");
            images.push((step(parts[2]), parts.get(6).copied() == Some("compressed")));
        } else if let Some(name) = path.strip_prefix("texts/said/") {
            let at = step(name.split_once('-').unwrap().0);
            assert_eq!(bytes, format!("At {at}").as_bytes());
        } else if let Some(name) = path.strip_prefix("histograms/weights/") {
            let value: Value = serde_json::from_slice(bytes).unwrap();
            assert_eq!(
                (value["step"].as_u64(), value["counts"].as_array().map(Vec::len)),
                (Some(step(name.split_once('-').unwrap().0)), Some(64))
            );
        } else if path.starts_with("tables/predictions/") {
            assert!(bytes.starts_with(b"text,score\r\n"));
        }
    }
    let count = |folder: &str| state.artifacts.keys().filter(|path| path.starts_with(folder)).count();
    images.sort_unstable();
    let expected: Vec<_> = shown_at(steps).flat_map(|step| [(step, false), (step, true)]).collect();
    assert_eq!(images, expected);
    for folder in ["texts/", "captions/", "histograms/", "tables/"] {
        assert_eq!(count(folder), expected.len() / 2, "{folder}");
    }
    assert_eq!(state.tags["mlflow.loggedImages"], "True");
    let losses: Vec<_> = state.points.iter().filter(|point| point.0 == "train/loss").map(|point| point.1).collect();
    assert_eq!(losses, (0..steps).collect::<Vec<_>>());
}

#[test]
fn what_is_shown_is_there_with_its_bytes_also_after_an_older_checkpoint() {
    let (dir, (mock, server)) = (tempdir().unwrap(), mlflow_mock::start(Vec::new()));
    for (removed, steps) in [(0, 20), (1, 30), (4, 40)] {
        if removed > 0 {
            remove_newest_checkpoints(dir.path(), removed);
        }
        assert_eq!(run(dir.path(), &server.url(), steps, LONG), Vec::<String>::new());
        assert_shown(&mock, steps);
    }
    assert!(mock.lock().artifacts.values().all(|(_, puts)| *puts == 1), "what is there is not sent again");
    assert_eq!((mock.status().as_str(), mock.lock().runs_made), ("FINISHED", 1));
}

/// Without the server at first; then all of it is in the folder, once.
#[test]
fn sync_sends_files_too_and_what_was_taken_back_is_not_sent() {
    let (dir, (mock, server)) = (tempdir().unwrap(), mlflow_mock::start(Vec::new()));
    let nobody = format!("http://{}", server::nobody());
    let warnings = run(dir.path(), &nobody, 20, SHORT);
    assert!(warnings.last().unwrap().contains("mlflow::sync"), "{warnings:?}");
    remove_newest_checkpoints(dir.path(), 2);
    run(dir.path(), &nobody, 30, SHORT);
    let spool = dir.path().join("mlflow/spool.jsonl");
    let text = fs::read_to_string(&spool).unwrap();
    fs::write(&spool, text.replace(&nobody, &server.url())).unwrap();
    zae_loggers::mlflow::sync(dir.path().join("mlflow")).unwrap();
    assert_shown(&mock, 30);
    zae_loggers::mlflow::sync(dir.path().join("mlflow")).unwrap();
    assert!(mock.lock().artifacts.values().all(|(_, puts)| *puts == 1));
}

#[test]
fn whatever_goes_wrong_with_files_each_is_there_in_the_end() {
    let status = |status, after: Option<&str>| {
        let headers = after.map(|time| ("Retry-After".to_owned(), time.to_owned())).into_iter().collect();
        Fault::Answer(Answer::Status(status, headers, "oh".to_owned()))
    };
    let (dir, (mock, server)) = (tempdir().unwrap(), mlflow_mock::start(Vec::new()));
    let faults =
        [Fault::Lost, status(500, None), status(500, None), status(503, None), Fault::Lost, status(429, Some("0"))];
    mock.lock().artifact_faults = faults.into();
    let warnings = run(dir.path(), &server.url(), 20, LONG);
    assert!(warnings.len() == 1 && warnings[0].contains("sent later"), "{warnings:?}");
    assert!(mock.is_through());
    assert_shown(&mock, 20);
}

/// The first is refused, and that is all.
#[test]
fn a_refused_file_stops_nothing_else() {
    for status in [400, 413, 422] {
        let (dir, (mock, server)) = (tempdir().unwrap(), mlflow_mock::start(Vec::new()));
        let refused = Fault::Answer(Answer::Status(status, Vec::new(), "not this".to_owned()));
        mock.lock().artifact_faults = [refused].into();
        let warnings = run(dir.path(), &server.url(), 20, LONG);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains("images/valid~samples+step+0+") && warnings[0].contains("not this"),
            "{warnings:?}"
        );
        assert_eq!(mock.status(), "FINISHED");
        let all = shown_at(20).count() * 6;
        assert_eq!(mock.lock().artifacts.len(), all - 1);
    }
}

/// Who may send no files sends metrics, is told once, and loses nothing.
#[test]
fn a_server_that_takes_no_files_from_us_gets_metrics() {
    type Spoil = fn(&Mock);
    let elsewhere: Spoil = |mock| mock.lock().artifact_uri = "s3://bucket/7/abc/artifacts".to_owned();
    let forbidden: Spoil = |mock| {
        mock.lock().artifact_faults = [Fault::Answer(Answer::Status(403, Vec::new(), "no files".to_owned()))].into();
    };
    for (spoil, told, count) in [(elsewhere, "`s3://bucket/7/abc/artifacts`", 1), (forbidden, "no files", 2)] {
        let (dir, (mock, server)) = (tempdir().unwrap(), mlflow_mock::start(Vec::new()));
        spoil(&mock);
        let warnings = run(dir.path(), &server.url(), 20, LONG);
        assert!(warnings.len() == count && warnings[0].contains(told), "{warnings:?}");
        assert_eq!((mock.status().as_str(), mock.lock().artifacts.len()), ("FINISHED", 0));
        if warnings.len() == 1 {
            let error = zae_loggers::mlflow::sync(dir.path().join("mlflow")).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        // Later it takes them.
        mock.lock().artifact_uri = "mlflow-artifacts:/7/abc/artifacts".to_owned();
        zae_loggers::mlflow::sync(dir.path().join("mlflow")).unwrap();
        assert_shown(&mock, 20);
    }
}

/// The end of the run is told, too.
#[test]
fn requests_for_files_that_hang_hold_up_no_metric() {
    for answer in [Answer::Nothing, Answer::Drip] {
        let mock = Mock::new(Vec::new());
        let its = mock.clone();
        let server = Server::start(move |asked| if asked.method == "PUT" { answer.clone() } else { its.answer(asked) });
        let dir = tempdir().unwrap();
        let since = Instant::now();
        let warnings = run(dir.path(), &server.url(), 50, Duration::from_secs(2));
        assert!(since.elapsed() < Duration::from_secs(40));
        assert!(warnings.len() == 1 && warnings[0].contains("mlflow::sync"), "{warnings:?}");
        assert_eq!(mock.status(), "FINISHED");
        assert_eq!(mock.points().iter().filter(|point| point.0 == "train/loss").count(), 50);
    }
}

#[test]
fn files_alerts_console_and_the_machine_have_their_places() {
    let (dir, (mock, server)) = (tempdir().unwrap(), mlflow_mock::start(Vec::new()));
    let own = tempdir().unwrap();
    let (model, images) = (own.path().join("model v1.onnx"), own.path().join("images"));
    fs::write(&model, vec![7; 3 << 20]).unwrap();
    fs::write(&images, "a file").unwrap();
    for round in 0..2 {
        let log = LogHandle::new();
        let logger = logger(&server.url()).handle(&log);
        #[cfg(feature = "system-metrics")]
        let logger = logger.system_metrics(Duration::from_millis(100));
        let told = Notices::default();
        let mut trainer = mlflow_shown::of(dir.path(), Showing(LogHandle::new())).add_on((logger, told.clone()));
        writeln!(log.console(), "round {round}").unwrap();
        log.alert(Level::Error, "It burns", format!("Loss is {round}"));
        [&model, &images, &own.path().join("nowhere")].into_iter().for_each(|path| log.file(path));
        let (its, seen) = (Arc::new(mock.clone()), cfg!(feature = "system-metrics"));
        let data = zae_core::data::from_fn(move |_| {
            let its = its.clone();
            (0..1000).map(move |i| {
                // So that there are samples of each round.
                let samples = || its.lock().points.iter().filter(|point| point.0 == "system/proc.memory.rssMB").count();
                let since = Instant::now();
                while seen && i == 5 && samples() < (round + 1) * 3 {
                    assert!(since.elapsed() < Duration::from_secs(60));
                    std::thread::yield_now();
                }
                Ok(f64::from(i))
            })
        });
        trainer.run(Until::steps(10 * (round as u64 + 1)), data, ()).unwrap();
        drop(trainer);
        let warnings = told.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("nowhere"), "{warnings:?}");
    }
    let state = mock.lock();
    let bytes = |path: &str| state.artifacts.get(path).map(|own| own.0.as_slice());
    assert_eq!(bytes("console.log"), Some(&b"round 0\nround 1\n"[..]));
    assert_eq!(bytes("model v1.onnx"), Some(&*vec![7; 3 << 20]));
    assert_eq!(bytes("files/images"), Some(&b"a file"[..]), "the page can show nothing but images in `images`");
    assert_eq!(state.tags["zae.alerts"], "error: It burns\nLoss is 1\n\nerror: It burns\nLoss is 0");
    if cfg!(feature = "system-metrics") {
        let of =
            |name: &str| state.points.iter().filter(|point| point.0 == name).map(|point| point.1).collect::<Vec<_>>();
        let steps = of("system/proc.memory.rssMB");
        assert!(steps.len() >= 6 && steps == (0..steps.len() as u64).collect::<Vec<_>>(), "{steps:?}");
        assert_eq!(of("system/cpu_utilization_percentage"), steps);
        assert_eq!(of("system/system_memory_usage_megabytes"), steps);
    }
}
