//! The examples as a user runs them: what they print, what they leave behind, what they say to wrong input.
#![allow(clippy::unwrap_used)]

#[path = "common/process.rs"]
mod process;

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Instant,
};

use process::{assert_closing_line, example, mnist_files, rows, run, summary, text};
use serde_json::Value;

#[test]
fn digits_leaves_metrics_and_a_summary() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        ["--epochs", "2", "--limit-batches", "6", "--accumulate", "4", "--batch-size", "16", "--threads", "1"];
    let output = run("digits", folder.path(), &options);
    assert_closing_line(&output);
    let summary = summary(folder.path());
    // Windows of 4 and 2 batches in each epoch.
    assert_eq!((&summary["epochs"], &summary["steps"]), (&Value::from(2), &Value::from(4)));
    assert_eq!(summary["samples"], Value::from(2.0 * 6.0 * 16.0));
    for number in ["seconds", "samples_per_second", "peak_rss_mb", "seconds_to_first_step"] {
        assert!(summary[number].as_f64().unwrap() > 0.0 || cfg!(not(target_os = "linux")), "{number}");
    }
    for set in ["test", "valid"] {
        assert!(summary[set]["loss"].as_f64().unwrap() > 0.0 && summary[set]["accuracy"].is_f64());
    }
    assert_eq!(["step", "evaluation", "epoch"].map(|event| rows(folder.path(), event)), [4, 3, 2]);
    let err = text(&output.stderr);
    assert!(!err.contains('\u{1b}'), "control characters where there is no terminal");
}

#[test]
fn the_seed_decides_the_result() {
    let options = |seed| ["--epochs", "1", "--limit-batches", "4", "--seed", seed];
    let test = |seed| {
        let folder = tempfile::tempdir().unwrap();
        assert_closing_line(&run("digits", folder.path(), &options(seed)));
        summary(folder.path())["test"]["loss"].as_f64().unwrap().to_bits()
    };
    let first = test("1");
    assert_eq!(first, test("1"));
    assert_ne!(first, test("2"));
}

/// Killed again and again, and started each time with the same command, it ends where the run that was left alone ends.
#[test]
fn digits_survives_kill_and_goes_on_where_it_was() {
    let options = ["--epochs", "3", "--limit-batches", "10", "--batch-size", "16", "--threads", "1"];
    let whole = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    assert_closing_line(&run("digits", whole.path(), &options));
    let time = begun.elapsed();
    let folder = tempfile::tempdir().unwrap();
    let mut kills = 0;
    for i in 1u32.. {
        let mut command = example("digits");
        command.args(["--run-dir".as_ref(), folder.path().as_os_str()]).args(options);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Ever later, so that it gets through in the end.
        std::thread::sleep(time / 8 * i);
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break;
        }
        kills += 1;
    }
    assert!(kills > 0);
    let (expected, found) = (summary(whole.path()), summary(folder.path()));
    for name in ["test", "valid", "epochs", "steps", "samples"] {
        assert_eq!(found[name], expected[name], "{name}");
    }
    assert_eq!(rows(folder.path(), "step"), rows(whole.path(), "step"));
    // Once more: it is complete, and says so; other settings are refused by name; `--fresh` starts over.
    let again = run("digits", folder.path(), &options);
    assert!(text(&again.stderr).contains("NOTHING WAS TRAINED"), "{}", text(&again.stderr));
    assert_eq!(summary(folder.path())["test"], expected["test"]);
    let mut other = options;
    (other[1], other[5]) = ("4", "8");
    let error = text(&run("digits", folder.path(), &other).stderr);
    assert!(error.contains("`batch_size` 16, this one 8") && error.contains("accept_change"), "{error}");
    let fresh = run("digits", folder.path(), &[&other[..], &["--fresh"]].concat());
    assert_closing_line(&fresh);
    assert!(folder.path().join("checkpoints/old").is_dir(), "nothing is lost");
}

#[test]
fn wrong_input_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for (options, says) in [
        (&["--batch-size", "0"][..], "give a batch size of 1 or more"),
        (&["--accumulate", "0"], "`.accumulate(0)`"),
        (&["--limit-batches", "0"], "give 1 or more"),
        (&["--lr", "NaN"], "learning rate"),
        (&["--epochs", "many"], "invalid value 'many'"),
    ] {
        let output = run("digits", folder.path(), options);
        let err = text(&output.stderr);
        assert!(!output.status.success() && err.contains(says), "{options:?}: {err}");
        assert!(!err.contains("panicked") && !err.contains("RUST_BACKTRACE"), "{options:?}: {err}");
    }
    let output = run("digits", &file, &[]);
    assert!(text(&output.stderr).contains("choose another with `.run_dir(..)`"), "{}", text(&output.stderr));
}

/// Files of the right format with too little in them: enough to see that a folder of one's own is read, gzipped or not.
#[test]
fn mnist_reads_a_folder() {
    let (data, folder) = (mnist_files(), tempfile::tempdir().unwrap());
    let data = data.path().to_str().unwrap();
    let options = ["--data", data, "--epochs", "1", "--limit-batches", "2", "--batch-size", "8"];
    assert_closing_line(&run("mnist", folder.path(), &options));
    assert_eq!(rows(folder.path(), "step"), 2);
    let error = text(&run("mnist", folder.path(), &["--precision", "fp16"]).stderr);
    assert!(error.contains("there is no precision `fp16`"), "{error}");
    if !cfg!(feature = "tch") {
        let error = text(&run("mnist", folder.path(), &["--engine", "tch"]).stderr);
        assert!(error.contains("--features tch") && error.contains("cargo xtask libtorch"), "{error}");
    }
}

