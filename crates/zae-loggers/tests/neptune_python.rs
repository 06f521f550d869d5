//! What Neptune's own package makes of our files. It needs `ZAE_PYTHON`: `cargo xtask loggers` sets it.
#![cfg(feature = "neptune")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod interpreter;
mod neptune_runs;
mod neptune_server;

use std::{collections::BTreeMap, fs, io::Write, path::Path};

use interpreter::{output, python, script};
use neptune_runs::*;
use neptune_server::{Neptune, Run, Shown, drain, token};
use serde_json::{Value, json};
use tempfile::tempdir;
use zae_core::testing::null::batches;
use zae_loggers::{Histogram, LogHandle};

/// Neptune's command, against our server.
fn sync(dir: &Path, server: &Neptune) {
    let server = server.start();
    let key = dir.join("key");
    fs::write(&key, token(&server.url())).unwrap();
    output(python().arg(script("neptune_sync.py")).args([&database(dir), &key]));
}

/// By our own reader.
fn drained(dir: &Path) -> Run {
    let server = Neptune::default();
    drain(&database(dir), &server);
    server.run()
}

#[test]
#[ignore = "needs Python with neptune-scale"]
fn neptune_s_own_classes_read_what_was_logged() {
    let dir = tempdir().unwrap();
    let settings = json!({"lr": 0.1, "layers": [64], "on": true, "off": false, "zero": 0, "less": -3, "name": "größe"});
    let log = LogHandle::new();
    let logger = logger().config(&settings);
    #[cfg(feature = "system-metrics")]
    let logger = logger.system_metrics(std::time::Duration::from_millis(100));
    let mut trainer = telling_trainer(dir.path(), logger, log.clone());
    fs::write(dir.path().join("notes.md"), "# größe").unwrap();
    log.file(dir.path().join("notes.md"));
    writeln!(log.console(), "läuft\n").unwrap();
    // What no whole numbers are.
    log.histogram("shares", Histogram::with_bins(vec![0.0, 1.0, 3.0], vec![0.5, 1.5]).unwrap());
    run(&mut trainer, EPOCHS);
    let looks = shown(&drained(dir.path()));
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
    // What it makes of what is shown is what our own reader does, of which other tests ask that it is right.
    let files = &read["files"];
    for (name, points) in &looks {
        let found = read["shown"][name].as_array().unwrap();
        assert!(found.len() >= points.len(), "{name}");
        for ((step, own), found) in points.iter().zip(found) {
            assert_eq!(found[0], *step, "{name}");
            let value = &found[2];
            match own {
                Shown::Text(text) => assert_eq!((&found[1], value), (&json!("string"), &json!(text))),
                Shown::Histogram(edges, bins) => {
                    let edges: Vec<f64> = edges.iter().map(|edge| f64::from_bits(*edge)).collect();
                    let densities: Vec<f64> = bins.iter().map(|bin| f64::from_bits(*bin)).collect();
                    let is_density = name == "shares";
                    let bins = if is_density { json!(densities) } else { json!(bins) };
                    assert_eq!((&found[1], value), (&json!("histogram"), &json!([edges, is_density, bins])));
                }
                Shown::File { mime, content } => {
                    let hex: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
                    let path = value[0].as_str().unwrap();
                    assert_eq!(value, &json!([path, content.len(), mime]));
                    assert_eq!(files[path], json!([hex, mime, content.len(), true]));
                }
                other @ Shown::Reference { .. } => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(looks["shares"].len() + looks["samples/größe"].len() + looks["predictions"].len(), 1 + 8 + 4);
    assert_eq!(read["shown"]["shares"][0][2], json!([[0.0, 1.0, 3.0], true, [0.25, 0.375]]));
    let lines: Vec<_> = read["shown"]["runtime/stdout"].as_array().unwrap().iter().map(|own| &own[2]).collect();
    assert_eq!(lines, ["läuft", ""]);
    assert_eq!(read["shown"]["alerts"][0][2], "Warning: Loss is high\nIt is 7.");
    let notes = &read["assigned"]["files/notes.md"];
    assert_eq!((&notes[0], &notes[1][2]), (&json!("file_ref"), &json!("text/markdown")));
    assert_eq!(files[notes[1][0].as_str().unwrap()][2], "# größe".len());
    #[cfg(feature = "system-metrics")]
    assert!(!read["monitoring"]["runtime/monitoring/memory_percent"].as_array().unwrap().is_empty());
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
        assert_eq!(shown(&arrived), expected_shown(epochs, 5));
        assert_eq!(fs::read_dir(folder(dir.path()).join("files")).unwrap().count(), 0);
        assert_eq!(arrived.experiment, "wider");
        assert_eq!(arrived.attributes["run/status"], neptune_server::Value::Text("finished".into()));
        if epochs == 2 {
            remove_newest_checkpoints(dir.path(), 2);
        }
    }
    assert_eq!(server.seen().duplicates, 0);
}

/// And what its own client gets there by each storage is what ours does.
#[test]
#[ignore = "needs Python with neptune-scale"]
fn neptune_sync_uploads_files_to_each_kind_of_storage() {
    for provider in ["gcp", "azure", "aws", "aws-parts"] {
        let dir = tempdir().unwrap();
        let server = Neptune::default();
        server.seen().provider = provider;
        let content: Vec<u8> = (0..40u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(dir.path().join("model.bin"), &content).unwrap();
        let log = LogHandle::new();
        let mut trainer = telling_trainer(dir.path(), logger(), log.clone());
        log.file(dir.path().join("model.bin"));
        run(&mut trainer, 2);
        drop(trainer);
        sync(dir.path(), &server);
        assert!(!database(dir.path()).exists(), "{provider}: all of it is on the server");
        let arrived = server.run();
        assert_eq!(shown(&arrived), expected_shown(2, 5));
        let file = Shown::File { mime: "application/octet-stream".into(), content };
        assert!(arrived.attributes["files/model.bin"] == neptune_server::Value::File(file), "{provider}");
    }
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
