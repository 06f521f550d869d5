//! Numbers and texts as W&B's JSON has them.

use std::borrow::Cow;

/// Appends a number: as Python writes it, NaN and infinities included, which W&B takes.
pub(super) fn number(out: &mut Vec<u8>, value: f64) {
    match value {
        _ if value.is_nan() => out.extend(b"NaN"),
        f64::INFINITY => out.extend(b"Infinity"),
        f64::NEG_INFINITY => out.extend(b"-Infinity"),
        // The shortest text of the same bits; writing to a `Vec` cannot fail.
        _ => drop(serde_json::to_writer(out, &value)),
    }
}

/// Appends a text in quotes.
pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    // A text can always be written.
    let _ = serde_json::to_writer(out, text);
}

/// Reads what [`number`] has written.
pub(super) fn parse(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}

/// A line of a run's history, or its summary. The values are taken as they are, for NaN and infinities are no JSON.
pub(super) fn line<'a>(items: impl Iterator<Item = (&'a str, &'a str)>, first_step: u64) -> String {
    if first_step == 0 {
        return object(items);
    }
    let all: Vec<_> = items.map(|(name, json)| (name, step(name, json, first_step))).collect();
    object(all.iter().map(|(name, json)| (*name, &**json)))
}

/// A value; if it is a `_step`, that many more.
pub(super) fn step<'a>(name: &str, json: &'a str, first_step: u64) -> Cow<'a, str> {
    if name != "_step" {
        return json.into();
    }
    (json.parse::<f64>().unwrap_or(0.0) as u64 + first_step).to_string().into()
}

fn object<'a>(items: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = b"{".to_vec();
    for (i, (name, json)) in items.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        text(&mut out, name);
        out.push(b':');
        out.extend_from_slice(json.as_bytes());
    }
    out.push(b'}');
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_return_their_bits(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let mut text = Vec::new();
            number(&mut text, value);
            let text = String::from_utf8(text).unwrap();
            let back = parse(&text).unwrap();
            prop_assert!(back.to_bits() == bits || (back.is_nan() && value.is_nan()));
            if value.is_finite() {
                let read: f64 = serde_json::from_str(&text).unwrap();
                prop_assert!((read - value).abs() <= value.abs() * 1e-15);
            }
        }
    }
}
