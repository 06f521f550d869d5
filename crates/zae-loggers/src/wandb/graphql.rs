//! What the server is asked about a run as a whole.

use serde_json::{Map, Value, json};

use super::{metric::Metric, record::Run};
use crate::http::Failure;

const UPSERT: &str = "mutation UpsertBucket($id: String, $name: String, $project: String, $entity: String, \
    $groupName: String, $displayName: String, $notes: String, $config: JSONString, $host: String, $program: String, \
    $repo: String, $commit: String, $jobType: String, $tags: [String!]) { upsertBucket(input: {id: $id, name: $name, \
    modelName: $project, entityName: $entity, groupName: $groupName, displayName: $displayName, notes: $notes, \
    config: $config, host: $host, jobProgram: $program, jobRepo: $repo, commit: $commit, jobType: $jobType, tags: $tags}) \
    { bucket { id name displayName project { name entity { name } } historyLineCount } inserted } }";

const STATUS: &str = "query RunResumeStatus($project: String, $entity: String, $name: String!) { \
    model(name: $project, entityName: $entity) { bucket(name: $name, missingOk: true) \
    { id historyLineCount historyTail eventsLineCount logLineCount } } }";

/// The body of the request that makes a run, or changes what is known of it.
pub(super) fn upsert(run: &Run) -> Value {
    let text = |text: &String| if text.is_empty() { Value::Null } else { text.clone().into() };
    let tags = if run.tags.is_empty() { Value::Null } else { run.tags.clone().into() };
    json!({"query": UPSERT, "operationName": "UpsertBucket", "variables": {
        "name": run.id,
        "project": run.project,
        "entity": text(&run.entity),
        "groupName": text(&run.group),
        "displayName": text(&run.name),
        "notes": text(&run.notes),
        "jobType": text(&run.job_type),
        "host": text(&run.host),
        "program": text(&run.program),
        "commit": text(&run.commit),
        "repo": text(&run.repository),
        "tags": tags,
        "config": config(run).to_string(),
    }})
}

/// A config as W&B keeps it: each value in an object, and beside them what it needs to know of the metrics.
pub(super) fn config(run: &Run) -> Value {
    let mut all: Map<_, _> = run.config.iter().map(|(name, value)| (name.clone(), json!({"value": value}))).collect();
    // Without the first of them a run that goes on is not known as one that was begun.
    let own =
        json!({"t": {"12": concat!("zae-engine-", env!("CARGO_PKG_VERSION"))}, "m": Metric::in_config(&run.metrics)});
    all.insert("_wandb".to_owned(), json!({"value": own}));
    Value::Object(all)
}

/// Where the server has put a run: entity and project.
///
/// # Errors
/// When the reply is none: the server is not W&B's, or says why it will not.
pub(super) fn upserted(reply: &[u8]) -> Result<(String, String), Failure> {
    let reply = parse(reply)?;
    let project = &reply["data"]["upsertBucket"]["bucket"]["project"];
    match (project["entity"]["name"].as_str(), project["name"].as_str()) {
        (Some(entity), Some(project)) => Ok((entity.to_owned(), project.to_owned())),
        _ => Err(Failure::passing("the server has not said where the run is")),
    }
}

const CREATE_FILES: &str = "mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, \
    $files: [String!]!) { createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run, \
    files: $files}) { runID uploadHeaders files { name uploadUrl } } }";

/// The body of the request that asks where files are to be put.
pub(super) fn create_files(entity: &str, project: &str, run: &Run, files: &[&str]) -> Value {
    json!({"query": CREATE_FILES, "operationName": "CreateRunFiles", "variables": {
        "entity": entity, "project": project, "run": run.id, "files": files,
    }})
}

/// Where files are to be put: addresses by name, and the headers that the storage wants.
pub(super) struct Targets {
    pub(super) urls: Map<String, Value>,
    pub(super) headers: Vec<(String, String)>,
}

/// # Errors
/// When the reply is none.
pub(super) fn created(reply: &[u8]) -> Result<Targets, Failure> {
    let reply = parse(reply)?;
    let reply = &reply["data"]["createRunFiles"];
    let Some(files) = reply["files"].as_array() else {
        return Err(Failure::passing("the server has not said where files are to be put"));
    };
    let url = |file: &Value| Some((file["name"].as_str()?.to_owned(), file["uploadUrl"].clone()));
    let header = |header: &Value| {
        let (name, value) = header.as_str()?.split_once(':')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    };
    let headers = reply["uploadHeaders"].as_array().into_iter().flatten().filter_map(header).collect();
    Ok(Targets { urls: files.iter().filter_map(url).collect(), headers })
}

/// Whether a reply is none.
///
/// # Errors
/// When it says that the server will not.
pub(super) fn done(reply: &[u8]) -> Result<(), Failure> {
    parse(reply).map(|_| ())
}

/// The body of the request that asks whether there is a run.
pub(super) fn status(run: &Run) -> Value {
    let entity = if run.entity.is_empty() { Value::Null } else { run.entity.clone().into() };
    json!({"query": STATUS, "operationName": "RunResumeStatus", "variables": {
        "project": run.project, "entity": entity, "name": run.id,
    }})
}

/// What the server has of a run.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct There {
    /// Lines of its history.
    pub(super) lines: u64,
    /// The `_step` of the next.
    pub(super) step: u64,
    /// Lines about the machine, and of the console.
    pub(super) events: u64,
    pub(super) output: u64,
}

/// What the server has of a run, if there is the run.
///
/// # Errors
/// When the reply is none.
pub(super) fn found(reply: &[u8]) -> Result<Option<There>, Failure> {
    let reply = parse(reply)?;
    let bucket = &reply["data"]["model"]["bucket"];
    if bucket.is_null() {
        return Ok(None);
    }
    let count = |name: &str| bucket[name].as_u64().unwrap_or(0);
    let lines = count("historyLineCount");
    // A list of lines, each of them JSON within JSON.
    let tail: Vec<String> = serde_json::from_str(bucket["historyTail"].as_str().unwrap_or("[]")).unwrap_or_default();
    let step = tail.last().and_then(|line| serde_json::from_str::<Value>(line).ok()?["_step"].as_f64());
    Ok(Some(There {
        lines,
        step: step.map_or(lines, |step| step as u64 + 1),
        events: count("eventsLineCount"),
        output: count("logLineCount"),
    }))
}

fn parse(reply: &[u8]) -> Result<Value, Failure> {
    let reply: Value = serde_json::from_slice(reply)
        .map_err(|_| Failure::passing("the server has answered with something that is not JSON"))?;
    let Some(message) = reply["errors"][0]["message"].as_str() else { return Ok(reply) };
    let text = format!("the server has refused: {message}");
    // It says so with a status of 200, as it says that something broke on its side.
    let lower = message.to_lowercase();
    let is_final = ["permission", "not found", "denied", "invalid"].into_iter().any(|word| lower.contains(word));
    Err(if is_final { Failure::lasting(text) } else { Failure::passing(text) })
}
