//! [`Tracking`]: sends a spool to its server.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::PathBuf,
};

use serde_json::{Value, json};
use zae_core::{add_on::Notice, error::Fallible};

use super::{
    api::{Api, text_at},
    artifacts::{There, unreadable},
    item::Item,
    line::{Alert, End, Head, Line},
    names,
    sent::Sent,
    spool::{self, Lines},
};
use crate::{
    News,
    http::Failure,
    upload::{self, Remote},
};

/// The tag that has the spool's key: by it a run is found whose creation was never answered.
const KEY_TAG: &str = "zae.run";
/// In one request: a thousand, with the tags that lines may have.
const MOST_METRICS: usize = 990;
const MOST_PARAMS: usize = 100;
/// MLflow takes a million.
const MOST_BYTES: usize = 900_000;

/// Sends a spool to its server. Points that are sent twice are there once: the server knows them by name, step, time and
/// value, and all of that is in the spool.
pub(super) struct Tracking {
    api: Api,
    folder: PathBuf,
    head: Head,
    lines: Lines,
    sent: Sent,
    news: News,
    /// MLflow's names of the experiment and of the run, once they are known to be there.
    experiment: Option<String>,
    run: Option<String>,
    /// Read and not sent yet; of the first so many metrics are.
    rows: VecDeque<Item>,
    part: usize,
    /// Lines to be passed over, for the server has them.
    skip: u64,
    /// So many bytes of the spool are there.
    until: u64,
    /// For the thread that sends files.
    there: There,
    /// All of them so far, oldest first.
    alerts: Vec<Alert>,
    end: Option<End>,
    /// Names as MLflow takes them, in quotes.
    names: HashMap<String, String>,
    only_ascii: bool,
}

