//! What Neptune's own package makes of our files. It needs `ZAE_PYTHON`: `cargo xtask loggers` sets it.
#![cfg(feature = "neptune")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod interpreter;
mod neptune_runs;
mod neptune_server;

use std::{collections::BTreeMap, fs, path::Path};

use interpreter::{output, python, script};
use neptune_runs::*;
use neptune_server::{Neptune, token};
use serde_json::{Value, json};
use tempfile::tempdir;
use zae_core::testing::null::batches;

/// Neptune's command, against our server.
fn sync(dir: &Path, server: &Neptune) {
    let server = server.start();
    let key = dir.join("key");
    fs::write(&key, token(&server.url())).unwrap();
    output(python().arg(script("neptune_sync.py")).args([&database(dir), &key]));
}

#[test]
#[ignore = "needs Python with neptune-scale"]
fn neptune_s_own_classes_read_what_was_logged() {
    let dir = tempdir().unwrap();
    let settings = json!({"lr": 0.1, "layers": [64], "on": true, "off": false, "zero": 0, "less": -3, "name": "größe"});
    let mut trainer = trainer(dir.path(), logger().config(&settings));
    run(&mut trainer, EPOCHS);
    trainer.evaluate(batches(2)).unwrap();
    trainer.evaluate(batches(3)).unwrap();
    drop(trainer);
    let result = dir.path().join("result");
    output(python().arg(script("neptune_read.py")).args([&database(dir.path()), &result]));

    let read: Value = serde_json::from_slice(&fs::read(result).unwrap()).unwrap();
    assert_eq!((&read["project"], &read["run_id"]), (&json!("team/digits"), &json!("läuft 1")));
    assert_eq!(read["creates"], json!([["läuft 1", "wider"]]));
    let series: BTreeMap<String, Vec<(u64, u64)>> = serde_json::from_value(read["series"].clone()).unwrap();
    assert_eq!(series, expected(dir.path()));
    for (name, value) in [
        ("lr", json!(["float64", 0.1])),
        ("layers/0", json!(["int64", 64])),
        ("on", json!(["bool", true])),
        ("off", json!(["bool", false])),
        ("zero", json!(["int64", 0])),
        ("less", json!(["int64", -3])),
        ("name", json!(["string", "größe"])),
    ] {
        assert_eq!(read["assigned"][format!("config/{name}")], value, "{name}");
    }
    assert_eq!(read["assigned"]["run/status"], json!(["string", "finished"]));
    let tags = read["tags"].as_array().unwrap();
    assert!(["adam", "größer"].iter().all(|tag| tags.contains(&json!(["sys/tags", tag, 1]))), "{tags:?}");
}

/// Also twice: the run goes on after its database was drained.
#[test]
#[ignore = "needs Python with neptune-scale"]
fn neptune_sync_drains_the_database() {
    let dir = tempdir().unwrap();
    let server = Neptune::default();
    for epochs in [2, EPOCHS] {
        run(&mut trainer(dir.path(), logger()), epochs);
        sync(dir.path(), &server);
        assert!(!database(dir.path()).exists(), "all of it is on the server");
        let arrived = server.run();
        assert_eq!(arrived.series, expected(dir.path()));
        assert_eq!(arrived.experiment, "wider");
        assert_eq!(arrived.attributes["run/status"], neptune_server::Value::Text("finished".into()));
        if epochs == 2 {
            remove_newest_checkpoints(dir.path(), 2);
        }
    }
    assert_eq!(server.seen().duplicates, 0);
}

/// Operations of the greatest size.
#[test]
#[ignore = "needs Python with neptune-scale"]
fn neptune_sync_takes_ten_thousand_long_names() {
    let dir = tempdir().unwrap();
    let server = Neptune::default();
    let more: Vec<&'static str> = (0..10_000).map(|i| &*format!("{i:05}/{}", "ü".repeat(150)).leak()).collect();
    let mut trainer = wide_trainer(dir.path(), more, logger());
    trainer.run(1, batches(3), batches(1)).unwrap();
    sync(dir.path(), &server);
    let arrived = server.run();
    assert!(!database(dir.path()).exists());
    assert!(arrived.series.len() > 10_000 && server.seen().duplicates == 0);
    let steps = arrived.series.iter().filter(|(name, _)| name.starts_with("train/0") && !name.ends_with("_epoch"));
    assert!(steps.map(|(_, points)| points.len()).all(|points| points == 3));
}
