//! Reading `metrics.jsonl`.

use std::{
    borrow::Cow,
    fmt,
    io::{self, BufRead},
};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};

use super::log::{Event, Head, Log};

/// How every line begins.
const BEGINNING: &[u8] = b"{\"event\":\"";

/// Reads all rows; `None` if it is no log of ours. A row that is being written, or was when its process was killed, is left out.
pub(super) fn read(file: &mut impl BufRead) -> io::Result<Option<Log>> {
    // Less than a row may be all that there is yet.
    if !file.fill_buf()?.iter().zip(BEGINNING).all(|(there, ours)| there == ours) {
        return Ok(None);
    }
    let (mut log, mut line, mut cells) = (Log::default(), Vec::new(), Vec::new());
    loop {
        line.clear();
        file.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok(Some(log));
        }
        match serde_json::from_slice::<Line<'_>>(&line) {
            Ok(Line { head, numbers }) => {
                cells.clear();
                cells.extend(numbers.into_iter().map(|(name, value)| (log.column(&name), value)));
                log.push(head, &cells);
            }
            Err(_) => log.unreadable += 1,
        }
    }
}

struct Line<'a> {
    head: Head,
    numbers: Vec<(Cow<'a, str>, f64)>,
}

/// Numbers, and the words for those that JSON has not.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number<'a> {
    Number(f64),
    Word(#[serde(borrow)] Cow<'a, str>),
}

impl Number<'_> {
    fn value<E: de::Error>(&self) -> Result<f64, E> {
        match self {
            Self::Number(value) => Ok(*value),
            Self::Word(word) => word.parse().map_err(|_| E::custom("no number")),
        }
    }
}

impl<'de> Deserialize<'de> for Line<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Line<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Line<'de>, A::Error> {
        let (mut event, mut epoch, mut step, mut seconds) = (None, None, None, 0.0);
        let mut numbers = Vec::new();
        while let Some(name) = fields.next_key::<Text<'de>>()? {
            match &*name.0 {
                "event" => event = Event::of(&fields.next_value::<Text<'_>>()?.0),
                "epoch" => epoch = Some(fields.next_value()?),
                "step" => step = Some(fields.next_value()?),
                "seconds" => seconds = fields.next_value::<Number<'_>>()?.value()?,
                "micro_batch" | "samples" => _ = fields.next_value::<de::IgnoredAny>()?,
                _ => numbers.push((name.0, fields.next_value::<Number<'_>>()?.value()?)),
            }
        }
        let missing = || de::Error::custom("a row lacks what every row has");
        let (event, epoch, step) = (event.ok_or_else(missing)?, epoch.ok_or_else(missing)?, step.ok_or_else(missing)?);
        Ok(Line { head: Head { event, epoch, step, seconds }, numbers })
    }
}

/// Borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const ROWS: &str = "\
{\"event\":\"step\",\"epoch\":0,\"step\":0,\"micro_batch\":0,\"samples\":8,\"seconds\":0.5,\"lr\":0.1,\"train/loss\":\"NaN\"}
{\"event\":\"evaluation\",\"epoch\":0,\"step\":1,\"samples\":8,\"seconds\":1,\"lr\":0.1,\"valid/\\\"loss\\u0007\":0.30000000000000004}
";

    #[test]
    fn rows_return_their_exact_numbers() {
        let log = read(&mut ROWS.as_bytes()).unwrap().unwrap();
        assert_eq!(log.names, ["lr", "train/loss", "valid/\"loss\u{7}"]);
        let value = log.series("valid/\"loss\u{7}", Event::Evaluation).unwrap().stats.last.unwrap().value;
        assert_eq!(value.to_bits(), (0.1f64 + 0.2).to_bits());
        assert_eq!(log.series("train/loss", Event::Step).unwrap().odd_count, 1);
    }

    #[test]
    fn a_torn_log_is_read_as_far_as_it_goes() {
        let first = ROWS.find('\n').unwrap() + 1;
        for cut in 0..=ROWS.len() {
            let log = read(&mut &ROWS.as_bytes()[..cut]).unwrap().unwrap();
            assert_eq!(log.steps + log.evaluations.rows, u64::from(cut >= first) + u64::from(cut == ROWS.len()));
        }
    }

    #[test]
    fn a_row_that_makes_no_sense_costs_that_row() {
        let odd = "{\"event\":\"step\",\"epoch\":0}\n{\"event\":\"step\",\"epoch\":0,\"step\":1,\"x\":\"y\"}\n[]\n\n";
        let log = read(&mut format!("{ROWS}{odd}{ROWS}").as_bytes()).unwrap().unwrap();
        assert_eq!((log.steps, log.unreadable), (2, 4));
        assert!(read(&mut &b"{\"loss\":1}\n"[..]).unwrap().is_none());
    }
}
