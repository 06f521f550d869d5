//! Runs that are logged for an MLflow server that is not there, or fails: all of it is in the spool, or there once.

#![cfg(feature = "mlflow")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod mlflow_mock;
mod runs;
mod server;

use std::{fs, net::TcpListener, path::Path, time::Duration};

use mlflow_mock::Fault;
use runs::*;
use serde_json::Value;
use server::Answer;
use tempfile::tempdir;
use zae_core::trainer::{Outcome, Trainer};
use zae_loggers::{MlflowLogger, Upload};

/// Accepts connections and answers none.
fn black_hole() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://me:s3cret@{}", listener.local_addr().unwrap());
    (listener, uri)
}

fn logged(run_dir: &Path, uri: &str) -> Trainer<Classify> {
    let logger = MlflowLogger::new("digits").tracking_uri(uri).finish_within(Duration::from_millis(20));
    trainer(run_dir).add_on(logger.upload(Upload::default().timeout(Duration::from_millis(200))))
}

fn lines(run_dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run_dir.join("mlflow/spool.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn curves(run_dir: &Path) -> Curves {
    let mut curves = Curves::new();
    for line in lines(run_dir) {
        for (name, value) in line["metrics"].as_object().into_iter().flatten() {
            let value = value.as_f64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap());
            curves.entry(name.clone()).or_default().push((line["step"].as_u64().unwrap(), bits(value)));
        }
    }
    curves
}

#[test]
fn a_server_that_never_answers_costs_nothing_and_the_spool_has_every_step_once() {
    let dir = tempdir().unwrap();
    let (_listener, uri) = black_hole();
    for (removed, epochs) in [(0, 2), (2, 3), (5, 4)] {
        if removed > 0 {
            remove_newest_checkpoints(dir.path(), removed);
        }
        let notices = Notices::default();
        let mut trainer = logged(dir.path(), &uri).add_on(notices.clone());
        assert_eq!(trainer.run(epochs, train_data(), valid_data()).unwrap().outcome, Outcome::Complete);
        drop(trainer);
        assert_eq!(curves(dir.path()), expected(dir.path()));
        let warnings = notices.warnings().join("; ");
        assert!(warnings.contains("mlflow::sync") && !warnings.contains("s3cret"), "{warnings}");
    }
    let all = lines(dir.path());
    assert_eq!(all.iter().filter(|line| line["end"] == "FINISHED").count(), 1, "the ends before are taken back");
    let text = fs::read_to_string(dir.path().join("mlflow/spool.jsonl")).unwrap();
    assert!(all[0]["tracking_uri"].as_str().unwrap().starts_with("http://127.0.0.1") && !text.contains("s3cret"));
}

/// A disk that fails holds up no checkpoint: a program that is killed then leaves one that counts more than there is.
#[test]
fn entries_that_a_checkpoint_counts_and_the_spool_lacks_are_told_of() {
    let (dir, notices) = (tempdir().unwrap(), Notices::default());
    let (_listener, uri) = black_hole();
    logged(dir.path(), &uri).run(2, train_data(), valid_data()).unwrap();
    let (path, all) = (dir.path().join("mlflow/spool.jsonl"), lines(dir.path()));
    let entries = all.iter().filter(|line| line["index"].is_u64()).count();
    let there: String = all[..=entries - 3].iter().map(|line| format!("{line}\n")).collect();
    fs::write(&path, there).unwrap();
    logged(dir.path(), &uri).add_on(notices.clone()).run(3, train_data(), valid_data()).unwrap();
    let warnings = notices.warnings().join("; ");
    assert!(warnings.contains("the last 3 entries before the checkpoint are not in"), "{warnings}");
    // What comes then is there all the same.
    assert_eq!(lines(dir.path()).iter().filter(|line| line["index"].is_u64()).count(), 3 * entries / 2 - 3);
}

