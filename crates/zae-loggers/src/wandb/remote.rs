//! [`Remote`]: W&B's server, told what a run's file holds.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use zae_core::error::Fallible;

use super::{
    Place, ResumeRun,
    fields::{config, content, environment, index, items, number, run},
    framing::Records,
    graphql,
    json::{self, line},
    record::{Run, field},
    sent::{Ask, Sent},
    settings::Settings,
    summary::STEP,
};
use crate::{
    News, Start,
    http::{Client, Failure, Request, Secret, escaped},
    upload,
};

/// A request has no more than about this many bytes: W&B takes 10 MiB.
const ENOUGH: usize = 4 << 20;
/// The server takes a run that is silent for longer for a crashed one.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// W&B's server, and how far it has a run's file.
pub(super) struct Remote {
    client: Client,
    authorization: String,
    url: String,
    file: PathBuf,
    sent: Sent,
    news: News,
    /// Up to where the file may be read.
    readable: Arc<AtomicU64>,
    /// What is to be asked first.
    ask: Option<Ask>,
    /// What has to be true of a run of another program.
    resume: ResumeRun,
    /// Entries before this one are on the server.
    skip_before: u64,
    /// As the file has it so far.
    run: Option<Run>,
    /// The server knows the run as the file has it.
    is_known: bool,
    /// Where the server has put it: entity and project.
    place: Option<(String, String)>,
    /// Behind the last record that was read from the file, and entries up to there.
    read: u64,
    entries: u64,
    /// What was read and not yet sent.
    lines: Vec<String>,
    bytes: usize,
    summary: BTreeMap<String, String>,
    summary_is_new: bool,
    preempting: bool,
    exit: Option<u64>,
    is_complete: bool,
    last_request: Option<Instant>,
}

impl Remote {
    /// # Errors
    /// When the environment names certificates that cannot be used.
    pub(super) fn new(
        key: &Secret,
        settings: &Settings,
        place: &Place,
        readable: Arc<AtomicU64>,
        start: &Start<'_>,
    ) -> Fallible<Self> {
        let encoded = BASE64_STANDARD.encode(format!("api:{}", key.expose()));
        let secrets = [Some(key.clone()), Secret::new(&encoded)].into_iter().flatten().collect();
        Ok(Self {
            client: Client::new(settings.upload.timeout, secrets)?,
            authorization: format!("Basic {encoded}"),
            url: settings.url().to_owned(),
            file: place.file.clone(),
            sent: place.sent,
            news: start.news.clone(),
            readable,
            ask: place.sent.ask,
            resume: settings.resume.unwrap_or(ResumeRun::Allow),
            skip_before: 0,
            run: None,
            is_known: false,
            place: None,
            read: 0,
            entries: 0,
            lines: Vec::new(),
            bytes: 0,
            summary: BTreeMap::new(),
            summary_is_new: false,
            preempting: false,
            exit: None,
            is_complete: false,
            last_request: None,
        })
    }

    /// Reads on, until there is enough for a request. Returns whether that was all there is.
    fn read(&mut self) -> std::io::Result<bool> {
        let mut file = File::open(&self.file)?;
        file.seek(SeekFrom::Start(self.read))?;
        let there = file.take(self.readable.load(Ordering::Acquire).saturating_sub(self.read));
        let mut records = Records::at(BufReader::with_capacity(1 << 18, there), self.read);
        while self.bytes < ENOUGH {
            let Some(record) = records.next()? else { return Ok(true) };
            if let Some((field, message)) = content(record) {
                self.take(field, message);
            }
            self.read = records.position();
        }
        Ok(false)
    }

