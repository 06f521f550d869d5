//! What a server of W&B keeps of the runs that it is told of, as far as our tests look at it.

#![allow(dead_code)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::server::{Answer, Asked};

/// A run on the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunThere {
    pub(crate) upsert: Value,
    /// By line number. A line that is sent again has to be the same, or the test fails.
    pub(crate) lines: BTreeMap<u64, String>,
    pub(crate) summary: String,
    pub(crate) exit_code: Option<i64>,
    pub(crate) preempting: bool,
    /// Lines of the console and about the machine, by number.
    pub(crate) output: BTreeMap<u64, String>,
    pub(crate) events: BTreeMap<u64, String>,
    /// Files by name, and those that the server was told of.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) uploaded: Vec<String>,
    /// Title, text and severity.
    pub(crate) alerts: Vec<[String; 3]>,
}

/// All runs by id, and what was asked.
#[derive(Clone, Default)]
pub(crate) struct Wandb(pub(crate) Arc<Mutex<Kept>>);

#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) runs: BTreeMap<String, RunThere>,
    pub(crate) asked: Vec<Asked>,
    /// Runs whose page says that they are to stop.
    pub(crate) stopped: bool,
}

impl Wandb {
    /// Does what is asked.
    pub(crate) fn answer(&self, asked: &Asked) -> Answer {
        let mut kept = self.0.lock().unwrap();
        kept.asked.push(asked.clone());
        if asked.body.len() > 10 << 20 {
            return Answer::Status(413, Vec::new(), "more than 10 MiB".to_owned());
        }
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or(Value::Null);
        if asked.path == "/graphql" {
            return graphql(&mut kept, &body, asked.header("host").unwrap_or_default());
        }
        if let (Some(rest), "PUT") = (asked.path.strip_prefix("/storage/"), &*asked.method) {
            // As a storage that belongs to somebody else.
            assert!(asked.header("authorization").is_none(), "the key is no business of the storage");
            assert_eq!(asked.header("x-storage"), Some("a: b"));
            let (id, name) = rest.split_once('/').unwrap();
            kept.runs.get_mut(id).unwrap().files.insert(unhex(name), asked.body.clone());
            return Answer::Ok(String::new());
        }
        let stopped = kept.stopped;
        if let ["", "files", _, _, id, "file_stream"] = asked.path.split('/').collect::<Vec<_>>()[..] {
            let text = String::from_utf8(asked.body.clone()).unwrap();
            let run = kept.runs.entry(id.to_owned()).or_default();
            stream(run, &body, &text);
            return Answer::Ok(json!({"exitcode": null, "limits": {}, "stopped": stopped}).to_string());
        }
        Answer::Ok("{}".to_owned())
    }

