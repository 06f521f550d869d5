//! [`Tracking`]: sends a spool to its server.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::PathBuf,
};

use serde_json::{Value, json};
use zae_core::{add_on::Notice, error::Fallible};

use super::{
    api::{Api, text_at},
    names,
    sent::Sent,
    spool::{self, End, Head, Line, Lines, Row},
};
use crate::{
    News,
    http::Failure,
    upload::{self, Remote},
};

/// The tag that has the spool's key: by it a run is found whose creation was never answered.
const KEY_TAG: &str = "zae.run";
/// In one request.
const MOST_METRICS: usize = 1000;
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
    /// MLflow's name of the run, once it is known to be there.
    run: Option<String>,
    /// Read and not sent yet; of the first so many metrics are.
    rows: VecDeque<Row>,
    part: usize,
    /// Rows to be passed over, for the server has them.
    skip: u64,
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
    pub(super) fn new(api: Api, folder: PathBuf, news: News) -> Fallible<Self> {
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
            run: None,
            rows: VecDeque::new(),
            part: 0,
            skip,
            end: None,
            names: HashMap::new(),
            only_ascii: false,
        })
    }

    fn remember(&self) -> Result<(), Failure> {
        self.sent
            .save(&self.folder)
            .map_err(|e| Failure::passing(format!("cannot write in `{}`: {e}", self.folder.display())))
    }

    /// Has the run there, and running.
    fn begin(&mut self, go_on: &dyn Fn() -> bool) -> Result<(), Failure> {
        let experiment = self.api.experiment(&self.head.experiment)?;
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
        let mut there: usize = self.rows.iter().map(|row| row.metrics.len()).sum();
        while there < MOST_METRICS + self.part {
            let line = self.lines.next().map_err(|e| Failure::passing(format!("cannot read the spool: {e}")))?;
            match line {
                None => break,
                Some(Line::End(end)) => self.end = Some(end),
                Some(Line::Row(_)) if self.skip > 0 => {
                    self.end = None;
                    self.skip -= 1;
                }
                Some(Line::Row(row)) => {
                    self.end = None;
                    there += row.metrics.len();
                    self.rows.push_back(row);
                }
            }
        }
        Ok(())
    }

    /// A request for as much of what was read as one may hold; for so many rows, and so many metrics of the next.
    fn request(&mut self, run: &str) -> (String, usize, usize) {
        let mut body = format!(r#"{{"run_id":{},"metrics":["#, json!(run));
        let (mut metrics, mut rows, mut part) = (0, 0, self.part);
        'rows: for row in &self.rows {
            for (name, value) in row.metrics.iter().skip(part) {
                if metrics == MOST_METRICS || body.len() > MOST_BYTES {
                    break 'rows;
                }
                if !self.names.contains_key(name) {
                    self.names.insert(name.clone(), json!(names::allowed(name, self.only_ascii)).to_string());
                }
                let (name, comma) = (&self.names[name], if metrics == 0 { "" } else { "," });
                let Row { time, step, .. } = row;
                body.push_str(&format!(r#"{comma}{{"key":{name},"value":{value},"timestamp":{time},"step":{step}}}"#));
                (metrics, part) = (metrics + 1, part + 1);
            }
            (rows, part) = (rows + 1, 0);
        }
        body.push_str("]}");
        (body, rows, part)
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
        match self.api.post("runs/log-batch", body.as_bytes()) {
            Err(failure) if failure.status() == Some(400) && !self.only_ascii && !body.is_ascii() => {
                self.only_ascii = true;
                self.names.clear();
                return Ok(());
            }
            other => other.map(drop)?,
        }
        self.rows.drain(..rows);
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
            return Ok(upload::Sent::More);
        }
        if ending {
            self.finish(&run)?;
        }
        Ok(upload::Sent::All)
    }
}
