//! Examples as processes: how a test starts one, and what it leaves behind.
#![allow(dead_code, unreachable_pub)]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

/// Built by cargo beside the tests.
pub fn example(name: &str) -> Command {
    let folder = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples");
    let path: PathBuf = folder.join(name);
    assert!(path.exists(), "`{}` is not built: run `cargo test` or `cargo build --examples`", path.display());
    Command::new(path)
}

pub fn run(name: &str, folder: &Path, options: &[&str]) -> Output {
    example(name).args(["--run-dir".as_ref(), folder.as_os_str()]).args(options).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn summary(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join("summary.json")).unwrap()).unwrap()
}

/// The rows of an event in `metrics.csv`.
pub fn rows(folder: &Path, event: &str) -> usize {
    let csv = fs::read_to_string(folder.join("metrics.csv")).unwrap();
    csv.lines().filter(|line| line.starts_with(&format!("{event},"))).count()
}

pub fn assert_closing_line(output: &Output) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{err}");
    let words: Vec<&str> = out.lines().last().unwrap().split(' ').collect();
    let [test, loss, l, accuracy, a] = words[..] else { unreachable!("the last line is {words:?}") };
    assert_eq!([test, loss, accuracy], ["test", "loss", "accuracy"]);
    assert!(l.parse::<f64>().unwrap() > 0.0 && (0.0..=1.0).contains(&a.parse::<f64>().unwrap()));
}

/// A folder in MNIST's format with a grey per class, gzipped or not.
pub fn mnist_files() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    for (part, n) in [("train", 60_000u32), ("t10k", 250)] {
        let mut images = vec![0, 0, 8, 3];
        [n, 28, 28].iter().for_each(|d| images.extend(d.to_be_bytes()));
        let mut labels = [&[0, 0, 8, 1][..], &n.to_be_bytes()].concat();
        for i in 0..n {
            let label = (i % 10) as u8;
            images.extend(std::iter::repeat_n(label * 25, 28 * 28));
            labels.push(label);
        }
        fs::write(data.path().join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
        let file = fs::File::create(data.path().join(format!("{part}-images-idx3-ubyte.gz"))).unwrap();
        let mut zipped = GzEncoder::new(file, Compression::fast());
        zipped.write_all(&images).unwrap();
        zipped.finish().unwrap();
    }
    data
}
