//! The Trace Event Format of Chrome, as JSON: complete events (`ph: X`) with times in microseconds.
//! <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>

use std::{
    cmp::Reverse,
    fs::{self, File},
    io::{BufWriter, IntoInnerError, Write},
    path::Path,
    time::Duration,
};

use super::{
    super::{json, log_file::sibling},
    tape::{Recorded, Span, What},
};
use crate::error::{Fallible, Stage};

/// Writes a trace beside its place, then puts it there: a file of that name is whole.
pub(super) fn write(path: &Path, recorded: &Recorded, rank: usize) -> Fallible {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(dir)?;
    }
    let beside = sibling(path);
    let written = (|| {
        let mut out = BufWriter::new(File::create(&beside)?);
        trace(&mut out, recorded, rank)?;
        out.into_inner().map_err(IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    Ok(written?)
}

fn trace(out: &mut impl Write, recorded: &Recorded, rank: usize) -> std::io::Result<()> {
    let mut spans: Vec<&Span> = recorded.spans.iter().collect();
    // What is around others comes first.
    spans.sort_by_key(|span| (span.from, Reverse(span.to), !matches!(span.what, What::Step | What::Evaluation)));
    let zero = spans.first().map_or(Duration::ZERO, |span| span.from);
    write!(
        out,
        "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n\
         {{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":{rank},\"tid\":0,\"args\":{{\"name\":\"rank {rank}\"}}}},\n\
         {{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":{rank},\"tid\":0,\"args\":{{\"name\":\"training thread\"}}}}"
    )?;
    let mut text = Vec::new();
    for span in spans {
        let Span { step, micro_batch, from, to, .. } = *span;
        text.clear();
        text.extend_from_slice(b",\n{\"name\":");
        let (name, category) = label(span, recorded);
        json::string(&mut text, &name);
        let (ts, dur) = (micros(from.saturating_sub(zero)), micros(to.saturating_sub(from)));
        write!(
            text,
            ",\"cat\":\"{category}\",\"ph\":\"X\",\"ts\":{ts},\"dur\":{dur},\"pid\":{rank},\"tid\":0,\
             \"args\":{{\"step\":{step},\"micro_batch\":{micro_batch}}}}}"
        )?;
        out.write_all(&text)?;
    }
    out.write_all(b"\n]}\n")
}

/// Microseconds, to the nanosecond.
fn micros(time: Duration) -> String {
    format!("{}.{:03}", time.as_micros(), time.subsec_nanos() % 1000)
}

/// A span's name, and its sort.
fn label(span: &Span, recorded: &Recorded) -> (String, &'static str) {
    match span.what {
        What::Step => (format!("step {}", span.step), "step"),
        What::Evaluation => ("evaluation".to_owned(), "evaluation"),
        What::Exchange => ("exchange with other processes".to_owned(), "exchange"),
        What::Hook(add_on, hook) => (format!("{}: {hook}", recorded.add_ons[add_on]), "add_on"),
        What::Stage(stage) => {
            let name = match stage {
                Stage::Data | Stage::PassData => "data",
                Stage::Place => "place",
                Stage::TrainStep => "forward",
                Stage::Backward => "backward",
                Stage::Update => "update",
                Stage::Read => "read",
                Stage::Snapshot => "snapshot",
                Stage::TestStep => "test_step",
                Stage::Predict => "predict",
                Stage::AddOn => "add-ons",
                Stage::Average => "average of weights",
                Stage::Start | Stage::Device => "start",
            };
            (name.to_owned(), "trainer")
        }
    }
}
