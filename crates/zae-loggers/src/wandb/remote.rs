//! [`Remote`]: W&B's server, told what a run's file holds.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Seek, SeekFrom},
    path::PathBuf,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use super::{
    Place, ResumeRun,
    fields::{content, items, number},
    framing::Records,
    graphql, json,
    record::{Run, field},
    sent::Sent,
    settings::Settings,
};
use crate::{
    News, Start,
    http::{Client, Failure, Request, Secret},
    protobuf::{Field, Fields},
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
    /// What is to be asked first about a run of this id.
    resume: Option<ResumeRun>,
    /// What is added to each `_step`: what a run of this id has on the server, that this file knows nothing of.
    first_step: u64,
    /// As the file has it so far.
    run: Option<Run>,
    /// The server knows the run as the file has it.
    is_known: bool,
    /// Where the server has put it: entity and project.
    place: Option<(String, String)>,
    /// Behind the last record that was read from the file.
    read: u64,
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
    pub(super) fn new(client: Client, key: &Secret, settings: &Settings, place: &Place, start: &Start<'_>) -> Self {
        Self {
            client,
            authorization: format!("Basic {}", BASE64_STANDARD.encode(format!("api:{}", key.expose()))),
            url: settings.url().to_owned(),
            file: place.file.clone(),
            sent: place.sent,
            news: start.news.clone(),
            resume: if place.is_new { settings.resume } else { None },
            first_step: 0,
            run: None,
            is_known: false,
            place: None,
            read: 0,
            lines: Vec::new(),
            bytes: 0,
            summary: BTreeMap::new(),
            summary_is_new: false,
            preempting: false,
            exit: None,
            is_complete: false,
            last_request: None,
        }
    }

    /// Reads on, until there is enough for a request. Returns whether that was all there is.
    fn read(&mut self) -> std::io::Result<bool> {
        let mut file = File::open(&self.file)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut records = Records::at(BufReader::with_capacity(1 << 18, file), self.read);
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
            // What was sent before is read again for what else there is.
            field::HISTORY if self.read >= self.sent.position => {
                let line = line(message, self.first_step);
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
        if let Some(resume) = self.resume {
            let reply = self.ask("/graphql", &graphql::status(&run))?;
            let found = graphql::found(&reply)?;
            match (resume, found) {
                (ResumeRun::Never, Some(_)) => {
                    return Err(Failure::lasting(format!(
                        "there is a run `{}` already: give this one another id",
                        run.id
                    )));
                }
                (ResumeRun::Must, None) => {
                    return Err(Failure::lasting(format!("there is no run `{}` that could be resumed", run.id)));
                }
                (_, Some((lines, step))) => {
                    // Nothing was sent yet, so all lines are made anew.
                    (self.sent.before, self.first_step) = (lines, step);
                    (self.read, self.bytes) = (0, 0);
                    self.lines.clear();
                }
                (_, None) => {}
            }
            self.resume = None;
        }
        let reply = self.ask("/graphql", &graphql::upsert(&run, &metrics()))?;
        self.place = Some(graphql::upserted(&reply)?);
        self.is_known = true;
        Ok(())
    }

    /// The body of the request that brings what was read.
    fn body(&self, ends: bool) -> Vec<u8> {
        let mut body = b"{".to_vec();
        let mut separator = "";
        let mut add = |text: &str| {
            body.extend_from_slice(separator.as_bytes());
            body.extend_from_slice(text.as_bytes());
            separator = ",";
        };
        let mut files = Vec::new();
        if !self.lines.is_empty() {
            let offset = self.sent.before + self.sent.entries;
            files.push(json!({"offset": offset, "content": self.lines}).to_string());
            files[0].insert_str(0, "\"wandb-history.jsonl\":");
        }
        if self.summary_is_new {
            // How long it took, where W&B looks for it.
            let seconds = self.summary.get("_runtime").and_then(|json| json::parse(json)).unwrap_or(0.0);
            let own = format!("{{\"runtime\":{}}}", seconds as u64);
            let items = self.summary.iter().map(|(name, json)| (name.as_str(), json.as_str()));
            let summary = object(items.chain([("_wandb", own.as_str())]));
            files.push(format!("\"wandb-summary.json\":{}", json!({"offset": 0, "content": [summary]})));
        }
        if !files.is_empty() {
            add(&format!("\"files\":{{{}}}", files.join(",")));
        }
        if self.preempting {
            add("\"preempting\":true");
        }
        if let Some(code) = self.exit.filter(|_| ends) {
            add(&format!("\"complete\":true,\"exitcode\":{code}"));
        }
        body.push(b'}');
        body
    }

    /// # Errors
    /// When the disk does not remember it, or the server cannot be told.
    fn stream(&mut self, ends: bool, go_on: &dyn Fn() -> bool) -> Result<(), Failure> {
        let Some((entity, project)) = &self.place else { return Ok(()) };
        let id = self.run.as_ref().map_or("", |run| &run.id);
        let url = format!("{}/files/{}/{}/{}/file_stream", self.url, escaped(entity), escaped(project), escaped(id));
        let body = self.body(ends);
        if !self.lines.is_empty() {
            self.sent.maybe = self.sent.maybe.max(self.sent.entries + self.lines.len() as u64);
            self.remember()?;
        }
        let reply = self.post(&url, &body)?;
        let reply: Value = serde_json::from_slice(&reply)
            .map_err(|_| Failure::passing("the server has answered with something that is not JSON"))?;
        self.sent.entries += self.lines.len() as u64;
        self.sent.position = self.sent.position.max(self.read);
        self.lines.clear();
        (self.bytes, self.summary_is_new, self.is_complete) = (0, false, ends);
        if reply["stopped"].as_bool() == Some(true) || reply["exitcode"].as_str() == Some("stopped") {
            self.news.stop("it was stopped on the run's page at W&B");
        }
        if go_on() { self.remember() } else { Ok(()) }
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
            self.stream(ends, go_on)?;
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
    [json!({"1": "trainer/global_step", "6": [3], "7": []}), json!({"2": "*", "5": 1, "6": [1], "7": []})]
}

/// A line of a run's history. Its values are taken as they are, for NaN and infinities are no JSON.
fn line(message: &[u8], first_step: u64) -> String {
    if first_step == 0 {
        return object(items(message));
    }
    let step = |text: &str| (text.parse::<f64>().unwrap_or(0.0) as u64 + first_step).to_string();
    let all: Vec<(&str, String)> =
        items(message).map(|(name, json)| (name, if name == "_step" { step(json) } else { json.to_owned() })).collect();
    object(all.iter().map(|(name, json)| (*name, json.as_str())))
}

fn object<'a>(items: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = b"{".to_vec();
    for (i, (name, json)) in items.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        json::text(&mut out, name);
        out.push(b':');
        out.extend_from_slice(json.as_bytes());
    }
    out.push(b'}');
    String::from_utf8(out).unwrap_or_default()
}

