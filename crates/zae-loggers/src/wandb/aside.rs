//! How the machine is doing, console lines and alerts: as records of the file, and as the server wants them.

use serde_json::{Value, json};

use super::{
    date,
    fields::{number, text},
    json,
    record::{self, Run},
};
use crate::{
    Level,
    protobuf::{Field, Fields, Message},
};

/// For so many milliseconds W&B sends no second alert of the same title.
const ALERT_EVERY: u64 = 60_000;

/// A record of how the machine is doing.
pub(super) fn system(message: &mut Message<'_>, time: f64, values: &[(String, f64)]) {
    message.message(2, |at| record::timestamp(at, time));
    let mut text = Vec::new();
    for (name, value) in values {
        text.clear();
        json::number(&mut text, *value);
        message.message(3, |item| {
            item.string(1, name).bytes(16, &text);
        });
    }
}

/// The same as a line of the run's events.
pub(super) fn event(message: &[u8], started: f64) -> String {
    let time = time(message);
    let mut line = format!("{{\"_wandb\":true,\"_timestamp\":{time},\"_runtime\":{}", time - started).into_bytes();
    for field in Fields(message) {
        let Field::Bytes(3, item) = field else { continue };
        let (Some(name), Some(value)) = (text(item, 1), text(item, 16)) else { continue };
        line.push(b',');
        json::text(&mut line, &format!("system.{name}"));
        line.push(b':');
        line.extend_from_slice(value.as_bytes());
    }
    line.push(b'}');
    String::from_utf8(line).unwrap_or_default()
}

/// A record of a console line.
pub(super) fn console(message: &mut Message<'_>, time: f64, line: &str) {
    message.varint(1, 1).message(2, |at| record::timestamp(at, time)).string(3, &format!("{line}\n"));
}

/// The same as a line of the run's output, as W&B's own client sends it.
pub(super) fn output(message: &[u8]) -> String {
    let line = text(message, 3).unwrap_or_default();
    format!("{} {}", date::iso(time(message)), line.trim_end_matches('\n'))
}

/// A record of an alert.
pub(super) fn alert(message: &mut Message<'_>, title: &str, words: &str, level: Level) {
    let level = match level {
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
    };
    message.string(1, title).string(2, words).string(3, level).varint(4, ALERT_EVERY);
}

const ALERT: &str = "mutation NotifyScriptableRunAlert($entityName: String!, $projectName: String!, $runName: String!, \
    $title: String!, $text: String!, $severity: AlertSeverity = INFO, $waitDuration: Duration) { \
    notifyScriptableRunAlert(input: {entityName: $entityName, projectName: $projectName, runName: $runName, \
    title: $title, text: $text, severity: $severity, waitDuration: $waitDuration}) { success } }";

/// The body of the request that sends an alert.
pub(super) fn notify(message: &[u8], entity: &str, project: &str, run: &Run) -> Value {
    json!({"query": ALERT, "operationName": "NotifyScriptableRunAlert", "variables": {
        "entityName": entity, "projectName": project, "runName": run.id,
        "title": text(message, 1), "text": text(message, 2).unwrap_or_default(),
        "severity": text(message, 3), "waitDuration": number(message, 4),
    }})
}

/// Seconds since 1970, of a record that has them in its second field.
fn time(message: &[u8]) -> f64 {
    let at = Fields(message).find_map(|field| if let Field::Bytes(2, at) = field { Some(at) } else { None });
    at.map_or(0.0, record::seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_sent() {
        let mut bytes = Vec::new();
        system(&mut Message::new(&mut bytes), 100.5, &[("cpu".into(), 0.25), ("gpu.0.temp".into(), f64::NAN)]);
        let line =
            "{\"_wandb\":true,\"_timestamp\":100.5,\"_runtime\":0.5,\"system.cpu\":0.25,\"system.gpu.0.temp\":NaN}";
        assert_eq!(event(&bytes, 100.0), line);
        bytes.clear();
        console(&mut Message::new(&mut bytes), 0.0, "\u{1b}[32m INFO\u{1b}[0m é");
        assert_eq!(output(&bytes), "1970-01-01T00:00:00.000000 \u{1b}[32m INFO\u{1b}[0m é");
        bytes.clear();
        alert(&mut Message::new(&mut bytes), "high", "it is", Level::Warn);
        let asked = notify(&bytes, "e", "p", &Run { id: "r".into(), ..Run::default() });
        assert_eq!(asked["variables"]["severity"], "WARN");
        assert_eq!(
            (&asked["variables"]["title"], &asked["variables"]["waitDuration"]),
            (&"high".into(), &60_000.into())
        );
    }
}
