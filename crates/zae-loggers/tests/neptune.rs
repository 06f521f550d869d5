//! What the Neptune logger writes, by the rules of Neptune's own server.
#![cfg(feature = "neptune")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod neptune_runs;
mod neptune_server;

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use neptune_runs::*;
use neptune_server::{MICRO, Neptune, Run, SECRET, Shown, Value, drain, token};
use serde_json::json;
use tempfile::tempdir;
use zae_core::{
    data::from_fn,
    testing::null::{batches, loss},
};
use zae_loggers::{Level, LogHandle, NeptuneLogger};

/// What the database of a run comes to on a server.
fn arrived(dir: &Path) -> Run {
    let server = Neptune::default();
    drain(&database(dir), &server);
    assert_eq!(server.seen().duplicates, 0);
    server.run()
}

fn text(run: &Run, name: &str) -> String {
    match &run.attributes[name] {
        Value::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_number_of_a_run_is_there_once_and_exactly() {
    let dir = tempdir().unwrap();
    let notices = Notices::default();
    let settings =
        json!({"lr": 0.1, "layers": [64, 32], "deep": {"on": true, "none": null, "big": u64::MAX, "less": -3}});
    let mut trainer = trainer(dir.path(), logger().config(&settings)).add_on(notices.clone());
    run(&mut trainer, EPOCHS);
    trainer.evaluate(batches(2)).unwrap();
    trainer.evaluate(batches(3)).unwrap();
    drop(trainer);

    let run = arrived(dir.path());
    let expected = expected(dir.path());
    assert_eq!(run.series, expected);
    let mut looks = expected_shown(EPOCHS, 5);
    let seen = looks.get_mut("valid/seen").unwrap();
    for (i, batch) in [0, 1, 0, 1, 2].into_iter().enumerate() {
        seen.push((15 * MICRO + 3 + i as u64, Shown::Text(format!("batch {batch} after step 15"))));
    }
    assert_eq!(shown(&run), looks);
    // Two evaluations after the same step.
    assert_eq!(run.series["test/loss"].iter().map(|(step, _)| *step).collect::<Vec<_>>(), [15 * MICRO, 15 * MICRO + 1]);
    assert_eq!(run.series["train/loss"][4], (4 * MICRO, loss(0, 4).to_bits()));
    assert!(run.series["train/odd"].iter().all(|(_, bits)| f64::from_bits(*bits).is_nan()));

    assert_eq!((run.created, run.experiment.as_str()), (1, "wider"));
    let tags: std::collections::BTreeSet<_> = run.tags.iter().map(String::as_str).collect();
    assert_eq!(tags.into_iter().collect::<Vec<_>>(), ["adam", "größer"]);
    for (name, value) in [
        ("lr", Value::Float(0.1)),
        ("layers/1", Value::Int(32)),
        ("deep/on", Value::Bool(true)),
        ("deep/none", Value::Text("null".into())),
        ("deep/big", Value::Text(u64::MAX.to_string())),
        ("deep/less", Value::Int(-3)),
        ("trainer/engine", Value::Text("null".into())),
    ] {
        assert_eq!(run.attributes[&format!("config/{name}")], value, "{name}");
    }
    assert_eq!((text(&run, "run/status"), text(&run, "run/error")), ("finished".into(), String::new()));
    // Once, however often the run is opened.
    let told = notices.with("2026-03-05");
    assert!(
        told.len() == 1 && told[0].contains("neptune sync") && told[0].contains("run_operations.sqlite3"),
        "{told:?}"
    );
    assert_eq!(notices.with("Warning"), Vec::<String>::new());
}

#[test]
fn folders_are_named_as_neptune_names_them() {
    let dir = tempdir().unwrap();
    run(&mut trainer(dir.path(), logger().run_id("a b::c?ü")), 1);
    let name = folder(dir.path()).file_name().unwrap().to_str().unwrap().to_owned();
    let nanos = name.strip_prefix("team_digits_a_b_c_ü_").unwrap();
    assert!(nanos.len() == 19 && nanos.parse::<u64>().is_ok(), "{name}");
}

#[test]
fn a_run_from_an_older_checkpoint_has_every_step_once() {
    let dir = tempdir().unwrap();
    run(&mut trainer(dir.path(), logger()), 2);
    remove_newest_checkpoints(dir.path(), 2);
    run(&mut trainer(dir.path(), logger()), EPOCHS);
    let run = arrived(dir.path());
    assert_eq!(run.series, expected(dir.path()));
    assert_eq!(run.series["train/loss"].len(), 15);
    assert_eq!(shown(&run), expected_shown(EPOCHS, 5));
    // What was made again is not there twice, and nothing else is.
    let wanted: usize = run.shown.values().flatten().filter(|(_, own)| matches!(own, Shown::File { .. })).count();
    assert_eq!(fs::read_dir(folder(dir.path()).join("files")).unwrap().count(), wanted);
    assert_eq!((run.created, text(&run, "run/status").as_str()), (1, "finished"));
}

/// `neptune sync` takes the database away when all of it is on the server.
#[test]
fn a_run_whose_database_was_drained_goes_on_in_a_new_one() {
    for (before, again) in [(0, 0), (2, 2), (0, 1)] {
        let dir = tempdir().unwrap();
        let server = Neptune::default();
        run(&mut trainer(dir.path(), logger()), 2);
        drain(&database(dir.path()), &server);
        fs::remove_file(database(dir.path())).unwrap();
        remove_newest_checkpoints(dir.path(), before);
        run(&mut trainer(dir.path(), logger()), EPOCHS);
        if again > 0 {
            drain(&database(dir.path()), &server);
            fs::remove_file(database(dir.path())).unwrap();
            remove_newest_checkpoints(dir.path(), again);
            run(&mut trainer(dir.path(), logger()), EPOCHS + 1);
        }
        drain(&database(dir.path()), &server);
        assert_eq!(server.seen().duplicates, 0);
        let all = server.run();
        assert_eq!(all.series, expected(dir.path()));
        assert_eq!(shown(&all), expected_shown(EPOCHS + u64::from(again > 0), 5));
        assert_eq!(all.series["train/loss"].len() as u64, 5 * (EPOCHS + u64::from(again > 0)));
        assert_eq!(text(&all, "run/status"), "finished");
    }
}

/// `neptune sync` while the run is going on.
#[test]
fn a_database_that_is_drained_under_the_run_is_begun_anew() {
    let dir = tempdir().unwrap();
    let server = Neptune::default();
    let (path, its) = (dir.path().to_owned(), server.clone());
    let data = from_fn(move |epoch| {
        let (path, its) = (path.clone(), its.clone());
        (0..5).map(move |i| {
            if (epoch, i) == (1, 3) {
                settled(&database(&path));
                drain(&database(&path), &its);
                fs::remove_file(database(&path)).unwrap();
            }
            Ok(loss(epoch, i))
        })
    });
    let mut trainer = trainer(dir.path(), logger());
    trainer.run(EPOCHS, data, batches(3)).unwrap();
    drop(trainer);
    let before = server.run().series["train/loss"].len();
    assert!((5..9).contains(&before), "{before}");
    drain(&database(dir.path()), &server);
    assert_eq!(server.seen().duplicates, 0);
    assert_eq!(server.run().series, expected(dir.path()));
    assert_eq!(shown(&server.run()), expected_shown(EPOCHS, 5));
}

/// Waits until nothing more is written.
fn settled(database: &Path) {
    let connection = rusqlite::Connection::open(database).unwrap();
    let count = || connection.query_row("SELECT count(*) FROM run_operations", [], |row| row.get::<_, i64>(0)).unwrap();
    let (mut last, mut since) = (count(), Instant::now());
    while last < 8 || since.elapsed() < Duration::from_secs(1) {
        if count() != last {
            (last, since) = (count(), Instant::now());
        }
    }
}

/// A sync that was ended in the middle has taken out what the server has.
#[test]
fn a_run_whose_database_was_drained_in_part_goes_on() {
    for part in [0, 1, 3, 8, 11, 12] {
        let dir = tempdir().unwrap();
        let server = Neptune::default();
        run(&mut trainer(dir.path(), logger()), 2);
        drain(&database(dir.path()), &server);
        let connection = rusqlite::Connection::open(database(dir.path())).unwrap();
        connection.execute("DELETE FROM run_operations WHERE sequence_id <= ?", [part]).unwrap();
        drop(connection);
        // The server has what was taken out, and no more.
        let server = Neptune::default();
        drain(&database(dir.path()), &server);
        let rest = server.run();
        remove_newest_checkpoints(dir.path(), 4);
        run(&mut trainer(dir.path(), logger()), EPOCHS);
        let server = Neptune::default();
        drain(&database(dir.path()), &server);
        let now = server.run();
        let expected = expected(dir.path());
        for (name, all) in &expected {
            // What was taken out does not come again, what was not is there.
            let rest = rest.series.get(name).map_or(all.len(), |rest| all.iter().position(|p| *p == rest[0]).unwrap());
            let got = now.series.get(name).cloned().unwrap_or_default();
            assert!(all.ends_with(&got), "{part} {name}");
            assert!(got.len() >= all.len() - rest.min(all.len()), "{part} {name}: {} of {}", got.len(), all.len());
        }
    }
}

#[test]
fn files_that_cannot_be_used_are_left_and_the_run_goes_on() {
    type Damage = fn(&Path);
    let damages: [Damage; 3] = [
        |folder| fs::write(folder.join("run_operations.sqlite3"), [7; 9000]).unwrap(),
        |folder| fs::write(folder.join("zae.sqlite3"), "no").unwrap(),
        |folder| fs::remove_file(folder.join("zae.sqlite3")).unwrap(),
    ];
    for damage in damages {
        let dir = tempdir().unwrap();
        run(&mut trainer(dir.path(), logger()), 2);
        let old = folder(dir.path());
        damage(&old);
        let before = fs::read(old.join("run_operations.sqlite3")).unwrap();
        let notices = Notices::default();
        run(&mut trainer(dir.path(), logger()).add_on(notices.clone()), EPOCHS);
        assert_eq!(notices.with("cannot be used").len(), 1, "{:?}", notices.with(""));
        assert_eq!(fs::read(old.join("run_operations.sqlite3")).unwrap(), before);
        fs::remove_dir_all(old).unwrap();
        let run = arrived(dir.path());
        assert_eq!(run.series["train/loss"], expected(dir.path())["train/loss"][10..]);
    }
}

/// Over the seconds of the run, also when it goes on.
#[test]
fn what_belongs_to_no_step_is_there_beside() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("model.json");
    let notices = Notices::default();
    for (epochs, content) in [(1, "first"), (EPOCHS, "second")] {
        let log = LogHandle::new();
        let logger = logger();
        #[cfg(feature = "system-metrics")]
        let logger = logger.system_metrics(Duration::from_millis(100));
        let mut trainer = telling_trainer(dir.path(), logger, log.clone()).add_on(notices.clone());
        (0..300).for_each(|i| writeln!(log.console(), "{content} {i}").unwrap());
        fs::write(&path, "not this one").unwrap();
        log.file(&path);
        log.file(dir.path().join("missing"));
        run(&mut trainer, epochs);
        fs::write(&path, content).unwrap();
        log.file(&path);
        log.alert(Level::Error, "It burns", content);
        run(&mut trainer, epochs + 1);
    }
    let run = arrived(dir.path());
    assert_eq!(run.series, expected(dir.path()));
    let texts = |name: &str| -> Vec<String> {
        let of = |(_, own): &(u64, Shown)| if let Shown::Text(text) = own { text.clone() } else { panic!("{own:?}") };
        run.shown[name].iter().map(of).collect()
    };
    let lines = |what| (0..300).map(move |i| format!("{what} {i}"));
    assert_eq!(texts("runtime/stdout"), lines("first").chain(lines("second")).collect::<Vec<_>>());
    assert_eq!(
        texts("alerts"),
        ["Error: It burns\nfirst", "Warning: Loss is high\nIt is 7.", "Error: It burns\nsecond"]
    );
    // Seconds, of which a test takes few.
    assert!(run.shown["alerts"].iter().all(|(step, _)| *step < 600 * MICRO), "{:?}", run.shown["alerts"]);
    let file = Shown::File { mime: "application/json".into(), content: b"second".to_vec() };
    assert_eq!(run.attributes["files/model.json"], Value::File(file));
    assert!(!run.attributes.contains_key("files/missing"));
    assert_eq!(notices.with("is not kept with the run").len(), 2, "{:?}", notices.with(""));
    #[cfg(feature = "system-metrics")]
    for name in ["cpu", "proc/memory/rssMB"] {
        assert!(!run.monitoring[&format!("runtime/monitoring/{name}")].is_empty());
    }
}

#[test]
fn ten_thousand_long_names_in_one_step() {
    let dir = tempdir().unwrap();
    // 3 MB: more than one operation. The longest that is taken, and one that is not.
    let mut more: Vec<String> = (0..10_000).map(|i| format!("{i:05}/{}", "ü".repeat(150))).collect();
    more.push("x".repeat(1024 - 6));
    more.push("y".repeat(1025 - 6));
    let more: Vec<&'static str> = more.into_iter().map(|name| &*name.leak()).collect();
    let notices = Notices::default();
    let mut trainer = wide_trainer(dir.path(), more.clone(), logger()).add_on(notices.clone());
    trainer.run(1, batches(3), batches(1)).unwrap();
    let run = arrived(dir.path());
    let points: Vec<_> = (0..3).map(|i| (i * MICRO, loss(0, i).to_bits())).collect();
    for name in &more[..10_001] {
        assert_eq!(run.series[&format!("train/{name}")], points);
    }
    assert!(!run.series.contains_key(&format!("train/{}", more[10_001])));
    let told = notices.with("1024 bytes");
    // That of its steps, and that of the epoch; not that of 10,000 others.
    assert!(told.len() == 2 && told.iter().all(|text| text.len() < 300), "{told:?}");
}

#[test]
fn settings_that_can_never_work_are_told_before_the_run() {
    let cases: [(NeptuneLogger, &str); 6] = [
        (NeptuneLogger::new("digits"), "workspace/name"),
        (NeptuneLogger::new("a/b").run_id("x/y"), "slash"),
        (NeptuneLogger::new("a/b").run_id("x".repeat(731)), "731 bytes"),
        (NeptuneLogger::new("a/b").experiment(""), "0 bytes"),
        (NeptuneLogger::new("a/b").api_token(SECRET), "API token"),
        (NeptuneLogger::new("a/b").api_token(&token("https://app.neptune.ai")).online(), "2026-03-05"),
    ];
    for (logger, cause) in cases {
        let dir = tempdir().unwrap();
        let error = trainer(dir.path(), logger).run(1, batches(1), batches(1)).unwrap_err().to_string();
        assert!(error.contains(cause) && !error.contains(SECRET), "{error}");
    }
}

#[test]
fn the_key_of_the_service_that_has_ended_means_files() {
    let dir = tempdir().unwrap();
    let notices = Notices::default();
    let logger = NeptuneLogger::new("team/digits").api_token(&token("https://app.neptune.ai"));
    run(&mut trainer(dir.path(), logger).add_on(notices.clone()), 1);
    assert_eq!(notices.with("2026-03-05").len(), 1);
    assert_eq!(arrived(dir.path()).series, expected(dir.path()));
}

// ---- processes that are killed ----

const DIR: &str = "ZAE_NEPTUNE_DIR";

/// Does nothing unless this process is the child.
#[test]
fn child() {
    let Some(dir) = env::var_os(DIR).map(PathBuf::from) else { return };
    // The environment says it all.
    let mut trainer = trainer(&dir, NeptuneLogger::from_env().dir(dir.join("neptune")));
    trainer.run(20, batches(20), batches(3)).unwrap();
    fs::write(dir.join("done"), "").unwrap();
}

fn child_in(dir: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["child", "--exact"]).env(DIR, dir).env("NEPTUNE_PROJECT", "team/digits");
    command.env("NEPTUNE_API_TOKEN", token("https://neptune.example.org")).env("NEPTUNE_MODE", "offline");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn killed_at_any_moment_the_run_has_every_step_once() {
    let dir = tempdir().unwrap();
    let mut kills = 0;
    while !dir.path().join("done").exists() {
        let mut child = child_in(dir.path()).spawn().unwrap();
        if kills < 10 {
            // Long enough to get on.
            std::thread::sleep(Duration::from_millis(60 + 41 * (kills % 5)));
            child.kill().unwrap();
            kills += 1;
        }
        child.wait().unwrap();
    }
    let run = arrived(dir.path());
    let expected: BTreeMap<_, _> = expected(dir.path());
    assert_eq!(run.series, expected);
    assert_eq!(run.series["train/loss"].len(), 400);
    assert_eq!(shown(&run), expected_shown(20, 20));
    assert!(kills > 3, "{kills}");
    assert_eq!(text(&run, "run/status"), "finished");
    // The key was in the environment, and is nowhere else.
    let all = fs::read_dir(folder(dir.path())).unwrap().map(|file| file.unwrap().path());
    for file in all.filter(|path| path.is_file()) {
        let bytes = fs::read(file).unwrap();
        let token = token("https://neptune.example.org");
        assert!(!bytes.windows(16).any(|window| window == &token.as_bytes()[30..46]));
    }
}
