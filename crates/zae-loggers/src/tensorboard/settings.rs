//! The settings of a run, for the dashboards HPARAMS (to compare runs) and TEXT (to read them).

use serde_json::Value;

use super::event::{self, Class, Counts};
use crate::{Config, protobuf::Message};

/// Appends the records.
pub(super) fn append(out: &mut Vec<u8>, time: f64, config: &Config) {
    const DT_FLOAT: u64 = 1;
    if config.values().is_empty() {
        return;
    }
    event::summary(out, time, 0, |summary| {
        summary.message(1, |value| {
            value.string(1, "_hparams_/session_start_info").message(8, |tensor| {
                tensor.varint(1, DT_FLOAT).message(2, |shape| {
                    shape.message(2, |dimension| {
                        dimension.varint(1, 0);
                    });
                });
            });
            event::metadata(value, "hparams", &hparams(config, time), Class::Tensor);
        });
    });
    event::summary(out, time, 0, |summary| event::text(summary, "config/text_summary", &text(config), Counts::No));
}

/// `HParamsPluginData` of `tensorboard/plugins/hparams/plugin_data.proto`.
fn hparams(config: &Config, time: f64) -> Vec<u8> {
    let mut out = Vec::new();
    Message::new(&mut out).message(3, |session| {
        for (name, value) in config.flat() {
            session.message(1, |entry| {
                entry.string(1, &name).message(2, |own| {
                    match value {
                        Value::Bool(value) => own.varint(4, value.into()),
                        Value::String(text) => own.string(3, &text),
                        Value::Number(number) => own.double(2, number.as_f64().unwrap_or(f64::NAN)),
                        other => own.string(3, &other.to_string()),
                    };
                });
            });
        }
        session.double(5, time);
    });
    out
}

/// JSON, as a block of code in Markdown.
fn text(config: &Config) -> String {
    let json = format!("{:#}", Value::Object(config.values().clone()));
    json.lines().fold(String::new(), |text, line| text + "    " + line + "\n")
}
