//! Weights & Biases in programs of their own: on disks that are full, killed, interrupted, and started again, also when what was
//! known is lost. Every entry is on the server once or on disk.

#![cfg(all(feature = "wandb", unix))]
#![allow(clippy::unwrap_used, clippy::panic)]

mod server;
mod wandb_file;
mod wandb_runs;
mod wandb_server;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::tempdir;
use wandb_runs::{EPOCHS, LINES, Notices, assert_on_disk, assert_whole, files_of, logger, of, run, wait_for, watched};
use wandb_server::Wandb;
use zae_checkpoint::StateManager;
use zae_core::{
    data::{Loader, from_fn},
    testing::null::batches,
};

// ---- a disk that is full ----

const DIR: &str = "ZAE_CHILD_DIR";
const URL: &str = "ZAE_CHILD_URL";
const KIND: &str = "ZAE_CHILD_KIND";

fn child_of(dir: &Path, url: &str, kind: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact"]).env(DIR, dir).env(URL, url).env(KIND, kind);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// What the child trains, slowly enough to be killed in between.
fn slow() -> impl Loader<f64> {
    watched(|_| std::thread::sleep(Duration::from_millis(3)))
}

/// Does nothing unless this process is a child.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR).map(PathBuf::from) else { return };
    let (url, kind) = (std::env::var(URL).unwrap(), std::env::var(KIND).unwrap());
    let (told, told_in) = (Notices::default(), dir.join("told"));
    let mut trainer = of(&dir, logger(&url)).add_on(told.clone());
    match &*kind {
        "full" => {
            // A part is written while there is room, for a write is all or nothing.
            let written = move || fs::metadata(files_of(&dir).0).map_or(0, |file| file.len());
            let data = from_fn(move |_| {
                let written = written.clone();
                (0..20_000u32).map(move |i| {
                    if i == 1500 {
                        wait_for("a part of the file", || written() > 150_000);
                    }
                    Ok(f64::from(i))
                })
            });
            let run = trainer.run(1, data, ()).unwrap();
            assert_eq!(run.history.epochs[0].step, 20_000);
        }
        _ => {
            trainer = trainer.handle_signals(true).add_on(manager());
            trainer.run(EPOCHS, slow(), batches(3)).unwrap();
        }
    }
    fs::write(told_in, told.warnings().join("\n")).unwrap();
}

#[test]
fn a_full_disk_costs_only_what_it_does_not_take() {
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    let program = child_of(dir.path(), &server.url(), "full");
    // Files end at 500 KiB: with the signal ignored, writing fails as on a full disk.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\""])
        .arg(program.get_program())
        .args(program.get_args());
    shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    assert!(shell.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let told = fs::read_to_string(dir.path().join("told")).unwrap();
    assert_eq!(told.matches("cannot write").count(), 1, "{told}");
    let lines = wandb_file::lines(&files_of(dir.path()).0);
    assert!(lines.len() > 1000 && lines.len() < 20_001);
    assert!(told.contains(&format!("has not taken {} entries", 20_001 - lines.len())), "{told}");
    // What is on disk is on the server.
    let there = wandb.only_run().lines;
    assert_eq!(there.len(), lines.len());
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(line["_step"].as_f64(), Some(i as f64));
    }
}

// ---- programs that are killed ----

fn manager() -> StateManager {
    StateManager::new().every_steps(10).keep_last(3)
}

fn lines_there(wandb: &Wandb) -> u64 {
    wandb.0.lock().unwrap().runs.values().next().map_or(0, |run| run.lines.len() as u64)
}

/// Names of checkpoints, oldest first.
fn checkpoints(dir: &Path) -> Vec<PathBuf> {
    let Ok(read) = fs::read_dir(dir.join("checkpoints")) else { return Vec::new() };
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut all: Vec<_> =
        read.map(|entry| entry.unwrap().path()).filter(|path| name(path).starts_with("step")).collect();
    all.sort();
    all
}

