//! [`Remote`]: W&B's server, told what a run's file holds.

use std::{
    collections::{BTreeMap, VecDeque},
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
    Place, ResumeRun, aside,
    fields::{self, config, content, environment, index, items, number, run},
    files,
    framing::Records,
    graphql::{self, There},
    json::line,
    metric::Metric,
    record::{Run, field},
    sent::{Ask, Sent, Stream},
    settings::Settings,
    summary,
    uploads::Uploads,
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

/// So often a server that answers may fail at an alert.
const ALERT_TRIES: u32 = 8;

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
    /// Entries of the run that are in earlier files.
    before: u64,
    /// As the file has it so far.
    run: Option<Run>,
    /// The server knows the run as the file has it.
    is_known: bool,
    /// Where the server has put it: entity and project.
    place: Option<(String, String)>,
    /// Behind the last record that was read from the file, and how many of each kind there are up to there.
    read: u64,
    seen: Seen,
    /// What was read and not yet sent: lines of the history, about the machine and of the console.
    lines: Vec<String>,
    events: Vec<String>,
    output: Vec<String>,
    alerts: VecDeque<Vec<u8>>,
    uploads: Uploads,
    bytes: usize,
    summary: BTreeMap<String, String>,
    summary_is_new: bool,
    preempting: bool,
    exit: Option<u64>,
    is_complete: bool,
    last_request: Option<Instant>,
    /// How often the server has failed at the first alert that waits, and that one was refused.
    alert_tries: u32,
    is_told: bool,
}

#[derive(Default)]
struct Seen {
    entries: u64,
    events: u64,
    output: u64,
    alerts: u64,
    files: u64,
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
            before: place.identity.before,
            run: None,
            is_known: false,
            place: None,
            read: 0,
            seen: Seen::default(),
            lines: Vec::new(),
            events: Vec::new(),
            output: Vec::new(),
            alerts: VecDeque::new(),
            uploads: Uploads::new(files::folder(&place.file), settings.upload, start.news.clone()),
            bytes: 0,
            summary: BTreeMap::new(),
            summary_is_new: false,
            preempting: false,
            exit: None,
            is_complete: false,
            last_request: None,
            alert_tries: 0,
            is_told: false,
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
            field::METRIC => {
                if let (Some(run), Some(metric)) = (&mut self.run, Metric::read(message)) {
                    metric.add_to(&mut run.metrics);
                    self.is_known = false;
                }
            }
            field::HISTORY => {
                self.seen.entries += 1;
                // What was sent before is read again for what else there is.
                if self.seen.entries <= self.sent.entries {
                    return;
                }
                if index(message).is_some_and(|index| index < self.skip_before) {
                    self.sent.entries = self.seen.entries;
                    return;
                }
                let line = line(items(message), self.sent.first_step);
                self.bytes += line.len();
                self.lines.push(line);
            }
            field::STATS => {
                self.seen.events += 1;
                if self.sent.events.records.is_none_or(|sent| self.seen.events > sent) {
                    let started = self.run.as_ref().map_or(0.0, |run| run.started);
                    let line = aside::event(message, started);
                    self.bytes += line.len();
                    self.events.push(line);
                }
            }
            field::OUTPUT => {
                self.seen.output += 1;
                if self.sent.output.records.is_none_or(|sent| self.seen.output > sent) {
                    let line = aside::output(message);
                    self.bytes += line.len();
                    self.output.push(line);
                }
            }
            field::ALERT => {
                self.seen.alerts += 1;
                if self.seen.alerts > self.sent.alerts {
                    self.alerts.push_back(message.to_vec());
                }
            }
            field::FILES => {
                self.seen.files += 1;
                if self.seen.files > self.sent.files {
                    fields::files(message).for_each(|name| self.uploads.push(name));
                }
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
        let reply = self.ask("/graphql", &graphql::upsert(&run))?;
        self.place = Some(graphql::upserted(&reply).map_err(|failure| self.client.said(failure))?);
        self.is_known = true;
        Ok(())
    }