    pub(crate) fn only_run(&self) -> RunThere {
        let kept = self.0.lock().unwrap();
        assert_eq!(kept.runs.len(), 1, "{:?}", kept.runs.keys());
        kept.runs.values().next().unwrap().clone()
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> String {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    String::from_utf8(text.as_bytes().chunks(2).map(byte).collect()).unwrap()
}

fn graphql(kept: &mut Kept, body: &Value, host: &str) -> Answer {
    let query = body["query"].as_str().unwrap_or_default();
    let variables = &body["variables"];
    if query.contains("upsertBucket") {
        let id = variables["name"].as_str().unwrap_or_default().to_owned();
        let inserted = !kept.runs.contains_key(&id);
        let run = kept.runs.entry(id.clone()).or_default();
        // What is not said stays as it is.
        if run.upsert.is_null() {
            run.upsert = json!({});
        }
        for (name, value) in variables.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            run.upsert[name] = value.clone();
        }
        let project = variables["project"].as_str().or(variables["modelName"].as_str()).unwrap_or("p");
        let reply = json!({"data": {"upsertBucket": {"inserted": inserted, "bucket": {
            "id": "x", "name": id, "displayName": "brave-robot-1", "sweepName": null, "historyLineCount": run.lines.len(),
            "project": {"id": "p", "name": project, "entity": {"id": "e", "name": "team"}},
        }}}});
        return Answer::Ok(reply.to_string());
    }
    if query.contains("RunResumeStatus") {
        let id = variables["name"].as_str().unwrap_or_default();
        let bucket = kept.runs.get(id).filter(|run| !run.upsert.is_null()).map(|run| {
            let tail: Vec<&String> = run.lines.values().rev().take(1).collect();
            json!({
                "id": "x", "name": id, "summaryMetrics": if run.summary.is_empty() { "{}" } else { &run.summary },
                "displayName": "brave-robot-1", "logLineCount": run.output.len(), "historyLineCount": run.lines.len(),
                "eventsLineCount": run.events.len(), "historyTail": serde_json::to_string(&tail).unwrap(), "eventsTail": "[]",
                "config": run.upsert["config"], "tags": run.upsert["tags"], "wandbConfig": "{\"t\":{\"12\":\"0\"}}",
            })
        });
        return Answer::Ok(json!({"data": {"model": {"bucket": bucket}}}).to_string());
    }
    if query.contains("createRunFiles") {
        let files = variables["files"].as_array().cloned().unwrap_or_default();
        let id = variables["run"].as_str().unwrap();
        let url = |name: &str| format!("http://{host}/storage/{id}/{}", hex(name));
        let files: Vec<Value> =
            files.iter().map(|name| json!({"name": name, "uploadUrl": url(name.as_str().unwrap())})).collect();
        let headers = ["X-Storage: a: b"];
        let reply = json!({"data": {"createRunFiles": {"runID": "x", "uploadHeaders": headers, "files": files}}});
        return Answer::Ok(reply.to_string());
    }
    if query.contains("notifyScriptableRunAlert") {
        let text = |name: &str| variables[name].as_str().unwrap().to_owned();
        let run = kept.runs.get_mut(&text("runName")).unwrap();
        run.alerts.push([text("title"), text("text"), text("severity")]);
        return Answer::Ok(json!({"data": {"notifyScriptableRunAlert": {"success": true}}}).to_string());
    }
    if query.contains("serverInfo") {
        let info = json!({"cliVersionInfo": {"max_cli_version": "9.9.9", "min_cli_version": "0.0.1"},
            "latestLocalVersionInfo": null, "features": []});
        return Answer::Ok(json!({"data": {"serverInfo": info}}).to_string());
    }
    if query.contains("viewer") {
        let viewer = json!({"id": "v", "entity": "team", "username": "me", "flags": "{}", "teams": {"edges": []}});
        return Answer::Ok(json!({"data": {"viewer": viewer}}).to_string());
    }
    Answer::Ok(json!({"data": {}}).to_string())
}

fn stream(run: &mut RunThere, body: &Value, text: &str) {
    // NaN and infinities are no JSON: W&B's own clients send them all the same.
    let body = if body.is_null() { serde_json::from_str(text).unwrap_or(Value::Null) } else { body.clone() };
    let files = &body["files"];
    let history = &files["wandb-history.jsonl"];
    let offset = history["offset"].as_u64().unwrap_or(0);
    for (i, line) in history["content"].as_array().into_iter().flatten().enumerate() {
        let line = line.as_str().unwrap().to_owned();
        let number = offset + i as u64;
        assert!(number <= run.lines.len() as u64, "line {number} comes after {}", run.lines.len());
        if let Some(old) = run.lines.insert(number, line.clone()) {
            assert_eq!(old, line, "line {number} was sent twice and differs");
        }
    }
    if let Some(summary) = files["wandb-summary.json"]["content"][0].as_str() {
        run.summary = summary.to_owned();
    }
    for (name, kept) in [("output.log", &mut run.output), ("wandb-events.jsonl", &mut run.events)] {
        let offset = files[name]["offset"].as_u64().unwrap_or(0);
        for (i, line) in files[name]["content"].as_array().into_iter().flatten().enumerate() {
            let number = offset + i as u64;
            assert!(number <= kept.len() as u64, "{name}: line {number} comes after {}", kept.len());
            // The console of W&B's own client changes lines that it has sent.
            kept.insert(number, line.as_str().unwrap().to_owned());
        }
    }
    let uploaded = body["uploaded"].as_array().into_iter().flatten();
    run.uploaded.extend(uploaded.map(|name| name.as_str().unwrap().to_owned()));
    run.preempting |= body["preempting"].as_bool() == Some(true);
    if body["complete"].as_bool() == Some(true) {
        run.exit_code = body["exitcode"].as_i64();
    }
}