    fn take(&mut self, field: u32, message: &[u8]) {
        match field {
            field::RUN => self.run = Some(run(message)),
            field::CONFIG => {
                if let Some(run) = &mut self.run {
                    run.config.extend(config(message));
                    self.is_known = false;
                }
            }
            field::HISTORY => {
                self.entries += 1;
                // What was sent before is read again for what else there is.
                if self.entries <= self.sent.entries {
                    return;
                }
                if index(message).is_some_and(|index| index < self.skip_before) {
                    self.sent.entries = self.entries;
                    return;
                }
                let line = line(items(message), self.sent.first_step);
                self.bytes += line.len();
                self.lines.push(line);
            }
            field::SUMMARY => {
                self.summary.extend(items(message).map(|(name, json)| (name.to_owned(), json.to_owned())));
                self.summary_is_new = true;
            }
            field::ENVIRONMENT => {
                if let Some(run) = &mut self.run {
                    environment(run, message);
                    self.is_known = false;
                }
            }
            field::PREEMPTING => self.preempting = true,
            field::EXIT => self.exit = Some(number(message, 1).unwrap_or(0)),
            _ => {}
        }
    }

    fn ask(&mut self, path: &str, body: &Value) -> Result<Vec<u8>, Failure> {
        let url = format!("{}{path}", self.url);
        let body = body.to_string();
        self.post(&url, body.as_bytes())
    }

    fn post(&mut self, url: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let headers = [("Authorization", self.authorization.as_str()), ("Content-Type", "application/json")];
        let reply = self.client.ask(&Request { method: "POST", url, headers: &headers, body });
        self.last_request = Some(Instant::now());
        Ok(reply.map_err(explained)?.body)
    }

    /// Makes the run known to the server, as it is now.
    fn introduce(&mut self) -> Result<(), Failure> {
        let Some(run) = self.run.clone() else { return Ok(()) };
        if let Some(ask) = self.ask {
            let reply = self.ask("/graphql", &graphql::status(&run))?;
            let found = graphql::found(&reply).map_err(|failure| self.client.said(failure))?;
            self.go_on_behind(ask, found, &run.id)?;
        }
        let reply = self.ask("/graphql", &graphql::upsert(&run, &metrics()))?;
        self.place = Some(graphql::upserted(&reply).map_err(|failure| self.client.said(failure))?);
        self.is_known = true;
        Ok(())
    }

    /// Goes on behind the lines and steps that the server has.
    fn go_on_behind(&mut self, ask: Ask, found: Option<(u64, u64)>, id: &str) -> Result<(), Failure> {
        let (lines, step) = found.unwrap_or_default();
        match (ask, self.resume, found) {
            (Ask::Other, ResumeRun::Never, Some(_)) => {
                return Err(Failure::lasting(format!("there is a run `{id}` already: give this one another id")));
            }
            (Ask::Other, ResumeRun::Must, None) => {
                return Err(Failure::lasting(format!("there is no run `{id}` that could be resumed")));
            }
            (Ask::Other, ..) => self.sent.first_step = step,
            (Ask::Own, ..) => self.skip_before = step.saturating_sub(self.sent.first_step),
        }
        self.ask = None;
        (self.sent.entries, self.sent.lines) = (0, lines);
        // Nothing was sent yet, so all lines are made anew.
        (self.read, self.entries, self.bytes) = (0, 0, 0);
        self.lines.clear();
        if ask == Ask::Own {
            // Which of the file's entries these lines are will be known when it was read again.
            return Ok(());
        }
        // From now on the run is this program's.
        self.sent.ask = None;
        self.remember()
    }

