//! [`Unsent`]: what was read of a run's file and is not yet on the server.

use std::collections::{BTreeMap, VecDeque};

use serde_json::json;

use super::{
    aside,
    fields::{self, config, environment, index, items, number, run},
    json::line,
    metric::Metric,
    record::{Run, field},
    sent::Sent,
    summary,
};

/// A request has no more than about this many bytes: W&B takes 10 MiB.
pub(super) const ENOUGH: usize = 4 << 20;

/// What was read of a run's file and is not yet on the server.
#[derive(Default)]
pub(super) struct Unsent {
    /// The run, as the file has it so far, and whether the server does not know it so.
    pub(super) run: Option<Run>,
    pub(super) run_is_new: bool,
    /// Lines of the history, about the machine and of the console, and the size of all of them.
    pub(super) lines: Vec<String>,
    pub(super) events: Vec<String>,
    pub(super) output: Vec<String>,
    pub(super) bytes: usize,
    pub(super) alerts: VecDeque<Vec<u8>>,
    /// Names of files.
    pub(super) files: Vec<String>,
    summary: BTreeMap<String, String>,
    pub(super) summary_is_new: bool,
    preempting: bool,
    pub(super) exit: Option<u64>,
    seen: Seen,
}

/// How many records of each kind were read.
#[derive(Default)]
struct Seen {
    entries: u64,
    events: u64,
    output: u64,
    alerts: u64,
    files: u64,
}

impl Unsent {
    /// Takes over a record, unless the server has what it is about. Entries before `skip_before` are there, too.
    pub(super) fn take(&mut self, field: u32, message: &[u8], sent: &mut Sent, skip_before: u64) {
        match field {
            field::RUN => (self.run, self.run_is_new) = (Some(run(message)), true),
            field::CONFIG => {
                if let Some(run) = &mut self.run {
                    run.config.extend(config(message));
                    self.run_is_new = true;
                }
            }
            field::METRIC => {
                if let (Some(run), Some(metric)) = (&mut self.run, Metric::read(message)) {
                    metric.add_to(&mut run.metrics);
                    self.run_is_new = true;
                }
            }
            field::HISTORY => {
                self.seen.entries += 1;
                // What was sent before is read again for what else there is.
                if self.seen.entries <= sent.entries {
                    return;
                }
                if index(message).is_some_and(|index| index < skip_before) {
                    sent.entries = self.seen.entries;
                    return;
                }
                let line = line(items(message), sent.first_step);
                self.bytes += line.len();
                self.lines.push(line);
            }
            field::STATS => {
                self.seen.events += 1;
                if sent.events.records.is_none_or(|sent| self.seen.events > sent) {
                    let started = self.run.as_ref().map_or(0.0, |run| run.started);
                    let line = aside::event(message, started);
                    self.bytes += line.len();
                    self.events.push(line);
                }
            }
            field::OUTPUT => {
                self.seen.output += 1;
                if sent.output.records.is_none_or(|sent| self.seen.output > sent) {
                    let line = aside::output(message);
                    self.bytes += line.len();
                    self.output.push(line);
                }
            }
            field::ALERT => {
                self.seen.alerts += 1;
                if self.seen.alerts > sent.alerts {
                    self.alerts.push_back(message.to_vec());
                }
            }
            field::FILES => {
                self.seen.files += 1;
                if self.seen.files > sent.files {
                    self.files.extend(fields::files(message).map(str::to_owned));
                }
            }
            field::SUMMARY => {
                self.summary.extend(items(message).map(|(name, json)| (name.to_owned(), json.to_owned())));
                self.summary_is_new = true;
            }
            field::ENVIRONMENT => {
                if let Some(run) = &mut self.run {
                    environment(run, message);
                    self.run_is_new = true;
                }
            }
            field::PREEMPTING => self.preempting = true,
            field::EXIT => self.exit = Some(number(message, 1).unwrap_or(0)),
            _ => {}
        }
    }

    /// Forgets what there is many of: the file is read again.
    pub(super) fn forget(&mut self) {
        (self.seen, self.bytes) = (Seen::default(), 0);
        [&mut self.lines, &mut self.events, &mut self.output].into_iter().for_each(Vec::clear);
        self.alerts.clear();
    }

    /// The server has the lines, and the summary if that was all.
    pub(super) fn is_sent(&mut self, is_all: bool) {
        [&mut self.lines, &mut self.events, &mut self.output].into_iter().for_each(Vec::clear);
        (self.bytes, self.summary_is_new) = (0, !is_all);
    }

    /// The body of the request that brings what was read, and whether that is all.
    pub(super) fn body(&self, sent: &Sent, uploaded: &[String], ends: bool) -> (Vec<u8>, bool) {
        let mut body = b"{".to_vec();
        let mut separator = "";
        let mut add = |text: &str| {
            body.extend_from_slice(separator.as_bytes());
            body.extend_from_slice(text.as_bytes());
            separator = ",";
        };
        let streams = [
            ("wandb-history.jsonl", sent.lines, &self.lines),
            ("wandb-events.jsonl", sent.events.line, &self.events),
            ("output.log", sent.output.line, &self.output),
        ];
        let streams = streams.into_iter().filter(|(_, _, lines)| !lines.is_empty());
        let mut files: Vec<String> = streams
            .map(|(name, offset, lines)| format!("\"{name}\":{}", json!({"offset": offset, "content": lines})))
            .collect();
        let own = summary::runtime(self.summary.get("_runtime").map(String::as_str));
        let items = self.summary.iter().map(|(name, json)| (name.as_str(), json.as_str()));
        let summary = self.summary_is_new.then(|| line(items.chain([("_wandb", own.as_str())]), sent.first_step));
        // One of very many metrics has a request to itself.
        let fits = self.bytes == 0 || self.bytes + summary.as_ref().map_or(0, String::len) < 2 * ENOUGH;
        if let Some(summary) = summary.filter(|_| fits) {
            files.push(format!("\"wandb-summary.json\":{}", json!({"offset": 0, "content": [summary]})));
        }
        if !files.is_empty() {
            add(&format!("\"files\":{{{}}}", files.join(",")));
        }
        if !uploaded.is_empty() {
            add(&format!("\"uploaded\":{}", json!(uploaded)));
        }
        if self.preempting {
            add("\"preempting\":true");
        }
        if let Some(code) = self.exit.filter(|_| ends && fits) {
            add(&format!("\"complete\":true,\"exitcode\":{code}"));
        }
        body.push(b'}');
        (body, fits)
    }
}
