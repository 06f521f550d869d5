//! Strings and numbers by the rules of JSON (RFC 8259).

use std::io::Write;

/// Appends a string with its quotes.
pub(super) fn string(text: &mut Vec<u8>, value: &str) {
    text.push(b'"');
    for byte in value.bytes() {
        // Writing to a `Vec` cannot fail.
        let _ = match byte {
            b'"' | b'\\' => text.write_all(&[b'\\', byte]),
            0..0x20 => write!(text, "\\u{byte:04x}"),
            _ => text.write_all(&[byte]),
        };
    }
    text.push(b'"');
}

/// Appends a number in a short form that parses to the same bits. JSON has none for what is not finite: that becomes the string
/// `"NaN"`, `"Infinity"` or `"-Infinity"`, as in the JSON of protocol buffers.
pub(super) fn number(text: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    let _ = if value.is_nan() {
        text.write_all(b"\"NaN\"")
    } else if value.is_infinite() {
        text.write_all(if value > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" })
    } else if (1e-5..1e16).contains(&size) || size == 0.0 {
        write!(text, "{value}")
    } else {
        write!(text, "{value:?}")
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut text = Vec::new();
        write(&mut text);
        String::from_utf8(text).unwrap()
    }

    proptest! {
        #[test]
        fn any_string_comes_back(value in any::<String>(), control in "[\\x00-\\x1f\"\\\\]*") {
            let value = value + &control;
            let text = written(|text| string(text, &value));
            prop_assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
        }

        #[test]
        fn any_finite_number_returns_its_bits(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = written(|text| number(text, value));
            prop_assert!(serde_json::from_str::<serde_json::Number>(&text).is_ok(), "{}", text);
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits);
        }
    }

    #[test]
    fn what_is_not_finite_is_a_string_that_most_languages_parse() {
        for (value, expected) in [(f64::NAN, "NaN"), (f64::INFINITY, "Infinity"), (f64::NEG_INFINITY, "-Infinity")] {
            let text = written(|text| number(text, value));
            assert_eq!(text, format!("\"{expected}\""));
            let parsed: f64 = expected.parse().unwrap();
            assert!(parsed == value || (parsed.is_nan() && value.is_nan()));
        }
    }
}