fn config(message: &[u8]) -> Map<String, Value> {
    items(message).map(|(name, json)| (name.to_owned(), serde_json::from_str(json).unwrap_or_default())).collect()
}

/// A run, as its record has it.
fn run(message: &[u8]) -> Run {
    let mut run = Run::default();
    for field in Fields(message) {
        let Field::Bytes(number, bytes) = field else { continue };
        let text = || String::from_utf8_lossy(bytes).into_owned();
        match number {
            1 => run.id = text(),
            2 => run.entity = text(),
            3 => run.project = text(),
            4 => run.config = config(bytes),
            6 => run.group = text(),
            7 => run.job_type = text(),
            8 => run.name = text(),
            9 => run.notes = text(),
            10 => run.tags.push(text()),
            13 => run.host = text(),
            _ => {}
        }
    }
    run
}

/// Where it is made.
fn environment(run: &mut Run, message: &[u8]) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for field in Fields(message) {
        match field {
            Field::Bytes(6, bytes) => run.program = text(bytes),
            Field::Bytes(9, git) => Fields(git).for_each(|field| match field {
                Field::Bytes(1, bytes) => run.repository = text(bytes),
                Field::Bytes(2, bytes) => run.commit = text(bytes),
                _ => {}
            }),
            _ => {}
        }
    }
}

/// A part of an address.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
