//! Runs that are logged for TensorBoard: left alone, resumed, killed, on a full disk; and what the real TensorBoard reads.

#![cfg(feature = "tensorboard")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod runs;
mod showing;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use runs::*;
use serde_json::{Value, json};
use showing::{ALERT_AT, Showing};
use tempfile::tempdir;
use zae_core::{
    testing::{Architecture, Fixture, reference::Reference},
    trainer::{Outcome, Trainer},
};
use zae_loggers::{LogHandle, Media, TensorBoardLogger};

fn logged(run_dir: &Path) -> Trainer<Showing<Classify>> {
    let settings = json!({"width": 24, "optimizer": {"name": "adam", "betas": [0.9, 0.999]}, "on": true});
    let log = LogHandle::new();
    let logger = TensorBoardLogger::new().config(&settings).handle(&log);
    #[cfg(feature = "system-metrics")]
    let logger = logger.system_metrics(Duration::from_millis(100));
    trainer_of(Showing { task: Classify, log }, run_dir).add_on(logger)
}

fn train(run_dir: &Path, epochs: u64) {
    let run = logged(run_dir).run(epochs, train_data(), valid_data()).unwrap();
    assert_eq!(run.outcome, Outcome::Complete);
}

const ALERT: &str = "alerts/Loss is high";

// ---- a small reader, which knows nothing of the writer ----

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().contains("tfevents"));
    files.sort();
    files
}

fn varint(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f))
}

/// The fields of a message, each as its bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut all = Vec::new();
    let mut take = |length: Option<usize>| {
        let of_varint = || bytes.iter().position(|byte| byte & 0x80 == 0).map(|last| last + 1);
        let (own, rest) = bytes.split_at_checked(length.or_else(of_varint)?)?;
        bytes = rest;
        Some(own)
    };
    while let Some(tag) = take(None).map(varint) {
        let own = match tag & 7 {
            0 => take(None),
            1 => take(Some(8)),
            2 => take(None).and_then(|length| take(Some(varint(length) as usize))),
            5 => take(Some(4)),
            other => panic!("a field of type {other}"),
        };
        all.push((tag >> 3, own.unwrap()));
    }
    all
}

/// All values of the files of a folder, which have to be whole: their steps and fields.
fn values(folder: &Path) -> Vec<(u64, BTreeMap<u64, Vec<u8>>)> {
    let mut all = Vec::new();
    for path in files(folder) {
        let bytes = fs::read(&path).unwrap();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = u64::from_le_bytes(*rest.first_chunk().unwrap()) as usize;
            let event = fields(&rest[12..12 + length]);
            rest = &rest[16 + length..];
            let of = |wanted| event.iter().find(|own| own.0 == wanted).map(|own| own.1);
            let step = of(2).map_or(0, varint);
            for (_, value) in of(5).map(fields).unwrap_or_default() {
                all.push((step, fields(value).into_iter().map(|(field, own)| (field, own.to_vec())).collect()));
            }
        }
    }
    all
}

fn name(value: &BTreeMap<u64, Vec<u8>>) -> String {
    String::from_utf8(value[&1].clone()).unwrap()
}

/// All scalars but those of the system.
fn curves(folder: &Path) -> Curves {
    let mut curves = Curves::new();
    for (step, value) in values(folder) {
        if let Some(number) = value.get(&2).filter(|_| !name(&value).starts_with("system/")) {
            let number = f32::from_le_bytes(number[..].try_into().unwrap());
            curves.entry(name(&value)).or_default().push((step, bits(f64::from(number))));
        }
    }
    curves
}

