//! What the server is asked about a run as a whole.

use serde_json::{Map, Value, json};

use super::record::Run;
use crate::http::Failure;

const UPSERT: &str = "mutation UpsertBucket($id: String, $name: String, $project: String, $entity: String, \
    $groupName: String, $displayName: String, $notes: String, $config: JSONString, $host: String, $program: String, \
    $repo: String, $commit: String, $jobType: String, $tags: [String!]) { upsertBucket(input: {id: $id, name: $name, \
    modelName: $project, entityName: $entity, groupName: $groupName, displayName: $displayName, notes: $notes, \
    config: $config, host: $host, jobProgram: $program, jobRepo: $repo, commit: $commit, jobType: $jobType, tags: $tags}) \
    { bucket { id name displayName project { name entity { name } } historyLineCount } inserted } }";

const STATUS: &str = "query RunResumeStatus($project: String, $entity: String, $name: String!) { \
    model(name: $project, entityName: $entity) { bucket(name: $name, missingOk: true) \
    { id historyLineCount historyTail } } }";

/// The body of the request that makes a run, or changes what is known of it.
pub(super) fn upsert(run: &Run, metrics: &[Value]) -> Value {
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
        "config": config(&run.config, metrics).to_string(),
    }})
}

/// A config as W&B keeps it: each value in an object, and beside them what it needs to know of the metrics.
fn config(config: &Map<String, Value>, metrics: &[Value]) -> Value {
    let mut all: Map<_, _> = config.iter().map(|(name, value)| (name.clone(), json!({"value": value}))).collect();
    // Without the first of them a run that goes on is not known as one that was begun.
    let own = json!({"t": {"12": concat!("zae-engine-", env!("CARGO_PKG_VERSION"))}, "m": metrics});
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

/// The body of the request that asks whether there is a run.
pub(super) fn status(run: &Run) -> Value {
    let entity = if run.entity.is_empty() { Value::Null } else { run.entity.clone().into() };
    json!({"query": STATUS, "operationName": "RunResumeStatus", "variables": {
        "project": run.project, "entity": entity, "name": run.id,
    }})
}

/// How many lines the server has of a run, and the `_step` of the next, if there is the run.
///
/// # Errors
/// When the reply is none.
pub(super) fn found(reply: &[u8]) -> Result<Option<(u64, u64)>, Failure> {
    let reply = parse(reply)?;
    let bucket = &reply["data"]["model"]["bucket"];
    if bucket.is_null() {
        return Ok(None);
    }
    let lines = bucket["historyLineCount"].as_u64().unwrap_or(0);
    // A list of lines, each of them JSON within JSON.
    let tail: Vec<String> = serde_json::from_str(bucket["historyTail"].as_str().unwrap_or("[]")).unwrap_or_default();
    let step = tail.last().and_then(|line| serde_json::from_str::<Value>(line).ok()?["_step"].as_f64());
    Ok(Some((lines, step.map_or(lines, |step| step as u64 + 1))))
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
