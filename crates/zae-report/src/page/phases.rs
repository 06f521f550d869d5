//! What a run spent its time on, as `SimpleProfiler` has measured it epoch by epoch.

use super::{
    run_cell, section, table,
    text::{Text, duration},
};
use crate::read::{Event, Run, Runs};

/// What the names of its numbers begin with.
const PREFIX: &str = "meter/time/";

pub(super) fn html(runs: &Runs) -> String {
    let measured: Vec<(usize, Vec<(&str, f64)>)> =
        runs.0.iter().enumerate().map(|(i, run)| (i, times(run))).filter(|(_, times)| !times.is_empty()).collect();
    if measured.is_empty() {
        return String::new();
    }
    let sum = |times: &[(&str, f64)]| times.iter().map(|(_, seconds)| seconds).sum::<f64>();
    // What took the longest of all runs is first.
    let mut names: Vec<(&str, f64)> = Vec::new();
    for (name, seconds) in measured.iter().flat_map(|(_, times)| times) {
        match names.iter_mut().find(|(known, _)| known == name) {
            Some((_, all)) => *all += seconds,
            None => names.push((name, *seconds)),
        }
    }
    names.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut rows = String::new();
    let mut row = |class: &str, head: &str, run: usize, seconds: f64, share: f64| {
        rows.push_str(&format!(
            "<tr{class}>{head}{}<td class=\"n\">{}</td><td class=\"n\">{share:.1} %</td><td class=\"bar\"><i class=\"c{}\" \
             style=\"width:{share:.1}%\"></i></td></tr>\n",
            run_cell(runs, run),
            duration(seconds),
            run % 8,
        ));
    };
    for (name, _) in names.iter().copied().chain([("", 0.0)]) {
        let found = measured.iter().filter_map(|(run, times)| {
            let all = sum(times);
            let own = times.iter().find(|(known, _)| *known == name).map(|(_, seconds)| *seconds);
            let own = if name.is_empty() { Some(all) } else { own };
            own.map(|own| (*run, own, if all > 0.0 { 100.0 * own / all } else { 0.0 }))
        });
        let found: Vec<_> = found.collect();
        let (class, title) = if name.is_empty() { (" class=\"total\"", "in all") } else { ("", what(name)) };
        for (place, (run, seconds, share)) in found.iter().enumerate() {
            let head = if place == 0 {
                format!("<th scope=\"rowgroup\" rowspan=\"{}\">{}</th>", found.len(), Text(title))
            } else {
                String::new()
            };
            row(class, &head, *run, *seconds, *share);
        }
    }
    let run = if runs.0.len() > 1 { "<th>run</th>" } else { "" };
    let head = format!("<th>phase</th>{run}<th class=\"n\">time</th><th class=\"n\">share</th><th class=\"bar\"></th>");
    let what = "<p class=\"muted\">Time of the host, within epochs. On a GPU it waits for all passes where losses are read.</p>\n";
    section("Phases", true, &(table("phases", &head, &rows) + what))
}

/// Names without what all have in common, and seconds over all epochs.
fn times(run: &Run) -> Vec<(&str, f64)> {
    let own = run.log.names.iter().filter_map(|name| {
        let seconds = run.log.series(name, Event::Epoch)?.stats.sum;
        Some((name.strip_prefix(PREFIX)?, seconds))
    });
    own.filter(|(_, seconds)| *seconds > 0.0).collect()
}

fn what(name: &str) -> &str {
    match name {
        "data" => "waiting for data",
        "place" => "placing batches",
        "step" => "optimizer step",
        "read" => "reading from the device",
        "exchange" => "other processes",
        "add_ons" => "add-ons",
        "snapshot" => "snapshots",
        other => other,
    }
}