/// What is to be seen of a run of so many epochs, as TensorBoard's plugins have it: by plugin and tag, in order.
fn shown(epochs: u64) -> Value {
    let mut shown = json!({"images": {}, "histograms": {}, "text": {}});
    let mut push = |plugin: &str, tag: &str, step: u64, own: Value| {
        let all = shown[plugin].as_object_mut().unwrap().entry(tag).or_insert_with(|| json!([]));
        all.as_array_mut().unwrap().push(json!([step, own]));
    };
    for (step, name, media) in showing::of_run(epochs, 5, 3) {
        match media {
            Media::Image(image) => {
                let mut png = png::Decoder::new(std::io::Cursor::new(image.png().unwrap())).read_info().unwrap();
                let mut pixels = vec![0; png.output_buffer_size().unwrap()];
                png.next_frame(&mut pixels).unwrap();
                let hex: String = pixels.iter().map(|byte| format!("{byte:02x}")).collect();
                push("images", name, step, json!([image.width(), image.height(), hex]));
                if let Some(caption) = image.text() {
                    push("text", &format!("{name}/caption"), step, caption.into());
                }
            }
            Media::Histogram(histogram) => {
                let bins = histogram.edges().windows(2).zip(histogram.counts());
                let mut bins: Vec<_> = bins.skip_while(|bin| *bin.1 == 0.0).collect();
                while bins.pop_if(|bin| *bin.1 == 0.0).is_some() {}
                let single = |number: f64| f64::from(number as f32);
                let bins: Vec<_> = bins.into_iter().map(|(edge, n)| [single(edge[0]), single(edge[1]), *n]).collect();
                push("histograms", name, step, json!(bins));
            }
            Media::Table(table) => push("text", name, step, table.markdown(200).into()),
            Media::Text(text) => push("text", name, step, text.into()),
            _ => panic!("{name}"),
        }
    }
    shown
}

/// Tags and the steps at which files have something to see, in order: not what it is.
fn shown_in(folder: &Path) -> BTreeMap<String, Vec<u64>> {
    let mut shown = BTreeMap::<String, Vec<u64>>::new();
    for (step, value) in values(folder) {
        if !value.contains_key(&2) && ![ALERT, "config/text_summary"].contains(&&*name(&value)) {
            shown.entry(name(&value)).or_default().push(step);
        }
    }
    shown.remove("_hparams_/session_start_info");
    shown
}

#[track_caller]
fn assert_all_is_shown(folder: &Path, epochs: u64) {
    let shown = shown(epochs);
    let expected = shown.as_object().unwrap().values().flat_map(|tags| tags.as_object().unwrap());
    let steps = |all: &Value| all.as_array().unwrap().iter().map(|own| own[0].as_u64().unwrap()).collect();
    assert_eq!(shown_in(folder), expected.map(|(tag, all)| (tag.clone(), steps(all))).collect());
}

#[track_caller]
fn assert_same(found: &Curves, expected: &Curves, what: &str) {
    for name in expected.keys().chain(found.keys()) {
        assert_eq!(found.get(name), expected.get(name), "{what}: {name}");
    }
}

// ---- runs ----

#[test]
fn a_run_and_what_follows_it_in_the_program_is_one_file() {
    let dir = tempdir().unwrap();
    let mut trainer = logged(dir.path());
    trainer.run(2, train_data(), valid_data()).unwrap();
    trainer.evaluate(valid_data()).unwrap();
    trainer.run(3, train_data(), valid_data()).unwrap();
    drop(trainer);
    let found = curves(&dir.path().join("tensorboard"));
    assert_same(&found, &expected(dir.path()), "all of it");
    let alerts: Vec<_> =
        values(&dir.path().join("tensorboard")).into_iter().filter(|own| name(&own.1) == ALERT).collect();
    assert!(matches!(alerts[..], [(ALERT_AT, _)]), "{alerts:?}");
    assert_eq!(found["train/loss"].iter().map(|own| own.0).collect::<Vec<_>>(), (0..15).collect::<Vec<_>>());
    assert_eq!(found["test/accuracy"].len(), 1);
    assert_eq!(found["train/loss_epoch"].len(), 3);
    assert_eq!(found["train/größe/✓"].len(), 15);
    assert!(found["train/odd"].iter().all(|own| own.1 == f32::NAN.to_bits()));
    assert_eq!(files(&dir.path().join("tensorboard")).len(), 1);
}

#[test]
fn a_run_from_any_older_checkpoint_has_every_step_once() {
    let whole = tempdir().unwrap();
    train(whole.path(), 4);
    for removed in [0, 1, 3, 7] {
        let dir = tempdir().unwrap();
        train(dir.path(), 3);
        remove_newest_checkpoints(dir.path(), removed);
        train(dir.path(), 4);
        assert_same(&curves(&dir.path().join("tensorboard")), &expected(whole.path()), "resumed");
        assert_all_is_shown(&dir.path().join("tensorboard"), 4);
        assert_same(&expected(dir.path()), &expected(whole.path()), "what it is compared with");
    }
}