/// Kills a child when the server has so many lines and there are two checkpoints.
fn killed(dir: &Path, url: &str, wandb: &Wandb, lines: u64) {
    let mut child = child_of(dir, url, "kill").spawn().unwrap();
    wait_for("a line and two checkpoints", || lines_there(wandb) >= lines && checkpoints(dir).len() > 1);
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success(), "it was not killed in time");
}

fn go_on(dir: &Path, url: &str) -> Vec<String> {
    let told = Notices::default();
    let mut trainer = of(dir, logger(url)).add_on((manager(), told.clone()));
    run(&mut trainer);
    drop(trainer);
    told.warnings()
}

#[test]
fn killed_and_started_again_every_step_is_there_once() {
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    for lines in [30, 60, 90] {
        killed(dir.path(), &server.url(), &wandb, lines);
        if lines == 60 {
            // Back to before what the server has.
            fs::remove_dir_all(checkpoints(dir.path()).pop().unwrap()).unwrap();
        }
    }
    assert_eq!(go_on(dir.path(), &server.url()), Vec::<String>::new());
    assert_whole(&wandb.only_run(), EPOCHS);
    assert_eq!(wandb.only_run().exit_code, Some(0));
    assert_on_disk(dir.path(), LINES);
}

/// What was known of the server, or the file itself, is gone or garbage: the server is asked.
#[test]
fn killed_and_what_was_known_is_lost() {
    type Spoil = fn(&Path);
    let ways: [(&str, Spoil); 5] = [
        ("no .sent", |dir| fs::remove_file(format!("{}.sent", files_of(dir).0.display())).unwrap()),
        (".sent torn", |dir| fs::write(format!("{}.sent", files_of(dir).0.display()), "{\"entr").unwrap()),
        ("no folder", |dir| fs::remove_dir_all(dir.join("wandb")).unwrap()),
        ("garbage", |dir| fs::write(files_of(dir).0, "garbage").unwrap()),
        ("damaged", |dir| {
            let file = files_of(dir).0;
            let mut bytes = fs::read(&file).unwrap();
            bytes[1000] ^= 1;
            fs::write(&file, bytes).unwrap();
        }),
    ];
    std::thread::scope(|scope| {
        for (way, spoil) in ways {
            scope.spawn(move || {
                let (wandb, server) = wandb_runs::wandb();
                let dir = tempdir().unwrap();
                killed(dir.path(), &server.url(), &wandb, 50);
                fs::remove_dir_all(checkpoints(dir.path()).pop().unwrap()).unwrap();
                spoil(dir.path());
                let warnings = go_on(dir.path(), &server.url());
                assert_eq!(warnings.len(), usize::from(way == "garbage" || way == "damaged"), "{way}: {warnings:?}");
                assert_whole(&wandb.only_run(), EPOCHS);
            });
        }
    });
}

#[test]
fn copied_to_another_place_it_goes_on() {
    let (wandb, server) = wandb_runs::wandb();
    let (dir, other) = (tempdir().unwrap(), tempdir().unwrap());
    killed(dir.path(), &server.url(), &wandb, 50);
    let there = other.path().join("moved");
    fs::rename(dir.path(), &there).unwrap();
    assert_eq!(go_on(&there, &server.url()), Vec::<String>::new());
    assert_whole(&wandb.only_run(), EPOCHS);
}

/// `SIGINT`, as of Ctrl-C: it is told as preempted, and goes on.
#[test]
fn interrupted_it_says_so_and_goes_on() {
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    let mut child = child_of(dir.path(), &server.url(), "interrupt").spawn().unwrap();
    wait_for("a line", || lines_there(&wandb) > 20);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    let between = wandb.only_run();
    assert_eq!((between.preempting, between.exit_code), (true, Some(1)));
    assert!(between.lines.len() as u64 <= LINES - 20);
    assert_eq!(go_on(dir.path(), &server.url()), Vec::<String>::new());
    assert_whole(&wandb.only_run(), EPOCHS);
    assert_eq!(wandb.only_run().exit_code, Some(0));
    assert_on_disk(dir.path(), LINES);
}