#[test]
fn the_small_ones_run() {
    let folder = tempfile::tempdir().unwrap();
    for (name, says) in [("minimal", "accuracy 0.8"), ("custom_add_on", "the weights have a norm of")] {
        let output = example(name).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success() && text(&output.stdout).contains(says), "{name}: {}", text(&output.stderr));
        assert!(folder.path().join("runs").join(name).join("metrics.csv").exists());
    }
    let runs = ["runs/minimal", "runs/custom_add_on"];
    let output = example("report").current_dir(folder.path()).args(runs).output().unwrap();
    assert_eq!(text(&output.stdout), "report.html\n", "{}", text(&output.stderr));
    let html = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(["<title>2 runs", ">minimal<", ">custom_add_on<"].iter().all(|part| html.contains(part)));
    let output = example("report").current_dir(folder.path()).arg("runs").output().unwrap();
    assert!(
        text(&output.stderr).contains("there is one in `runs/custom_add_on`, `runs/minimal`"),
        "{}",
        text(&output.stderr)
    );
}

/// Averaged weights are better than those they are of, are published, and are there again when the program is started again.
#[test]
fn the_average_is_better_and_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let output = example("ema").current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let (line, _) = start();
    let numbers = line.trim().strip_prefix("accuracy ").unwrap().split(", of the average ");
    let numbers: Vec<f64> = numbers.map(|number| number.parse().unwrap()).collect();
    assert!(numbers.len() == 2 && numbers[1] > numbers[0] && numbers[1] > 0.85, "{line}");
    let published = fs::read(folder.path().join("runs/ema/averaged.safetensors")).unwrap();
    let (again, told) = start();
    assert!(told.contains("NOTHING WAS TRAINED"), "{told}");
    assert_eq!(again, line);
    assert!(fs::read(folder.path().join("runs/ema/averaged.safetensors")).unwrap() == published);
}

/// Ctrl-C ends the run after its step: nothing is lost, and no test result is made up.
#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = example("digits")
        .args(["--run-dir".as_ref(), folder.path().as_os_str()])
        .args(["--epochs", "100000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.starts_with("epoch 1/")).unwrap();
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let rest: Vec<String> = lines.collect();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("interrupted by SIGINT")), "{rest:?}");
    assert_eq!(text(&output.stdout), "");
    let csv = fs::read_to_string(folder.path().join("metrics.csv")).unwrap();
    let steps = csv.lines().filter(|line| line.starts_with("step,")).map(|line| line.split(',').nth(2).unwrap());
    let steps: Vec<u64> = steps.map(|step| step.parse().unwrap()).collect();
    assert!(!steps.is_empty() && steps.iter().copied().eq(0..steps.len() as u64), "a row is missing");
}

/// What it draws in the end is nearer to digits than at first, and the same after a break.
#[test]
fn a_gan_learns_to_draw_and_goes_on_where_it_was() {
    let drawn = |folder: &std::path::Path, epochs| {
        let output = run("gan", folder, &["--epochs", epochs]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let distance = |out: &str| -> f64 {
        let last = out.lines().last().unwrap();
        last.split("drawn ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap()
    };
    let [whole, cut] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let begun = drawn(cut.path(), "1");
    let (end, resumed) = (drawn(whole.path(), "25"), drawn(cut.path(), "25"));
    assert_eq!(resumed, end);
    assert_eq!(end.lines().count(), 9);
    assert!(distance(&end) < 0.8 * distance(&begun), "{end}{begun}");
    assert_eq!(rows(cut.path(), "step"), 25 * 90);
}

#[test]
fn what_the_finders_find_trains_well() {
    let folder = tempfile::tempdir().unwrap();
    let output = run("lr_finder", folder.path(), &["--epochs", "3"]);
    let out = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(out.starts_with("batch size  samples/s") && out.contains("the loss falls fastest at"), "{out}");
    let accuracy: f64 = out.lines().last().unwrap().strip_prefix("accuracy ").unwrap().parse().unwrap();
    assert!(accuracy > 0.8, "{out}");
    assert!(fs::read_to_string(folder.path().join("lr.svg")).unwrap().starts_with("<svg "));
    // The trials are in no log.
    assert_eq!(rows(folder.path(), "step"), 3 * 45);
}

/// A text of a few words: every character after the first is certain.
#[test]
fn a_small_gpt_learns_a_text_by_heart() {
    let folder = tempfile::tempdir().unwrap();
    let (data, run_dir) = (folder.path().join("text"), folder.path().join("run"));
    fs::write(&data, "the quick brown fox jumps over the lazy dog. ".repeat(90)).unwrap();
    let options =
        ["--context", "16", "--layers", "1", "--width", "32", "--heads", "2", "--sample", "60", "--threads", "1"];
    let write = || {
        let output = example("char_gpt")
            .args(["--data".as_ref(), data.as_os_str(), "--run-dir".as_ref(), run_dir.as_os_str()])
            .args(["--epochs", "12", "--lr", "1e-2", "--dropout", "0"])
            .args(options)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let out = write();
    let perplexity = |out: &str| -> f64 {
        let line = out.lines().find_map(|line| line.strip_prefix("perplexity ")).unwrap();
        line.split(' ').next().unwrap().parse().unwrap()
    };
    assert!(perplexity(&out) < 1.5, "{out}");
    assert!(out.lines().last().unwrap().starts_with("the quick brown"), "{out}");
    assert_eq!(write(), out, "the same model, loaded, writes the same");
    let missing = example("char_gpt").args(["--data", "nowhere.txt"]).output().unwrap();
    assert!(!missing.status.success() && text(&missing.stderr).contains("nowhere.txt"), "{}", text(&missing.stderr));
}
