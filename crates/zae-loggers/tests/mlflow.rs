//! Runs that are logged for an MLflow server that is not there: all of it is in the spool.

#![cfg(feature = "mlflow")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod runs;

use std::{fs, net::TcpListener, path::Path, time::Duration};

use runs::*;
use serde_json::Value;
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
