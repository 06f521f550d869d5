//! [`Remote`]: W&B's server, told what a run's file holds.

use std::{
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
use serde_json::Value;
use zae_core::error::Fallible;

use super::{
    Place, ResumeRun, aside,
    fields::content,
    files,
    framing::Records,
    graphql::{self, There},
    sent::{Ask, Sent, Stream},
    settings::Settings,
    unsent::{ENOUGH, Unsent},
    uploads::Uploads,
};
use crate::{
    News, Start,
    http::{Client, Failure, Request, Secret, escaped},
    upload,
};

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
    /// Where the server has put it: entity and project.
    place: Option<(String, String)>,
    /// Behind the last record that was read from the file.
    read: u64,
    /// What was read.
    unsent: Unsent,
    uploads: Uploads,
    is_complete: bool,
    last_request: Option<Instant>,
    /// How often the server has failed at the first alert that waits, and that one was refused.
    alert_tries: u32,
    is_told: bool,
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
            place: None,
            read: 0,
            unsent: Unsent::default(),
            uploads: Uploads::new(files::folder(&place.file), settings.upload, start.news.clone()),
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
        while self.unsent.bytes < ENOUGH {
            let Some(record) = records.next()? else { return Ok(true) };
            if let Some((field, message)) = content(record) {
                self.unsent.take(field, message, &mut self.sent, self.skip_before);
            }
            self.unsent.files.drain(..).for_each(|name| self.uploads.push(name));
            self.read = records.position();
        }
        Ok(false)
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
        let Some(run) = self.unsent.run.clone() else { return Ok(()) };
        if let Some(ask) = self.ask {
            let reply = self.ask("/graphql", &graphql::status(&run))?;
            let found = graphql::found(&reply).map_err(|failure| self.client.said(failure))?;
            self.go_on_behind(ask, found, &run.id)?;
        }
        let reply = self.ask("/graphql", &graphql::upsert(&run))?;
        self.place = Some(graphql::upserted(&reply).map_err(|failure| self.client.said(failure))?);
        self.unsent.run_is_new = false;
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
        self.read = 0;
        self.unsent.forget();
        self.uploads.clear();
        if ask == Ask::Own {
            // Which of the file's entries these lines are will be known when it was read again.
            return Ok(());
        }
        // From now on the run is this program's.
        self.sent.ask = None;
        self.remember()
    }

    /// Returns whether there is nothing more to be sent.
    ///
    /// # Errors
    /// When the disk does not remember it, or the server cannot be told.
    fn stream(&mut self, ends: bool, go_on: &dyn Fn() -> bool) -> Result<bool, Failure> {
        let Some((entity, project)) = &self.place else { return Ok(false) };
        let id = self.unsent.run.as_ref().map_or("", |run| &run.id);
        let url = format!("{}/files/{}/{}/{}/file_stream", self.url, escaped(entity), escaped(project), escaped(id));
        let (body, is_all) = self.unsent.body(&self.sent, &self.uploads.uploaded, ends);
        let lines = self.unsent.lines.len() as u64;
        if lines > 0 {
            if !go_on() {
                return Err(Failure::passing("it is over"));
            }
            self.sent.ask = None;
            self.sent.maybe = self.sent.maybe.max(self.sent.entries + lines);
            self.remember()?;
        }
        let reply = self.post(&url, &body)?;
        let reply: Value = serde_json::from_slice(&reply)
            .map_err(|_| Failure::passing("the server has answered with something that is not JSON"))?;
        self.sent.entries += lines;
        self.sent.lines += lines;
        self.sent.events.add(self.unsent.events.len() as u64);
        self.sent.output.add(self.unsent.output.len() as u64);
        self.sent.files += std::mem::take(&mut self.uploads.done);
        self.uploads.uploaded.clear();
        self.unsent.is_sent(is_all);
        self.is_complete = ends && is_all;
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
        while let (Some(alert), Some((entity, project)), Some(run)) =
            (self.unsent.alerts.front(), &self.place, &self.unsent.run)
        {
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
            self.unsent.alerts.pop_front();
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
        let (Some((entity, project)), Some(run)) = (&self.place, &self.unsent.run) else { return None };
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
        if self.unsent.run.is_none() {
            return Ok(upload::Sent::All);
        }
        if self.unsent.run_is_new {
            self.introduce()?;
            is_all = self.read().map_err(|e| unreadable(e, &self.file))?;
        }
        // Files and alerts first: a run that has ended should have them. But it is not kept waiting for those that do not get
        // there.
        let is_told = self.unsent.alerts.is_empty() || self.alert_tries > 0;
        let is_ready = is_told && (self.uploads.is_empty() || self.uploads.trouble().is_some());
        let ends = ending && is_all && self.unsent.exit.is_some() && is_ready;
        let is_silent = self.last_request.is_none_or(|last| last.elapsed() >= HEARTBEAT);
        let is_new = self.unsent.bytes > 0 || self.unsent.summary_is_new || self.uploads.done > 0;
        if is_new || (ends && !self.is_complete) || is_silent {
            is_all &= self.stream(ends, go_on)?;
        }
        self.send_alerts(go_on)?;
        let Some(trouble) = self.upload(ending, go_on) else {
            let is_done = is_all && !self.unsent.run_is_new && self.uploads.is_empty() && self.uploads.done == 0;
            let is_ended = !ending || self.is_complete || self.unsent.exit.is_none();
            return Ok(if is_done && is_ended { upload::Sent::All } else { upload::Sent::More });
        };
        match (ending, is_all) {
            (true, true) if self.is_complete || self.unsent.exit.is_none() => Err(trouble),
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
