//! [`Config`]: the settings of a run, to be shown beside its curves.

use serde::Serialize;
use serde_json::{Map, Value};

/// The settings of a run, of any `serde` value that is a map or a struct.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Config {
    values: Map<String, Value>,
    /// Why a value could not be taken.
    misuse: Option<String>,
}

impl Config {
    /// Takes over the fields of a value; those that are there already are overwritten.
    pub(crate) fn extend(&mut self, settings: &impl Serialize) {
        match serde_json::to_value(settings) {
            Ok(Value::Object(fields)) => self.values.extend(fields),
            Ok(Value::Null) => {}
            Ok(other) => {
                let kind = match other {
                    Value::Array(_) => "a list",
                    Value::String(_) => "a text",
                    _ => "a number",
                };
                self.misuse = Some(format!("`.config(..)` takes a struct or a map, not {kind}: give the value a name"));
            }
            Err(error) => self.misuse = Some(format!("`.config(..)` cannot be written as JSON: {error}")),
        }
    }

    /// One more setting, unless there is one of that name.
    pub(crate) fn add(&mut self, name: &str, value: impl Into<Value>) {
        self.values.entry(name).or_insert_with(|| value.into());
    }

    pub(crate) fn misuse(&self) -> Option<&str> {
        self.misuse.as_deref()
    }

    /// By name.
    #[must_use]
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// As a list of names like `optimizer/betas/0`, for trackers that know no nested values.
    #[must_use]
    pub fn flat(&self) -> Vec<(String, Value)> {
        let mut all = Vec::new();
        for (name, value) in &self.values {
            flatten(name.clone(), value, &mut all);
        }
        all
    }
}

fn flatten(name: String, value: &Value, all: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(field, value)| flatten(format!("{name}/{field}"), value, all));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(i, value)| flatten(format!("{name}/{i}"), value, all));
        }
        _ => all.push((name, value.clone())),
    }
}