#[test]
fn without_a_folder_it_says_so_and_the_run_goes_on() {
    let notices = Notices::default();
    let learner = Reference { asynchronous: false }.learner(Architecture::Full);
    let mut trainer = Trainer::new(Classify, learner)
        .scheduler(0.01)
        .handle_signals(false)
        .add_on((TensorBoardLogger::new(), notices.clone()));
    assert_eq!(trainer.run(1, train_data(), ()).unwrap().outcome, Outcome::Complete);
    assert!(notices.warnings()[0].contains(".to(..)"), "{:?}", notices.warnings());
    assert_eq!(notices.warnings().len(), 1);
}

// ---- processes ----

const DIR: &str = "ZAE_CHILD_DIR";
const FULL: &str = "ZAE_CHILD_FULL";
const EPOCHS: u64 = 40;

/// Does nothing unless this process is the child.
#[test]
fn child() {
    let Ok(dir) = env::var(DIR).map(PathBuf::from) else { return };
    if env::var_os(FULL).is_none() {
        return train(&dir, EPOCHS);
    }
    let notices = Notices::default();
    let learner = Reference { asynchronous: false }.learner(Architecture::Full);
    let logger = TensorBoardLogger::new().to(dir.join("full"));
    let mut trainer =
        Trainer::new(Classify, learner).scheduler(0.01).handle_signals(false).add_on((logger, notices.clone()));
    assert_eq!(trainer.run(EPOCHS, train_data(), ()).unwrap().outcome, Outcome::Complete);
    drop(trainer);
    fs::write(dir.join("warnings"), notices.warnings().join("\n")).unwrap();
}

fn start(dir: &Path) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["child", "--exact"]).env(DIR, dir).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn events_in(dir: &Path) -> u64 {
    let folder = dir.join("tensorboard");
    if folder.exists() { files(&folder).iter().map(|path| path.metadata().unwrap().len()).sum() } else { 0 }
}

/// Kills the run again and again, each time when it has written something.
fn killed_until_it_is_through(dir: &Path, mut between: impl FnMut()) -> u32 {
    let mut kills = 0;
    loop {
        let before = events_in(dir);
        let mut child = start(dir);
        let since = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            // Also in the middle of a write: whenever it comes.
            if kills < 4 && events_in(dir) > before + 4096 * u64::from(kills + 1) {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            assert!(since.elapsed() < Duration::from_secs(300));
            thread::yield_now();
        };
        between();
        match status {
            Some(status) => {
                assert!(status.success(), "{status}");
                return kills;
            }
            None => kills += 1,
        }
    }
}

#[test]
fn a_run_that_is_killed_over_and_over_has_every_step_once() {
    let (whole, dir) = (tempdir().unwrap(), tempdir().unwrap());
    train(whole.path(), EPOCHS);
    let kills = killed_until_it_is_through(dir.path(), || {});
    assert!(kills > 0);
    assert_same(&curves(&dir.path().join("tensorboard")), &expected(whole.path()), "killed");
    assert_all_is_shown(&dir.path().join("tensorboard"), EPOCHS);
}

#[test]
#[cfg(unix)]
fn a_disk_that_is_full_costs_a_warning_and_entries_but_no_run() {
    let dir = tempdir().unwrap();
    // No file of this process gets larger than 16 blocks of 512 bytes, or of 1024; beyond that a write fails.
    let limited = "trap '' XFSZ; ulimit -f 16; exec \"$0\" child --exact";
    let mut command = Command::new("sh");
    command.args(["-c", limited]).arg(env::current_exe().unwrap()).env(DIR, dir.path()).env(FULL, "1");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let warnings = fs::read_to_string(dir.path().join("warnings")).unwrap();
    assert!(warnings.contains("cannot write") && warnings.contains("the disk has not taken"), "{warnings}");
    // What is there is whole: nothing of the record that did not fit.
    let found = curves(&dir.path().join("full"));
    let steps: Vec<u64> = found.get("train/loss").into_iter().flatten().map(|own| own.0).collect();
    assert!(steps.len() < EPOCHS as usize * 5 && steps.iter().copied().eq(0..steps.len() as u64), "{steps:?}");
}

// ---- the real one ----

/// TensorBoard, reading a folder.
struct Reader {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// What it has read.
struct Seen {
    curves: Curves,
    rest: Value,
}

impl Reader {
    /// What programs read with, and the pages.
    fn start(folder: &Path) -> Self {
        Self::of("tensorboard_reader.py", folder)
    }