#[test]
fn a_new_run_moves_the_spool_of_an_older_one_aside() {
    let dir = tempdir().unwrap();
    let (_listener, uri) = black_hole();
    logged(dir.path(), &uri).run(1, train_data(), ()).unwrap();
    let older = lines(dir.path());
    fs::remove_dir_all(dir.path().join("checkpoints")).unwrap();
    logged(dir.path(), &uri).run(1, train_data(), ()).unwrap();
    assert_ne!(lines(dir.path())[0]["key"], older[0]["key"]);
    let aside = fs::read_to_string(dir.path().join("mlflow.1/spool.jsonl")).unwrap();
    assert_eq!(aside.lines().count(), older.len());
}

#[test]
fn an_address_that_can_never_work_is_an_error_before_the_run() {
    let dir = tempdir().unwrap();
    let error = logged(dir.path(), "sqlite:///mlflow.db").run(1, train_data(), ()).unwrap_err().to_string();
    assert!(error.contains("the tracking URI"), "{error}");
}

/// Names, steps and values of the spool as the server has them.
fn points(run_dir: &Path) -> Vec<(String, u64, String)> {
    let mut all = Vec::new();
    for line in lines(run_dir) {
        for (name, value) in line["metrics"].as_object().into_iter().flatten() {
            all.push((name.replace('✓', "_"), line["step"].as_u64().unwrap(), value.to_string()));
        }
    }
    all.sort();
    all
}

fn patient(run_dir: &Path, uri: &str) -> Trainer<Classify> {
    let often = Upload::default().every(Duration::from_millis(1));
    let often = often.retry(Duration::from_millis(1), Duration::from_millis(5));
    trainer(run_dir).add_on(MlflowLogger::new("digits").tracking_uri(uri).upload(often))
}

#[test]
fn whatever_a_server_does_every_point_is_there_once() {
    let busy = || Fault::Answer(Answer::Status(429, vec![("Retry-After".to_owned(), "0".to_owned())], String::new()));
    let broken = || Fault::Answer(Answer::Status(503, Vec::new(), "busy".to_owned()));
    let other = Fault::Answer(Answer::Ok("<html>".to_owned()));
    let faults = vec![Fault::Lost, busy(), broken(), Fault::Lost, other, Fault::Lost, broken(), broken(), busy()];
    let (dir, (mock, server)) = (tempdir().unwrap(), mlflow_mock::start(faults));
    for (removed, epochs) in [(0, 3), (4, 5), (2, 6)] {
        if removed > 0 {
            remove_newest_checkpoints(dir.path(), removed);
        }
        patient(dir.path(), &server.url()).run(epochs, train_data(), valid_data()).unwrap();
        assert_eq!((mock.status().as_str(), mock.is_through()), ("FINISHED", true));
        let mut found = mock.points();
        found.sort();
        assert_eq!(found, points(dir.path()));
        // Its order is that of the rows, which may differ from that of the file.
        let (mut spool, mut expected) = (curves(dir.path()), expected(dir.path()));
        spool.values_mut().chain(expected.values_mut()).for_each(|points| points.sort_unstable());
        assert_eq!(spool, expected);
    }
    let state = mock.lock();
    assert_eq!((state.runs_made, state.authorization.as_deref()), (1, None));
}

#[test]
fn a_server_that_wants_another_password_is_told_nothing_more() {
    let refused = Fault::Answer(Answer::Status(401, Vec::new(), "not s3cret".to_owned()));
    let (dir, notices) = (tempdir().unwrap(), Notices::default());
    let (mock, server) = mlflow_mock::start(vec![refused]);
    let uri = server.url().replace("http://", "http://me:s3cret@");
    patient(dir.path(), &uri).add_on(notices.clone()).run(2, train_data(), valid_data()).unwrap();
    let warnings = notices.warnings().join("; ");
    assert!(warnings.contains("401") && !warnings.contains("s3cret"), "{warnings}");
    assert_eq!((mock.points().len(), mock.lock().authorization.as_deref()), (0, Some("Basic bWU6czNjcmV0")));
    assert_eq!(curves(dir.path()), expected(dir.path()));
    // With what is right it is sent.
    zae_loggers::mlflow::sync(dir.path().join("mlflow")).unwrap();
    assert_eq!(mock.points().len(), points(dir.path()).len());
}
