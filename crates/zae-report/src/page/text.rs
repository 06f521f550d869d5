//! Texts and numbers as they stand in HTML.

use std::fmt;

/// A text that cannot be taken for HTML, within an element or a quoted attribute.
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            // HTML has no place for it, in any form.
            '\0' => f.write_str("\u{fffd}"),
            c => write!(f, "{c}"),
        })
    }
}

/// JSON that can stand within a `script` element: there, nothing is escaped, and only `<` could end it.
pub(super) fn json_in_script(json: &str) -> String {
    // Within JSON it is part of strings only.
    json.replace('<', "\\u003c")
}

/// Six significant digits, which is what people compare.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    if !(1e-4..1e7).contains(&size) {
        let text = format!("{value:.4e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", trimmed(digits));
    }
    let before = size.log10().floor() as i32 + 1;
    trimmed(&format!("{value:.*}", usize::try_from(6 - before).unwrap_or(0))).to_owned()
}

/// Without zeros that tell nothing.
fn trimmed(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

/// A table's cell with a number: the exact one is what the mouse shows and what is read from the attribute.
pub(super) fn cell(value: Option<f64>) -> String {
    let Some(value) = value else { return "<td class=\"n none\">–</td>".to_owned() };
    let short = short(value);
    if short.parse::<f64>().is_ok_and(|back| back == value) || value.is_nan() {
        return format!("<td class=\"n\">{short}</td>");
    }
    format!("<td class=\"n\" title=\"{value:?}\">{short}</td>")
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time as people say it.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{} s", trimmed(&format!("{seconds:.2}"))),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_breaks_out() {
        assert_eq!(Text("</script><b a=\"'&\0").to_string(), "&lt;/script&gt;&lt;b a=&quot;&#39;&amp;\u{fffd}");
        let json = serde_json::to_string("</script><!--").unwrap_or_default();
        let safe = json_in_script(&json);
        assert!(!safe.contains('<'));
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap_or_default(), "</script><!--");
    }

    #[test]
    fn numbers_are_short_and_the_exact_one_is_kept() {
        let cases = [
            (0.0, "0"),
            (-1.5, "-1.5"),
            (2.0 / 3.0, "0.666667"),
            (0.001_234_567_8, "0.00123457"),
            (123_456.78, "123457"),
            (1_234_567.0, "1234567"),
            (1e-5, "1e-5"),
            (1.234_56e-7, "1.2346e-7"),
            (1e20, "1e20"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
        assert_eq!(cell(Some(0.5)), "<td class=\"n\">0.5</td>");
        assert_eq!(cell(Some(2.0 / 3.0)), "<td class=\"n\" title=\"0.6666666666666666\">0.666667</td>");
        assert_eq!(cell(None), "<td class=\"n none\">–</td>");
    }

    #[test]
    fn times_are_as_people_say_them() {
        let cases = [(0.123, "0.12 s"), (59.0, "59 s"), (61.2, "1 min 01 s"), (3_725.0, "1 h 02 min"), (-1.0, "-1 s")];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