    /// The program that people start.
    fn server(folder: &Path) -> Self {
        Self::of("tensorboard_server.py", folder)
    }

    fn of(script: &str, folder: &Path) -> Self {
        let python =
            env::var_os("ZAE_PYTHON").expect("ZAE_PYTHON is not set: it has to name a Python with TensorBoard");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
        let mut command = Command::new(python);
        command.arg(script).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (to, from) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, to, from }
    }

    fn ask(&mut self, how: &str) -> Value {
        writeln!(self.to, "{how}").unwrap();
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn read(&mut self, how: &str) -> Seen {
        let rest = self.ask(how);
        let (for_programs, for_people) = (scalars(&rest["scalars"]), scalars(&rest["plugin"]));
        assert_same(&for_people, &for_programs, &format!("{how}: TensorBoard itself"));
        Seen { curves: for_programs, rest }
    }

    /// What it shows as soon as that is as it has to be, or after a time in which it should be.
    fn settled(&mut self, is_right: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let seen = self.ask("");
            if is_right(&seen) || since.elapsed() > Duration::from_secs(60) {
                return seen;
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// All but those of the system, which are there.
fn scalars(found: &Value) -> Curves {
    let number = |value: &Value| bits(value.as_str().unwrap().parse().unwrap());
    let point = |point: &Value| (point[0].as_u64().unwrap(), number(&point[1]));
    let curve = |points: &Value| -> Vec<_> { points.as_array().unwrap().iter().map(point).collect() };
    let all = found.as_object().unwrap().iter().map(|(name, points)| (name.clone(), curve(points)));
    let (system, own): (Curves, Curves) = all.partition(|(name, _)| name.starts_with("system/"));
    #[cfg(feature = "system-metrics")]
    for name in ["system/cpu", "system/proc/memory/rssMB"] {
        let steps = || system[name].iter().map(|own| own.0);
        assert!(steps().is_sorted() && system[name].iter().all(|own| f32::from_bits(own.1) >= 0.0), "{system:?}");
    }
    assert_eq!(system.is_empty(), cfg!(not(feature = "system-metrics")));
    own
}

fn items(list: &mut Value) -> &mut Vec<Value> {
    list.as_array_mut().unwrap()
}

/// What plugins show of a run but for its settings and alerts.
fn media(found: &Value) -> Value {
    let mut media = found["media"].clone();
    // The data server has more digits of histograms than the pages otherwise have.
    let of_histograms = media["histograms"].as_object_mut().unwrap().values_mut();
    for number in of_histograms.flat_map(items).flat_map(|own| items(&mut own[1])).flat_map(items) {
        *number = f64::from(number.as_f64().unwrap() as f32).into();
    }
    ["config/text_summary", ALERT].iter().for_each(|tag| drop(media["text"].as_object_mut().unwrap().remove(*tag)));
    media
}

/// The data server keeps one thing of a name for each step.
fn last_of_each_step(mut shown: Value) -> Value {
    for all in shown.as_object_mut().unwrap().values_mut().flat_map(|tags| tags.as_object_mut().unwrap().values_mut()) {
        let by_step: BTreeMap<u64, Value> = items(all).drain(..).map(|own| (own[0].as_u64().unwrap(), own)).collect();
        *all = by_step.into_values().collect();
    }
    shown
}

#[track_caller]
fn assert_shows(seen: &Value, expected: &Value, what: &str) {
    let found = media(seen);
    for (plugin, tags) in expected.as_object().unwrap() {
        for (tag, all) in tags.as_object().unwrap() {
            assert_eq!(found[plugin][tag], *all, "{what}: {plugin} {tag}");
        }
    }
    assert_eq!(found, *expected, "{what}");
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "needs Python with TensorBoard"]
fn tensorboard_shows_every_step_once_also_while_runs_are_resumed() {
    let (whole, dir) = (tempdir().unwrap(), tempdir().unwrap());
    train(whole.path(), 4);
    let folder = dir.path().join("tensorboard");
    train(dir.path(), 2);
    let mut reader = Reader::start(&folder);
    let first = reader.read("reload");
    assert_same(&first.curves, &expected(dir.path()), "the first part");
    let rest = &first.rest;
    assert_eq!((&rest["hparams"]["width"], &rest["hparams"]["on"]), (&24.0.into(), &true.into()));
    assert_eq!(
        (&rest["hparams"]["optimizer/betas/1"], &rest["hparams"]["optimizer/name"]),
        (&0.999.into(), &"adam".into())
    );
    assert_eq!(rest["hparams"]["trainer/schedule"], "0.01");
    assert!(rest["text"][0].as_str().unwrap().contains("\n      \"width\": 24\n"), "{}", rest["text"]);
    assert!(rest["text_plugin"].as_array().unwrap().contains(&"config/text_summary".into()));
    assert_eq!(rest["media"]["text"][ALERT], json!([[ALERT_AT, "**Warning**: It is 7."]]));
    assert_shows(rest, &shown(2), "the first part");
    // As programs get them: with the sums of a histogram.
    assert_eq!(rest["images"], rest["media"]["images"]);
    let sums = (3.0 * 0.125 + 4.0 * 0.625, 3.0 * 0.015625 + 4.0 * 0.390625);
    let whole_bins = json!([0.0, 1.0, 7.0, sums.0, sums.1, [0.25, 1.0], [3.0, 4.0]]);
    assert_eq!(rest["histograms"]["bins"][1], json!([4, whole_bins]));
    for (removed, epochs) in [(3, 3), (0, 4), (4, 4), (6, 4)] {
        remove_newest_checkpoints(dir.path(), removed);
        train(dir.path(), epochs);
        for how in ["reload", "fresh"] {
            let seen = reader.read(how);
            assert_same(&seen.curves, &expected(dir.path()), how);
            assert_shows(&seen.rest, &shown(epochs), how);
        }
    }
    assert_same(&expected(dir.path()), &expected(whole.path()), "what it is compared with");
    // All over again, in the same folder.
    fs::remove_dir_all(dir.path().join("checkpoints")).unwrap();
    train(dir.path(), 1);
    for how in ["reload", "fresh"] {
        assert_same(&reader.read(how).curves, &expected(dir.path()), how);
    }
    assert_same(
        &Reader::start(&folder.join("earlier.1")).read("fresh").curves,
        &expected(whole.path()),
        "the older run",
    );
}

#[test]
#[ignore = "needs Python with TensorBoard"]
fn tensorboard_shows_every_step_once_of_a_run_that_is_killed_over_and_over() {
    let (whole, dir) = (tempdir().unwrap(), tempdir().unwrap());
    train(whole.path(), EPOCHS);
    let folder = dir.path().join("tensorboard");
    fs::create_dir(&folder).unwrap();
    let mut reader = Reader::start(&folder);
    let kills = killed_until_it_is_through(dir.path(), || drop(reader.read("reload")));
    assert!(kills > 0);
    for how in ["reload", "fresh"] {
        let seen = reader.read(how);
        assert_same(&seen.curves, &expected(whole.path()), how);
        assert_shows(&seen.rest, &shown(EPOCHS), how);
    }
}

#[test]
#[ignore = "needs Python with TensorBoard"]
fn the_pages_of_a_running_tensorboard_show_a_run_while_it_is_resumed() {
    let dir = tempdir().unwrap();
    let folder = dir.path().join("tensorboard");
    fs::create_dir(&folder).unwrap();
    let mut live = Reader::server(&folder);
    for (removed, epochs) in [(0, 2), (3, 3), (6, 4)] {
        if removed > 0 {
            remove_newest_checkpoints(dir.path(), removed);
        }
        train(dir.path(), epochs);
        let (points, media_of_run) = (expected(dir.path()), last_of_each_step(shown(epochs)));
        let is_right = |seen: &Value| {
            !seen["scalars"].as_object().unwrap().is_empty()
                && scalars(&seen["scalars"]) == points
                && media(seen) == media_of_run
        };
        for (server, what) in [(&mut live, "live"), (&mut Reader::server(&folder), "fresh")] {
            let seen = server.settled(is_right);
            assert_same(&scalars(&seen["scalars"]), &points, what);
            assert_shows(&seen, &media_of_run, what);
            assert!(seen["media"]["text"]["config/text_summary"][0][1].as_str().unwrap().contains("\"width\": 24"));
            assert_eq!(seen["media"]["text"][ALERT][0][0], ALERT_AT);
        }
    }
}
