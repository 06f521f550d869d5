//! JSON as YAML, for `config.yaml`.

use serde_json::Value;

/// An object as YAML. Keys and texts are in quotes, as in JSON: so no text is taken for a number or a truth.
pub(super) fn yaml(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0);
    out
}

fn write(out: &mut String, value: &Value, depth: usize) {
    let indent = "    ".repeat(depth);
    let mut add = |head: String, value: &Value| {
        out.push_str(&indent);
        out.push_str(&head);
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                out.push('\n');
                write(out, value, depth + 1);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                write(out, value, depth + 1);
            }
            _ => out.push_str(&format!(" {value}\n")),
        }
    };
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| add(format!("{}:", Value::from(&**name)), value));
        }
        Value::Array(items) => items.iter().for_each(|value| add("-".to_owned(), value)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_as_people_write_it() {
        let value = json!({"a": {"value": [1, [2.5, "x: y\n"], {}]}, "n": null, "no": "no"});
        let text = concat!(
            "\"a\":\n    \"value\":\n        - 1\n        -\n            - 2.5\n            - \"x: y\\n\"\n        - {}\n",
            "\"n\": null\n\"no\": \"no\"\n"
        );
        assert_eq!(yaml(&value), text);
    }
}
