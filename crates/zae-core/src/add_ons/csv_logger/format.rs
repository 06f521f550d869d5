//! Numbers and names by the rules of CSV.

use std::io::Write;

/// The columns that every row has.
pub(super) const FIXED: [&str; 7] = ["event", "epoch", "step", "micro_batch", "samples", "seconds", "lr"];

/// Appends a number in the shortest form that parses to the same bits.
pub(super) fn number(line: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    // Writing to a `Vec` cannot fail. `{}` never uses an exponent, `{:?}` does where that is shorter.
    let _ =
        if (1e-5..1e16).contains(&size) || size == 0.0 { write!(line, "{value}") } else { write!(line, "{value:?}") };
}

/// Appends a name, quoted if it has to be.
pub(super) fn name(line: &mut Vec<u8>, name: &str) {
    if name.contains([',', '"', '\n', '\r']) {
        let _ = write!(line, "\"{}\"", name.replace('"', "\"\""));
    } else {
        line.extend_from_slice(name.as_bytes());
    }
}

/// The header of a file with these columns behind the fixed ones.
pub(super) fn header<'a>(columns: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut line = Vec::new();
    for (i, column) in FIXED.into_iter().chain(columns).enumerate() {
        if i > 0 {
            line.push(b',');
        }
        name(&mut line, column);
    }
    line.push(b'\n');
    line
}

/// Whether a header ends here: its last line break is not within quotes.
pub(super) fn is_whole(header: &[u8]) -> bool {
    header.ends_with(b"\n") && header.iter().filter(|byte| **byte == b'"').count().is_multiple_of(2)
}

/// Reads a header: the columns behind the fixed ones, if it is one of ours.
pub(super) fn parse_header(header: &[u8]) -> Option<Vec<String>> {
    let header = std::str::from_utf8(header).ok()?;
    let header = header.strip_suffix('\n')?;
    let header = header.strip_suffix('\r').unwrap_or(header);
    let mut names = vec![String::new()];
    let (mut quoted, mut closed) = (false, false);
    for c in header.chars() {
        let name = names.last_mut()?;
        match c {
            '"' if quoted => (quoted, closed) = (false, true),
            '"' => {
                // Two in a row are one that belongs to the name.
                if closed {
                    name.push('"');
                }
                (quoted, closed) = (true, false);
            }
            ',' if !quoted => {
                closed = false;
                names.push(String::new());
            }
            c => name.push(c),
        }
    }
    let rest = names.split_off(FIXED.len().min(names.len()));
    (names == FIXED).then_some(rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn numbers_return_their_bits() {
        let mut rng = 0x9e37_79b9_7f4a_7c15u64;
        let random = (0..10_000).map(|_| {
            rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from_bits(rng)
        });
        let special =
            [0.0, -0.0, 1.0, 0.1 + 0.2, 5e-324, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, f64::NEG_INFINITY];
        for value in random.chain(special).filter(|value| !value.is_nan()) {
            let mut text = Vec::new();
            number(&mut text, value);
            let text = String::from_utf8(text).unwrap();
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
        }
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (32.0, "32"),
            (1e-7, "1e-7"),
            (1e300, "1e300"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
            (0.5, "0.5"),
        ];
        for (value, expected) in cases {
            let mut text = Vec::new();
            number(&mut text, value);
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
    }

    #[test]
    fn headers_with_any_name_come_back() {
        let names = ["train/loss", "a,b", "say \"hi\"", "\"", "two\nlines", "end\r", ""];
        let line = header(names.into_iter());
        assert!(is_whole(&line));
        assert_eq!(parse_header(&line).unwrap(), names);
        assert!(!is_whole(b"event,\"two\n"));
        assert_eq!(parse_header(b"event,epoch,step,micro_batch,samples,seconds,lr,x\r\n").unwrap(), ["x"]);
        assert_eq!(parse_header(b"epoch,loss\n"), None);
        assert_eq!(parse_header(b"event,epoch,step,micro_batch,samples,seconds,lr,\xff\n"), None);
    }
}