    /// The body of the request that brings what was read, and whether that is all.
    fn body(&self, ends: bool) -> (Vec<u8>, bool) {
        let mut body = b"{".to_vec();
        let mut separator = "";
        let mut add = |text: &str| {
            body.extend_from_slice(separator.as_bytes());
            body.extend_from_slice(text.as_bytes());
            separator = ",";
        };
        let mut files = Vec::new();
        if !self.lines.is_empty() {
            files.push(json!({"offset": self.sent.lines, "content": self.lines}).to_string());
            files[0].insert_str(0, "\"wandb-history.jsonl\":");
        }
        // How long it took, where W&B looks for it.
        let seconds = self.summary.get("_runtime").and_then(|json| json::parse(json)).unwrap_or(0.0);
        let own = format!("{{\"runtime\":{}}}", seconds as u64);
        let items = self.summary.iter().map(|(name, json)| (name.as_str(), json.as_str()));
        let summary = self.summary_is_new.then(|| line(items.chain([("_wandb", own.as_str())]), self.sent.first_step));
        // One of very many metrics has a request to itself.
        let fits = self.lines.is_empty() || self.bytes + summary.as_ref().map_or(0, String::len) < 2 * ENOUGH;
        if let Some(summary) = summary.filter(|_| fits) {
            files.push(format!("\"wandb-summary.json\":{}", json!({"offset": 0, "content": [summary]})));
        }
        if !files.is_empty() {
            add(&format!("\"files\":{{{}}}", files.join(",")));
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

    /// Returns whether there is nothing more to be sent.
    ///
    /// # Errors
    /// When the disk does not remember it, or the server cannot be told.
    fn stream(&mut self, ends: bool, go_on: &dyn Fn() -> bool) -> Result<bool, Failure> {
        let Some((entity, project)) = &self.place else { return Ok(false) };
        let id = self.run.as_ref().map_or("", |run| &run.id);
        let url = format!("{}/files/{}/{}/{}/file_stream", self.url, escaped(entity), escaped(project), escaped(id));
        let (body, is_all) = self.body(ends);
        if !self.lines.is_empty() {
            if !go_on() {
                return Err(Failure::passing("it is over"));
            }
            self.sent.ask = None;
            self.sent.maybe = self.sent.maybe.max(self.sent.entries + self.lines.len() as u64);
            self.remember()?;
        }
        let reply = self.post(&url, &body)?;
        let reply: Value = serde_json::from_slice(&reply)
            .map_err(|_| Failure::passing("the server has answered with something that is not JSON"))?;
        self.sent.entries += self.lines.len() as u64;
        self.sent.lines += self.lines.len() as u64;
        self.lines.clear();
        (self.bytes, self.summary_is_new, self.is_complete) = (0, !is_all, ends && is_all);
        if reply["stopped"].as_bool() == Some(true) || reply["exitcode"].as_str() == Some("stopped") {
            self.news.stop("it was stopped on the run's page at W&B");
        }
        if go_on() {
            self.remember()?;
        }
        Ok(is_all)
    }

    fn remember(&self) -> Result<(), Failure> {
        let at = |e| Failure::passing(format!("what was sent cannot be noted beside `{}` ({e})", self.file.display()));
        self.sent.write(&self.file).map_err(at)
    }
}

impl upload::Remote for Remote {
    fn send(&mut self, ending: bool, go_on: &dyn Fn() -> bool) -> Result<upload::Sent, Failure> {
        let unreadable = |e: std::io::Error, file: &PathBuf| match e.kind() {
            std::io::ErrorKind::InvalidData => Failure::lasting(format!("`{}` is damaged: {e}", file.display())),
            _ => Failure::passing(format!("`{}` cannot be read: {e}", file.display())),
        };
        let mut is_all = self.read().map_err(|e| unreadable(e, &self.file))?;
        if self.run.is_none() {
            return Ok(upload::Sent::All);
        }
        if !self.is_known {
            self.introduce()?;
            is_all = self.read().map_err(|e| unreadable(e, &self.file))?;
        }
        let ends = ending && is_all && self.exit.is_some();
        let is_silent = self.last_request.is_none_or(|last| last.elapsed() >= HEARTBEAT);
        if !self.lines.is_empty() || self.summary_is_new || (ends && !self.is_complete) || is_silent {
            is_all &= self.stream(ends, go_on)?;
        }
        Ok(if is_all && self.is_known { upload::Sent::All } else { upload::Sent::More })
    }
}

/// What is to be done about it, where that is known.
fn explained(failure: Failure) -> Failure {
    match failure.status() {
        Some(401 | 403) => Failure::lasting(format!(
            "{failure}: the API key does not fit; look at WANDB_API_KEY and WANDB_ENTITY, or run `wandb login`"
        )),
        // Two programs have asked for the same run at once.
        Some(409) => Failure::passing(failure.to_string()).after(failure.retry_after()),
        _ => failure,
    }
}

/// The x-axis of all metrics, in the numbers that W&B has for it.
fn metrics() -> [Value; 2] {
    [json!({"1": STEP, "6": [3], "7": []}), json!({"2": "*", "5": 1, "6": [1], "7": []})]
}