    /// Goes on behind the lines and steps that the server has.
    fn go_on_behind(&mut self, ask: Ask, found: Option<There>, id: &str) -> Result<(), Failure> {
        let There { lines, step, events, output } = found.unwrap_or_default();
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
        for (stream, count) in [(&mut self.sent.events, events), (&mut self.sent.output, output)] {
            // What nobody knows any more: if this is the run's only file, its first records are what the server has.
            let records = stream.records.unwrap_or(if self.before == 0 { count } else { 0 });
            *stream = Stream { records: Some(records), line: count };
        }
        // Nothing was sent yet, so all lines are made anew.
        (self.read, self.seen, self.bytes) = (0, Seen::default(), 0);
        [&mut self.lines, &mut self.events, &mut self.output].into_iter().for_each(Vec::clear);
        self.alerts.clear();
        self.uploads.clear();
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
        let streams = [
            ("wandb-history.jsonl", self.sent.lines, &self.lines),
            ("wandb-events.jsonl", self.sent.events.line, &self.events),
            ("output.log", self.sent.output.line, &self.output),
        ];
        let streams = streams.into_iter().filter(|(_, _, lines)| !lines.is_empty());
        let mut files: Vec<String> = streams
            .map(|(name, offset, lines)| format!("\"{name}\":{}", json!({"offset": offset, "content": lines})))
            .collect();
        let own = summary::runtime(self.summary.get("_runtime").map(String::as_str));
        let items = self.summary.iter().map(|(name, json)| (name.as_str(), json.as_str()));
        let summary = self.summary_is_new.then(|| line(items.chain([("_wandb", own.as_str())]), self.sent.first_step));
        // One of very many metrics has a request to itself.
        let fits = self.bytes == 0 || self.bytes + summary.as_ref().map_or(0, String::len) < 2 * ENOUGH;
        if let Some(summary) = summary.filter(|_| fits) {
            files.push(format!("\"wandb-summary.json\":{}", json!({"offset": 0, "content": [summary]})));
        }
        if !files.is_empty() {
            add(&format!("\"files\":{{{}}}", files.join(",")));
        }
        if !self.uploads.uploaded.is_empty() {
            add(&format!("\"uploaded\":{}", json!(self.uploads.uploaded)));
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
        for (stream, lines) in [(&mut self.sent.events, &mut self.events), (&mut self.sent.output, &mut self.output)] {
            let count = lines.len() as u64;
            *stream = Stream { records: stream.records.map(|own| own + count), line: stream.line + count };
            lines.clear();
        }
        self.sent.files += std::mem::take(&mut self.uploads.done);
        self.uploads.uploaded.clear();
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

    /// # Errors
    /// When the server cannot be told. An alert that it refuses, or fails at again and again, is told here, once for all.
    fn send_alerts(&mut self, go_on: &dyn Fn() -> bool) -> Result<(), Failure> {
        while let (Some(alert), Some((entity, project)), Some(run)) = (self.alerts.front(), &self.place, &self.run) {
            let body = aside::notify(alert, entity, project, run);
            let reply = self.ask("/graphql", &body);
            let has_answered = reply.as_ref().map_or_else(|failure| failure.status().is_some(), |_| true);
            let reply = reply.and_then(|reply| graphql::done(&reply).map_err(|failure| self.client.said(failure)));
            self.alert_tries += u32::from(has_answered);
            match reply {
                Err(failure) if failure.is_final() || self.alert_tries >= ALERT_TRIES => {
                    if !std::mem::replace(&mut self.is_told, true) {
                        self.news.warn(format!("wandb: an alert was not sent: {failure}"));
                    }
                }
                reply => reply?,
            }
            self.alerts.pop_front();
            self.alert_tries = 0;
            self.sent.alerts += 1;
            if !go_on() {
                return Err(Failure::passing("it is over"));
            }
            self.remember()?;
        }
        Ok(())
    }

    /// Uploads a few files. Returns why not, while they do not get there; nothing else waits for them.
    fn upload(&mut self, ending: bool, go_on: &dyn Fn() -> bool) -> Option<Failure> {
        let (Some((entity, project)), Some(run)) = (&self.place, &self.run) else { return None };
        if let Some(names) = self.uploads.next(ending) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let body = graphql::create_files(entity, project, run, &names);
            let reply = self.ask("/graphql", &body);
            let targets = reply.and_then(|reply| graphql::created(&reply).map_err(|failure| self.client.said(failure)));
            self.uploads.put(targets, &self.client, (&self.url, &self.authorization), go_on);
        }
        self.uploads.trouble().cloned()
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
        // Files first: a run that has ended should have them. But for those it is not kept waiting that do not get there.
        let is_ready = self.alerts.is_empty() && (self.uploads.is_empty() || self.uploads.trouble().is_some());
        let ends = ending && is_all && self.exit.is_some() && is_ready;
        let is_silent = self.last_request.is_none_or(|last| last.elapsed() >= HEARTBEAT);
        let is_new = self.bytes > 0 || self.summary_is_new || self.uploads.done > 0;
        if is_new || (ends && !self.is_complete) || is_silent {
            is_all &= self.stream(ends, go_on)?;
        }
        self.send_alerts(go_on)?;
        let Some(trouble) = self.upload(ending, go_on) else {
            let is_done = is_all && self.is_known && self.uploads.is_empty() && self.uploads.done == 0;
            let is_ended = !ending || self.is_complete || self.exit.is_none();
            return Ok(if is_done && is_ended { upload::Sent::All } else { upload::Sent::More });
        };
        match (ending, is_all) {
            (true, true) if self.is_complete || self.exit.is_none() => Err(trouble),
            (false, true) => Ok(upload::Sent::All),
            _ => Ok(upload::Sent::More),
        }
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