impl Tracking {
    /// Of the spool in a folder.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn new(api: Api, folder: PathBuf, there: There, news: News) -> Fallible<Self> {
        let (head, lines) = spool::read(&folder.join(spool::FILE))?;
        let sent = Sent::of(&folder, &head.key);
        let skip = sent.rows;
        Ok(Self {
            api,
            folder,
            head,
            lines,
            sent,
            news,
            experiment: None,
            run: None,
            rows: VecDeque::new(),
            part: 0,
            skip,
            until: 0,
            there,
            alerts: Vec::new(),
            end: None,
            names: HashMap::new(),
            only_ascii: false,
        })
    }

    fn remember(&self) -> Result<(), Failure> {
        self.sent.save(&self.folder)
    }

    /// Has the run there, and running.
    fn begin(&mut self, go_on: &dyn Fn() -> bool) -> Result<(), Failure> {
        // Kept, so that a server that fails at every third request gets on, too.
        let experiment = match &self.experiment {
            Some(known) => known.clone(),
            None => self.experiment.insert(self.api.experiment(&self.head.experiment)?).clone(),
        };
        let known = match self.sent.run_id.clone() {
            None => self.api.find_run(&experiment, KEY_TAG, &self.head.key)?,
            known => known,
        };
        let run = match known {
            Some(run) => {
                let body = json!({"run_id": run, "status": "RUNNING"});
                match self.api.post("runs/update", body.to_string().as_bytes()) {
                    // Another server, or one that has lost it: it gets all of the spool.
                    Err(failure) if failure.status() == Some(404) => {
                        self.sent = Sent { key: self.sent.key.clone(), ..Sent::default() };
                        self.skip = 0;
                        return if go_on() { self.remember() } else { Ok(()) };
                    }
                    other => other.map(|_| run)?,
                }
            }
            None => {
                let mut tags: Vec<Value> =
                    self.head.tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
                tags.push(json!({"key": KEY_TAG, "value": self.head.key}));
                let body = json!({
                    "experiment_id": experiment,
                    "run_name": self.head.run_name,
                    "start_time": self.head.start_time,
                    "tags": tags,
                });
                text_at(&self.api.post("runs/create", body.to_string().as_bytes())?, "/run/info/run_id")?
            }
        };
        self.news.tell(Notice::Info(format!("mlflow: {}/#/experiments/{experiment}/runs/{run}", self.api.uri())));
        self.run = Some(run.clone());
        if self.sent.run_id.replace(run).is_none() && go_on() {
            self.remember()?;
        }
        Ok(())
    }

    fn send_params(&self, run: &str) -> Result<(), Failure> {
        let send = |params: &[(String, String)]| {
            let params: Vec<_> = params.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
            self.api.post("runs/log-batch", json!({"run_id": run, "params": params}).to_string().as_bytes())
        };
        for params in self.head.params.chunks(MOST_PARAMS) {
            let Err(failure) = send(params) else { continue };
            if failure.status() != Some(400) {
                return Err(failure);
            }
            // Something of them it does not take, such as another value than before: the rest it does.
            for param in params {
                if let Err(failure) = send(std::slice::from_ref(param))
                    && failure.status() != Some(400)
                {
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    /// Reads on until there is enough for a request.
    fn read(&mut self) -> Result<(), Failure> {
        let mut there: usize = self.rows.iter().map(Item::weight).sum();
        while there < MOST_METRICS + self.part {
            let Some(line) = self.lines.next().map_err(|e| unreadable(&e))? else { break };
            if let Line::End(end) = line {
                self.end = Some(end);
                continue;
            }
            self.end = None;
            if let Line::Alert(alert) = &line {
                self.alerts.push(alert.clone());
            }
            if self.skip > 0 {
                self.skip -= 1;
                self.until = self.lines.end;
                continue;
            }
            let item = Item::of(line, self.lines.end, &self.alerts);
            there += item.weight();
            self.rows.push_back(item);
        }
        Ok(())
    }

    /// A request for as much of what was read as one may hold, if there is anything to ask for; for so many lines, and so many
    /// metrics of the next.
    fn request(&mut self, run: &str) -> (Option<String>, usize, usize) {
        let mut body = format!(r#"{{"run_id":{},"metrics":["#, json!(run));
        let (mut metrics, mut rows, mut part, mut tags) = (0, 0, self.part, BTreeMap::new());
        'rows: for Item { time, step, metrics: own, tag, .. } in &self.rows {
            for (name, value) in own.iter().skip(part) {
                if metrics == MOST_METRICS || body.len() > MOST_BYTES {
                    break 'rows;
                }
                if !self.names.contains_key(name) {
                    self.names.insert(name.clone(), json!(names::allowed(name, self.only_ascii)).to_string());
                }
                let (name, comma) = (&self.names[name], if metrics == 0 { "" } else { "," });
                body.push_str(&format!(r#"{comma}{{"key":{name},"value":{value},"timestamp":{time},"step":{step}}}"#));
                (metrics, part) = (metrics + 1, part + 1);
            }
            // The latest counts.
            tags.extend(tag.clone());
            (rows, part) = (rows + 1, 0);
        }
        let is_empty = metrics == 0 && tags.is_empty();
        let tags: Vec<Value> = tags.into_iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        body.push_str(&format!(r#"],"tags":{}}}"#, json!(tags)));
        ((!is_empty).then_some(body), rows, part)
    }

    fn send_rows(&mut self, run: &str, go_on: &dyn Fn() -> bool) -> Result<(), Failure> {
        let (body, rows, part) = self.request(run);
        let touched = self.sent.rows + rows as u64 + u64::from(part > 0);
        if !go_on() {
            return Ok(());
        }
        if self.sent.maybe < touched {
            self.sent.maybe = touched;
            self.remember()?;
        }
        match body.map(|body| (self.api.post("runs/log-batch", body.as_bytes()), body)) {
            Some((Err(failure), body)) => {
                if failure.status() != Some(400) || self.only_ascii || body.is_ascii() {
                    return Err(failure);
                }
                self.only_ascii = true;
                self.names.clear();
                return Ok(());
            }
            Some((Ok(_), _)) | None => {}
        }
        self.until = self.rows.drain(..rows).next_back().map_or(self.until, |row| row.end);
        self.sent.rows += rows as u64;
        self.part = part;
        if rows > 0 && go_on() { self.remember() } else { Ok(()) }
    }

    fn finish(&self, run: &str) -> Result<(), Failure> {
        let mut body = BTreeMap::from([("run_id", json!(run)), ("status", json!("KILLED"))]);
        if let Some(End { end, time }) = &self.end {
            body.extend([("status", json!(end)), ("end_time", json!(time))]);
        }
        self.api.post("runs/update", json!(body).to_string().as_bytes()).map(drop)
    }
}

impl Remote for Tracking {
    fn send(&mut self, ending: bool, go_on: &dyn Fn() -> bool) -> Result<upload::Sent, Failure> {
        let Some(run) = self.run.clone() else {
            return self.begin(go_on).map(|()| upload::Sent::More);
        };
        if !self.sent.params {
            self.send_params(&run)?;
            self.sent.params = true;
            if go_on() {
                self.remember()?;
            }
        }
        self.read()?;
        if !self.rows.is_empty() {
            self.send_rows(&run, go_on)?;
            self.there.set(&run, self.until);
            return Ok(upload::Sent::More);
        }
        self.there.set(&run, self.until);
        if ending {
            self.finish(&run)?;
        }
        Ok(upload::Sent::All)
    }
}
