//! Reading `metrics.csv`.

use std::{
    io::{self, BufRead, Read},
    str,
};

use super::log::{Event, Head, Log};

/// A header longer than this is none.
const LONGEST_HEADER: u64 = 1 << 20;
/// What a column is that is none of a metric.
const FIXED: [&str; 6] = ["event", "epoch", "step", "micro_batch", "samples", "seconds"];

/// Reads all rows; `None` if it is no log of ours. A row that is being written, or was when its process was killed, is left out.
pub(super) fn read(file: &mut impl BufRead) -> io::Result<Option<Log>> {
    let mut line = Vec::new();
    let mut head = file.take(LONGEST_HEADER);
    // A name may have a line break in it.
    while head.read_until(b'\n', &mut line)? > 0 && !is_whole(&line) {}
    if line.is_empty() {
        return Ok(Some(Log::default()));
    }
    let Some(names) =
        str::from_utf8(&line).ok().map(header).filter(|names| names.starts_with(&FIXED.map(str::to_owned)))
    else {
        return Ok(None);
    };
    let mut log = Log::default();
    let columns: Vec<usize> = names[FIXED.len()..].iter().map(|name| log.column(name)).collect();
    let mut cells = Vec::new();
    loop {
        line.clear();
        file.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok(Some(log));
        }
        match str::from_utf8(&line).ok().and_then(|line| row(line, &columns, &mut cells)) {
            Some(head) => log.push(head, &cells),
            None => log.unreadable += 1,
        }
    }
}

fn is_whole(header: &[u8]) -> bool {
    header.ends_with(b"\n") && header.iter().filter(|byte| **byte == b'"').count().is_multiple_of(2)
}

/// The names of a header (RFC 4180).
fn header(line: &str) -> Vec<String> {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let mut names = vec![String::new()];
    let (mut quoted, mut closed) = (false, false);
    for c in line.chars() {
        if c == ',' && !quoted {
            closed = false;
            names.push(String::new());
            continue;
        }
        let Some(name) = names.last_mut() else { continue };
        if c != '"' {
            name.push(c);
        } else if quoted {
            (quoted, closed) = (false, true);
        } else {
            // Two in a row are one that belongs to the name.
            if closed {
                name.push('"');
            }
            (quoted, closed) = (true, false);
        }
    }
    names
}

/// A row: its numbers that are there go to `cells`.
fn row(line: &str, columns: &[usize], cells: &mut Vec<(usize, f64)>) -> Option<Head> {
    let mut fields = line.trim_end_matches(['\n', '\r']).split(',');
    let mut next = || fields.next();
    let event = Event::of(next()?)?;
    let (epoch, step) = (next()?.parse().ok()?, next()?.parse().ok()?);
    let [_, _, seconds] = [next()?, next()?, next()?];
    let head = Head { event, epoch, step, seconds: seconds.parse().ok()? };
    cells.clear();
    let mut columns = columns.iter();
    for field in fields {
        let column = *columns.next()?;
        if !field.is_empty() {
            cells.push((column, field.parse().ok()?));
        }
    }
    columns.next().is_none().then_some(head)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HEADER: &str = "event,epoch,step,micro_batch,samples,seconds,lr,train/loss,\"a,\"\"b\"\"\"\n";

    fn read_text(text: &str) -> Option<Log> {
        read(&mut text.as_bytes()).unwrap()
    }

    #[test]
    fn rows_of_every_event_and_numbers_of_every_sort() {
        let rows = "step,0,0,0,32,0.5,0.1,NaN,1\nstep,0,1,1,64,1,0.1,-inf,\nevaluation,0,2,,64,2,,,7\nepoch,0,2,,64,2,0.1,3,\n";
        let log = read_text(&format!("{HEADER}{rows}")).unwrap();
        assert_eq!(log.names, ["lr", "train/loss", "a,\"b\""]);
        assert_eq!(log.series("train/loss", Event::Step).unwrap().odd_count, 2);
        assert_eq!(log.series("a,\"b\"", Event::Step).unwrap().stats.points, 1);
        assert_eq!(log.series("a,\"b\"", Event::Evaluation).unwrap().stats.last.unwrap().value, 7.0);
        assert_eq!((log.epochs.rows, log.evaluations.rows, log.unreadable), (1, 1, 0));
    }

    /// A run that is going on, or was killed: cut at any byte, it is read up to the last whole row.
    #[test]
    fn a_torn_log_is_read_as_far_as_it_goes() {
        let row = "step,0,0,0,32,0.5,0.1,0.25,1\n";
        let whole = format!("{HEADER}{row}{row}");
        for cut in 0..=whole.len() {
            match read_text(&whole[..cut]) {
                None => assert!((1..HEADER.len()).contains(&cut), "{cut}"),
                Some(log) => {
                    assert_eq!(log.steps as usize, cut.saturating_sub(HEADER.len()) / row.len(), "{cut}");
                    assert_eq!(log.unreadable, 0);
                }
            }
        }
    }

    #[test]
    fn a_row_that_makes_no_sense_costs_that_row() {
        let rows =
            "step,0,0,0,32,0.5,0.1,0.25,1\nstep,0,x,0\n\u{0}\nwhat,0,0,0,0,0,0,0,0\nstep,0,1,0,32,0.5,0.1,0.25,1,9\n";
        let log = read_text(&format!("{HEADER}{rows}step,0,2,0,32,0.5,0.1,0.25,1\n")).unwrap();
        assert_eq!((log.steps, log.unreadable), (2, 4));
    }

    #[test]
    fn another_table_is_no_log() {
        assert!(read_text("epoch,loss\n0,1\n").is_none());
        assert!(read(&mut &b"event,epoch\xff\n"[..]).unwrap().is_none());
        let names = "event,epoch,step,micro_batch,samples,seconds,\"two\nlines\"\n";
        assert_eq!(read_text(names).unwrap().names, ["two\nlines"]);
    }
}
