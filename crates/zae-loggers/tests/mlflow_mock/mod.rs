//! A server that speaks MLflow, and fails as it is told.

#![allow(unreachable_pub, clippy::unwrap_used)]

use std::{
    collections::{BTreeSet, VecDeque},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

/// What goes wrong with a request for `log-batch`.
#[derive(Clone, Copy)]
pub enum Fault {
    /// This is answered, and nothing done.
    Answer(&'static str),
    /// It is done, and the answer lost.
    Lost,
}

#[derive(Default)]
struct State {
    /// Names, steps, times and values, as the real one tells points apart.
    points: BTreeSet<(String, u64, u64, String)>,
    status: String,
    runs_made: u32,
    faults: VecDeque<Fault>,
    authorization: Option<String>,
}

#[derive(Clone)]
pub struct Mock {
    pub uri: String,
    state: Arc<Mutex<State>>,
}

impl Mock {
    pub fn start(faults: &[Fault]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let state = State { faults: faults.iter().copied().collect(), ..State::default() };
        let mock = Self { uri, state: Arc::new(Mutex::new(state)) };
        let its = mock.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let own = its.clone();
                thread::spawn(move || own.serve(stream.unwrap()));
            }
        });
        mock
    }

    /// A connection, until somebody closes it.
    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut input = BufReader::new(stream.try_clone().ok()?);
        let mut output = stream;
        loop {
            let (mut line, mut length) = (String::new(), 0);
            input.read_line(&mut line).ok().filter(|read| *read > 0)?;
            let path = line.split(' ').nth(1)?.to_owned();
            loop {
                line.clear();
                input.read_line(&mut line).ok()?;
                let Some((name, value)) = line.trim().split_once(": ") else { break };
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.parse().ok()?,
                    "authorization" => self.state.lock().unwrap().authorization = Some(value.to_owned()),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            input.read_exact(&mut body).ok()?;
            let reply = self.reply(&path, &serde_json::from_slice(&body).unwrap_or_default())?;
            output.write_all(reply.as_bytes()).ok()?;
        }
    }

    /// Nothing if the answer is lost.
    fn reply(&self, path: &str, body: &Value) -> Option<String> {
        let mut state = self.state.lock().unwrap();
        let mut reply = json!({});
        match path.trim_start_matches("/api/2.0/mlflow/").split('?').next()? {
            "experiments/get-by-name" => reply = json!({"experiment": {"experiment_id": "7"}}),
            "runs/create" => {
                state.runs_made += 1;
                reply = json!({"run": {"info": {"run_id": "abc"}}});
            }
            "runs/search" if state.runs_made > 0 => reply = json!({"runs": [{"info": {"run_id": "abc"}}]}),
            "runs/update" => state.status = body["status"].as_str()?.to_owned(),
            "runs/log-batch" if body["metrics"].is_array() => {
                let fault = state.faults.pop_front();
                if let Some(Fault::Answer(answer)) = fault {
                    return Some(answer.to_owned());
                }
                for own in body["metrics"].as_array()? {
                    let number = |name: &str| own[name].as_u64();
                    let name = own["key"].as_str()?.to_owned();
                    state.points.insert((name, number("step")?, number("timestamp")?, own["value"].to_string()));
                }
                if fault.is_some() {
                    return None;
                }
            }
            _ => {}
        }
        let text = reply.to_string();
        Some(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()))
    }

    /// Names, steps and values, in order.
    pub fn points(&self) -> Vec<(String, u64, String)> {
        let state = self.state.lock().unwrap();
        state.points.iter().map(|(name, step, _, value)| (name.clone(), *step, value.clone())).collect()
    }

    pub fn status(&self) -> String {
        self.state.lock().unwrap().status.clone()
    }

    pub fn runs_made(&self) -> u32 {
        self.state.lock().unwrap().runs_made
    }

    /// Whether all has gone wrong that had to.
    pub fn is_through(&self) -> bool {
        self.state.lock().unwrap().faults.is_empty()
    }

    pub fn authorization(&self) -> Option<String> {
        self.state.lock().unwrap().authorization.clone()
    }
}
