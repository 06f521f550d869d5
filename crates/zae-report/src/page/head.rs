//! Which runs they are, and how each has ended.

use super::{
    swatch,
    text::{Text, duration, grouped},
};
use crate::{
    read::{Run, Runs},
    run::Ending,
};

pub(super) fn html(runs: &Runs, title: &str) -> String {
    let several = runs.0.len() > 1;
    let cards: String = runs.0.iter().enumerate().map(|(i, run)| card(run, several.then_some(i))).collect();
    format!(
        "<header>\n<p class=\"kind\">Training report</p>\n<h1>{}</h1>\n</header>\n<section class=\"runs\" aria-label=\"Runs\">\n\
         {cards}</section>\n",
        Text(title)
    )
}

fn card(run: &Run, index: Option<usize>) -> String {
    let Run { name, log, record, notes } = run;
    let of = |total: Option<u64>| total.map_or_else(String::new, |total| format!(" of {}", grouped(total)));
    let mut facts = vec![
        ("steps", format!("{}{}", grouped(log.reached.step), of(record.total_steps))),
        ("epochs", format!("{}{}", grouped(log.reached.epoch), of(record.total_epochs))),
        ("time", duration(log.reached.seconds)),
    ];
    if record.started > 0.0 {
        facts.push(("started", time(record.started)));
    }
    if record.ended > 0.0 {
        facts.push(("ended", time(record.ended)));
    } else if record.written > 0.0 {
        facts.push(("seen", time(record.written)));
    }
    if record.starts > 1 {
        facts.push(("processes so far", record.starts.to_string()));
    }
    let facts: String = facts.iter().map(|(name, text)| format!("<div><dt>{name}</dt><dd>{text}</dd></div>")).collect();
    let head = match index {
        None => String::new(),
        Some(i) => format!(
            "<label class=\"name\"><input type=\"checkbox\" checked data-toggle=\"{i}\">{}<span>{}</span></label>",
            swatch(i),
            Text(name)
        ),
    };
    let (class, word) = badge(record.ending);
    let badge = if word.is_empty() { String::new() } else { format!("<span class=\"badge {class}\">{word}</span>") };
    let reason = if record.reason.is_empty() {
        String::new()
    } else {
        format!("<p class=\"reason\">{}</p>", Text(&record.reason))
    };
    let notes: String = notes.iter().map(|note| format!("<p class=\"note\">{}</p>", Text(note))).collect();
    format!(
        "<article class=\"run\">\n<div class=\"line\">{head}{badge}</div>\n<dl>{facts}</dl>{reason}{notes}\n</article>\n"
    )
}

/// The script writes it in the reader's time zone.
fn time(seconds: f64) -> String {
    format!("<time data-ms=\"{:.0}\"></time>", seconds * 1e3)
}

fn badge(ending: Ending) -> (&'static str, &'static str) {
    match ending {
        Ending::Running => ("going", "running"),
        Ending::Complete => ("good", "complete"),
        Ending::Stopped => ("good", "stopped"),
        Ending::Interrupted => ("cut", "interrupted"),
        Ending::OutOfTime => ("cut", "out of time"),
        Ending::Failed => ("bad", "failed"),
        Ending::Unknown => ("", ""),
    }
}
