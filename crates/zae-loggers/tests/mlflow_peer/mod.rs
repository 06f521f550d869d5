//! A real MLflow server, which the tests start and end, and what it has.

// Not every test uses everything.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    env,
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::runs::{Curves, bits};

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server in a process group of its own.
pub struct Server {
    process: Child,
    pub port: u16,
}

impl Server {
    /// Answers requests when this returns. Its database is in the folder.
    pub fn start(folder: &Path, port: u16) -> Self {
        let python = env::var_os("ZAE_PYTHON").expect("ZAE_PYTHON is not set: it has to name a Python with MLflow");
        let log = File::options().create(true).append(true).open(folder.join("server.log")).unwrap();
        let mut command = Command::new(python);
        command.args(["-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1", "--port", &port.to_string()]);
        command.args(["--backend-store-uri", &format!("sqlite:///{}/m.db", folder.display())]);
        command.args(["--artifacts-destination", &format!("{}/artifacts", folder.display())]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // A part that runs jobs of its own, and takes long to start.
        command.env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false");
        let mut server = Self { process: command.current_dir(folder).process_group(0).spawn().unwrap(), port };
        let since = Instant::now();
        while !ask(port, "GET", "/health", "").is_some_and(|reply| reply.ends_with("OK")) {
            assert!(server.process.try_wait().unwrap().is_none(), "{}", server.log(folder));
            assert!(since.elapsed() < Duration::from_secs(240), "{}", server.log(folder));
            thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// What it has written, in its folder.
    pub fn log(&self, folder: &Path) -> String {
        std::fs::read_to_string(folder.join("server.log")).unwrap()
    }

    pub fn uri(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn api(&self, method: &str, path: &str, body: &Value) -> Value {
        let reply = ask(self.port, method, &format!("/api/2.0/mlflow/{path}"), &body.to_string()).unwrap();
        serde_json::from_str(&reply).unwrap_or_else(|e| panic!("{e}: {reply}"))
    }

    /// The runs of an experiment.
    pub fn runs(&self, experiment: &str) -> Vec<Value> {
        let found = self.api("GET", &format!("experiments/get-by-name?experiment_name={experiment}"), &json!({}));
        let ids = json!({"experiment_ids": [found["experiment"]["experiment_id"]]});
        self.api("POST", "runs/search", &ids)["runs"].as_array().cloned().unwrap_or_default()
    }

    /// All points of a run, in the order of their steps and times.
    pub fn curves(&self, run: &Value) -> Curves {
        let id = run["info"]["run_id"].as_str().unwrap();
        let names = run["data"]["metrics"].as_array().cloned().unwrap_or_default();
        let of = |name: &Value| {
            let name = name["key"].as_str().unwrap();
            let path = format!("metrics/get-history?run_id={id}&metric_key={}&max_results=20000", encoded(name));
            let reply = self.api("GET", &path, &json!({}));
            let mut points: Vec<_> = reply["metrics"].as_array().unwrap().iter().map(point).collect();
            points.sort_unstable();
            (name.to_owned(), points.into_iter().map(|(step, _, value)| (step, value)).collect())
        };
        names.iter().map(of).collect()
    }
}

/// A point's step, time and value.
fn point(metric: &Value) -> (u64, u64, u32) {
    let number = |name: &str| {
        let value = &metric[name];
        value.as_f64().unwrap_or_else(|| value.as_str().map_or(0.0, |text| text.parse().unwrap()))
    };
    (number("step") as u64, number("timestamp") as u64, bits(number("value")))
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = format!("-{}", self.process.id());
        let _ = Command::new("kill").args(["-9", "--", &group]).status();
        let _ = self.process.wait();
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The body of a reply.
fn ask(port: u16, method: &str, path: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let head =
        format!("{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ");
    write!(stream, "{head}{}\r\n\r\n{body}", body.len()).ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    reply.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}
