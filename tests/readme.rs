//! What the README shows is what is run.
#![allow(clippy::unwrap_used)]

use std::fs;

fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string("README.md").unwrap();
    let mut blocks = readme.split("```").skip(1).step_by(2);
    let text = |block: &str| block.strip_prefix(&format!("{language}\n")).map(str::to_owned);
    std::iter::from_fn(|| blocks.next().map(text)).flatten().collect()
}

#[test]
fn the_twenty_lines_are_the_example() {
    let example = fs::read_to_string("examples/minimal.rs").unwrap();
    let code: String = example
        .lines()
        .skip_while(|line| line.starts_with("//!") || line.starts_with("#!") || line.is_empty())
        .fold(String::new(), |code, line| code + line + "\n");
    assert_eq!(blocks("rust")[0], code);
}

#[test]
fn the_two_commands_come_first() {
    let commands = blocks("sh");
    assert_eq!(commands[0].trim(), "cargo run --example digits");
    assert_eq!(commands[1].trim(), "cargo xtask test");
    assert!(fs::read_to_string(".ci/run").unwrap().contains(commands[0].trim()));
    assert!(fs::read_to_string(".ci/run").unwrap().contains(commands[1].trim()));
}

/// From the trainer on, the program does not know what computes.
#[test]
fn with_libtorch_only_tensors_and_learner_differ() {
    let trainer = |name: &str| {
        let text = fs::read_to_string(format!("examples/{name}.rs")).unwrap();
        let from = text.find("    let mut trainer").unwrap();
        text[from..].replace(name, "minimal")
    };
    assert_eq!(trainer("minimal_tch"), trainer("minimal"));
    assert!(blocks("sh")[2].contains("cargo run --features tch --example minimal_tch"));
}
