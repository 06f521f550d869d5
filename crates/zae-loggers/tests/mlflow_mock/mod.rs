//! A server that speaks MLflow, and fails as it is told.

// Not every test uses everything.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use serde_json::{Value, json};

use crate::server::{Answer, Asked, Server};

/// What goes wrong with a request for `log-batch`.
#[derive(Clone)]
pub enum Fault {
    /// This is answered, and nothing done.
    Answer(Answer),
    /// It is done, and the answer lost.
    Lost,
}

pub struct State {
    /// Names, steps, times and values, as the real one tells points apart.
    pub points: BTreeSet<(String, u64, u64, String)>,
    pub tags: BTreeMap<String, String>,
    pub status: String,
    pub runs_made: u32,
    pub faults: VecDeque<Fault>,
    pub authorization: Option<String>,
    /// By path, below the folder of the run, and how often each was put.
    pub artifacts: BTreeMap<String, (Vec<u8>, u32)>,
    /// What goes wrong with requests for files.
    pub artifact_faults: VecDeque<Fault>,
    pub artifact_uri: String,
}

#[derive(Clone)]
pub struct Mock(Arc<Mutex<State>>);

/// A server, and what it knows.
pub fn start(faults: Vec<Fault>) -> (Mock, Server) {
    let mock = Mock::new(faults);
    let its = mock.clone();
    (mock, Server::start(move |asked| its.answer(asked)))
}

impl Mock {
    pub fn new(faults: Vec<Fault>) -> Self {
        Self(Arc::new(Mutex::new(State {
            points: BTreeSet::new(),
            tags: BTreeMap::new(),
            status: String::new(),
            runs_made: 0,
            faults: faults.into(),
            authorization: None,
            artifacts: BTreeMap::new(),
            artifact_faults: VecDeque::new(),
            artifact_uri: "mlflow-artifacts:/7/abc/artifacts".to_owned(),
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn answer(&self, asked: &Asked) -> Answer {
        let mut state = self.lock();
        state.authorization = asked.header("authorization").map(str::to_owned);
        if let Some(path) = asked.path.strip_prefix("/api/2.0/mlflow-artifacts/artifacts/7/abc/artifacts/") {
            assert_eq!(asked.method, "PUT");
            let fault = state.artifact_faults.pop_front();
            if let Some(Fault::Answer(answer)) = fault {
                return answer;
            }
            let put = state.artifacts.entry(decoded(path)).or_default();
            *put = (asked.body.clone(), put.1 + 1);
            return if fault.is_some() { Answer::Truncated } else { Answer::Ok("{}".to_owned()) };
        }
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        let mut reply = json!({});
        match asked.path.trim_start_matches("/api/2.0/mlflow/").split('?').next().unwrap_or_default() {
            "experiments/get-by-name" => reply = json!({"experiment": {"experiment_id": "7"}}),
            "runs/create" => {
                state.runs_made += 1;
                reply = json!({"run": {"info": {"run_id": "abc"}}});
            }
            "runs/search" if state.runs_made > 0 => reply = json!({"runs": [{"info": {"run_id": "abc"}}]}),
            "runs/get" => reply = json!({"run": {"info": {"artifact_uri": state.artifact_uri}}}),
            "runs/update" => state.status = body["status"].as_str().unwrap().to_owned(),
            "runs/log-batch" if body["metrics"].is_array() => {
                let fault = state.faults.pop_front();
                if let Some(Fault::Answer(answer)) = fault {
                    return answer;
                }
                let metrics = body["metrics"].as_array().unwrap();
                let tags = body["tags"].as_array().unwrap();
                assert!(metrics.len() + tags.len() <= 1000);
                for own in metrics {
                    let number = |name: &str| own[name].as_u64().unwrap();
                    let name = own["key"].as_str().unwrap().to_owned();
                    state.points.insert((name, number("step"), number("timestamp"), own["value"].to_string()));
                }
                for own in tags {
                    let [key, value] = ["key", "value"].map(|name| own[name].as_str().unwrap().to_owned());
                    state.tags.insert(key, value);
                }
                if fault.is_some() {
                    return Answer::Truncated;
                }
            }
            _ => {}
        }
        Answer::Ok(reply.to_string())
    }

    /// Names, steps and values, in order; without those of the machine.
    pub fn points(&self) -> Vec<(String, u64, String)> {
        let state = self.lock();
        let own = state.points.iter().filter(|point| !point.0.starts_with("system/"));
        own.map(|(name, step, _, value)| (name.clone(), *step, value.clone())).collect()
    }

    pub fn status(&self) -> String {
        self.lock().status.clone()
    }

    /// Whether all has gone wrong that had to.
    pub fn is_through(&self) -> bool {
        let state = self.lock();
        state.faults.is_empty() && state.artifact_faults.is_empty()
    }
}

/// Without the encoding of addresses.
fn decoded(path: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), path.as_bytes());
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if *first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&rest[..2]).unwrap(), 16).unwrap());
            rest = &rest[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap()
}
