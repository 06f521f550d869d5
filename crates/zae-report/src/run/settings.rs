//! [`Settings`]: what a program was told, to be shown beside what the trainer was.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::arguments;

/// Settings by names like `optimizer/betas/0`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) values: BTreeMap<String, String>,
    /// Why some could not be taken.
    pub(crate) misuse: Option<String>,
}

impl Settings {
    /// Takes over the fields of a value; those that are there already are overwritten.
    pub(crate) fn extend(&mut self, settings: &impl Serialize) {
        match serde_json::to_value(settings) {
            Ok(Value::Object(fields)) => fields.iter().for_each(|(name, value)| self.flatten(name.clone(), value)),
            Ok(Value::Null) => {}
            Ok(_) => {
                self.misuse = Some("`.config(..)` takes a struct or a map: give the value a name".to_owned());
            }
            Err(error) => self.misuse = Some(format!("`.config(..)` cannot be written as JSON: {error}")),
        }
    }

    fn flatten(&mut self, name: String, value: &Value) {
        let text = match value {
            Value::Object(fields) if !fields.is_empty() => {
                return fields.iter().for_each(|(field, value)| self.flatten(format!("{name}/{field}"), value));
            }
            Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                return items.iter().enumerate().for_each(|(i, value)| self.flatten(format!("{name}/{i}"), value));
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let text = if arguments::is_secret(&name) { "[redacted]".to_owned() } else { arguments::without_secret(&text) };
        self.values.insert(name, text);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_flat_and_without_secrets() {
        let mut settings = Settings::default();
        let given = json!({"lr": 0.1, "layers": [1, 2], "adam": {"eps": 1e-8, "groups": [{"decay": 0}]},
            "name": "x", "empty": {}, "api_key": "k", "none": null});
        settings.extend(&given);
        let expected = [
            ("adam/eps", "1e-8"),
            ("adam/groups/0/decay", "0"),
            ("api_key", "[redacted]"),
            ("empty", "{}"),
            ("layers", "[1,2]"),
            ("lr", "0.1"),
            ("name", "x"),
            ("none", "null"),
        ];
        let found = settings.values.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        assert!(found.eq(expected), "{settings:?}");
        assert_eq!(settings.misuse, None);
        settings.extend(&3);
        assert!(settings.misuse.is_some_and(|misuse| misuse.contains("give the value a name")));
    }
}
