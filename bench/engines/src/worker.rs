//! The side of the bench: processes that do something when they are told to.

use std::{
    io::{BufRead, BufReader, Lines, Read, Seek, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// What a process started by a bench is to do.
const CHILD: &str = "ZAE_BENCH_CHILD";

/// This program again, to do that.
pub fn again(words: &[String]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(CHILD, words.join(" "));
    command
}

/// What this process is to do, if a bench has started it.
pub fn told() -> Option<Vec<String>> {
    Some(std::env::var(CHILD).ok()?.split(' ').map(str::to_owned).collect())
}

/// A process, waiting for what it is told.
pub struct Worker {
    name: &'static str,
    child: Child,
    requests: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    messages: std::fs::File,
}

/// What a process says at its end.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Of all steps.
    pub mean_loss: f64,
    /// The most memory that it had, in kB, where the system tells.
    pub peak: Option<f64>,
}

impl Worker {
    /// Starts it.
    pub fn start(name: &'static str, mut command: Command, threads: usize) -> Self {
        let messages = tempfile::tempfile().unwrap();
        // For what is parallel before anybody has asked LibTorch for a number of threads, and for Burn.
        command.envs(["OMP_NUM_THREADS", "RAYON_NUM_THREADS"].map(|name| (name, threads.to_string())));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(messages.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { name, child, requests, answers, messages }
    }

    /// Waits until it waits at its first step.
    pub fn wait(&mut self, threads: usize) {
        let answer = self.answer();
        assert!(answer.starts_with(&format!("ready {threads} ")), "{} runs on other threads: {answer}", self.name);
    }

    fn answer(&mut self) -> String {
        if let Some(Ok(line)) = self.answers.next() {
            return line;
        }
        let status = self.child.wait().unwrap();
        let mut messages = String::new();
        self.messages.rewind().unwrap();
        self.messages.read_to_string(&mut messages).unwrap();
        panic!("{} ended ({status}):\n{messages}", self.name);
    }

    /// Tells it to make some steps.
    pub fn ask(&mut self, steps: u64) {
        writeln!(self.requests.as_mut().unwrap(), "{steps}").unwrap();
    }

    /// What it says about them.
    pub fn numbers(&mut self) -> Vec<f64> {
        let answer = self.answer();
        let numbers: Result<_, _> = answer.split_whitespace().map(str::parse).collect();
        numbers.unwrap_or_else(|_| panic!("{} says: {answer}", self.name))
    }

    /// Lets it run to its end.
    pub fn end(&mut self) {
        self.requests = None;
    }

    /// What it says there.
    pub fn finish(mut self) -> End {
        self.end();
        let numbers = self.numbers();
        assert!(self.child.wait().unwrap().success(), "{} failed", self.name);
        End { mean_loss: numbers[0], peak: numbers.get(1).copied() }
    }
}
