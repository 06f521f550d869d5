//! Tables of numbers: the best and last of each metric, epochs, evaluations.

use std::collections::BTreeSet;

use zae_core::metrics::Direction;

use super::{
    charts::sets,
    run_cell, section, swatch, table,
    text::{Text, cell, grouped},
};
use crate::read::{Point, Row, Run, Runs, Table};

/// The metric by which an epoch is the best.
const JUDGE: &str = "valid/loss";
/// A summary of more metrics than this is one of the task's alone.
const MOST_METRICS: usize = 60;
/// Cells of the tables of all runs.
const MOST_CELLS: usize = 8_000;

/// The best and last of each metric.
pub(super) fn summary(runs: &Runs) -> String {
    let sets = sets(runs);
    let mut names: BTreeSet<&str> = runs.0.iter().flat_map(|run| run.log.names.iter().map(String::as_str)).collect();
    if names.len() > MOST_METRICS {
        names.retain(|name| *name == "lr" || belongs(name, &sets));
    }
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_by_key(|name| (!belongs(name, &sets), *name));
    let mut rows = String::new();
    for name in names {
        // No norm of gradients is better than another.
        let is_judged = belongs(name, &sets) && !name.ends_with("/grad_norm");
        let direction = is_judged.then(|| Direction::of(name));
        let found: Vec<_> =
            runs.0.iter().enumerate().filter_map(|(i, run)| Some((i, run.log.summed_up(name)?.stats))).collect();
        let best = |stats: &crate::read::Stats| -> Option<Point> {
            match direction? {
                Direction::Minimize => stats.low,
                Direction::Maximize => stats.high,
            }
        };
        let values = || found.iter().filter_map(|(_, stats)| best(stats).map(|point| point.value));
        let better = |a: f64, b: f64| direction.is_some_and(|direction| direction.is_gain(a, b, 0.0));
        let winner = values().reduce(|a, b| if better(b, a) { b } else { a }).filter(|_| found.len() > 1);
        for (place, (run, stats)) in found.iter().enumerate() {
            let own = best(stats);
            let wins = own.is_some_and(|own| Some(own.value) == winner);
            let head = if place == 0 {
                format!("<th scope=\"rowgroup\" rowspan=\"{}\">{}</th>", found.len(), Text(name))
            } else {
                String::new()
            };
            let at = own.map_or_else(|| "–".to_owned(), |own| grouped(own.step));
            rows.push_str(&format!(
                "<tr{}>{head}{}{}<td class=\"n\">{at}</td>{}{}{}</tr>\n",
                if wins { " class=\"best\"" } else { "" },
                run_cell(runs, *run),
                cell(own.map(|own| own.value)),
                cell(stats.last.map(|last| last.value)),
                cell(stats.low.map(|low| low.value)),
                cell(stats.high.map(|high| high.value)),
            ));
        }
    }
    if rows.is_empty() {
        return section("Summary", true, "<p class=\"muted\">The log has no numbers yet.</p>\n");
    }
    let run = if runs.0.len() > 1 { "<th>run</th>" } else { "" };
    let head = format!(
        "<th>metric</th>{run}<th class=\"n\">best</th><th class=\"n\">at step</th><th class=\"n\">last</th>\
         <th class=\"n\">lowest</th><th class=\"n\">highest</th>"
    );
    let what = "<p class=\"muted\">Of what is measured in steps, epochs count: their means.</p>\n";
    section("Summary", true, &(table("summary", &head, &rows) + what))
}

/// Whether a metric is one of the task. What add-ons log may be dozens of numbers.
fn belongs(name: &str, sets: &BTreeSet<&str>) -> bool {
    name.split_once('/').is_some_and(|(set, _)| sets.contains(set))
}

/// The epochs of each run.
pub(super) fn epochs(runs: &Runs) -> String {
    let tables = each(runs, |run| {
        let names = columns(run, &run.log.epochs, true);
        let judged = run.log.names.iter().position(|name| name == JUDGE);
        let value = |row: &Row| row.cells.iter().find(|(column, _)| Some(*column) == judged).map(|(_, value)| *value);
        let best = run.log.epochs.iter().filter_map(value).reduce(f64::min);
        let is_best = |row: &Row| best.is_some() && value(row) == best;
        rows(runs, &run.log.epochs, &names, Some(&is_best))
    });
    if tables.is_empty() { String::new() } else { section("Epochs", true, &tables) }
}

/// The evaluations that no epoch repeats: within epochs, and on other data.
pub(super) fn evaluations(runs: &Runs) -> String {
    let tables = each(runs, |run| {
        let of_epochs: Vec<&Row> = run.log.epochs.iter().collect();
        let is_repeated = |row: &Row| {
            let same = |epoch: &&Row| epoch.head.step == row.head.step;
            let at = of_epochs.iter().find(|epoch| same(epoch));
            at.is_some_and(|epoch| {
                row.cells.iter().all(|(column, value)| {
                    epoch.cells.iter().any(|(own, other)| own == column && other.to_bits() == value.to_bits())
                })
            })
        };
        let others = run.log.evaluations.filtered(|row| !is_repeated(row));
        let names = columns(run, &others, false);
        rows(runs, &others, &names, None)
    });
    if tables.is_empty() { String::new() } else { section("Evaluations", true, &tables) }
}

/// A table for each run that has one; of several, only the first is open.
fn each(runs: &Runs, of: impl Fn(&Run) -> Option<String>) -> String {
    let all = runs.0.iter().enumerate().filter_map(|(i, run)| Some((i, run, of(run)?)));
    if runs.0.len() == 1 {
        return all.map(|(_, _, table)| table).collect();
    }
    let folded = all.map(|(i, run, table)| {
        let open = if i == 0 { " open" } else { "" };
        format!(
            "<details{open} data-run=\"{i}\"><summary>{}{}</summary>\n{table}</details>\n",
            swatch(i),
            Text(&run.name)
        )
    });
    folded.collect()
}

/// The metrics of the task in a table, the losses first, and of epochs the learning rate.
fn columns<'a>(run: &'a Run, table: &Table, of_epochs: bool) -> Vec<(usize, &'a str)> {
    let sets = run.log.sets();
    let there: BTreeSet<usize> = table.iter().flat_map(|row| row.cells.iter().map(|(column, _)| *column)).collect();
    let mut columns: Vec<_> = there.into_iter().map(|column| (column, run.log.names[column].as_str())).collect();
    columns.retain(|(_, name)| (*name == "lr" && of_epochs) || belongs(name, &sets));
    columns.sort_by_key(|(_, name)| {
        let first = ["train/loss", JUDGE].iter().position(|first| first == name);
        (*name == "lr", first.unwrap_or(2), *name)
    });
    columns
}

/// A row for each epoch, or for each evaluation, where nobody asks which is the best.
fn rows(
    runs: &Runs,
    table: &Table,
    columns: &[(usize, &str)],
    is_best: Option<&dyn Fn(&Row) -> bool>,
) -> Option<String> {
    let all: Vec<&Row> = table.iter().collect();
    if all.is_empty() {
        return None;
    }
    let width = columns.len() + 2 + usize::from(is_best.is_some());
    // Half of them from each end; what was left out before is between them.
    let most = (MOST_CELLS / runs.0.len() / width).max(10).min(all.len());
    let before = table.left_out().map_or(all.len(), |(before, _)| before);
    let head = most.div_ceil(2).min(before);
    let tail = if most == all.len() { all.len() - head } else { (most / 2).min(all.len() - head) };
    let left = table.rows - (head + tail) as u64;
    let mut text = String::new();
    for (i, row) in all[..head].iter().chain(&all[all.len() - tail..]).enumerate() {
        if i == head && left > 0 {
            let left = grouped(left);
            text.push_str(&format!("<tr class=\"gap\"><td colspan=\"{width}\">{left} more in the log</td></tr>\n"));
        }
        let best = is_best.is_some_and(|is_best| is_best(row));
        let (class, star) =
            if best { (" class=\"best\"", "<span title=\"the lowest valid/loss\">★ </span>") } else { ("", "") };
        let number = row.head.epoch + 1;
        let epoch = is_best.map_or_else(String::new, |_| format!("<th scope=\"row\" class=\"n\">{star}{number}</th>"));
        let value = |wanted: usize| row.cells.iter().find(|(column, _)| *column == wanted).map(|(_, value)| *value);
        let cells: String = columns.iter().map(|(column, _)| cell(value(*column))).collect();
        let (step, seconds) = (grouped(row.head.step), row.head.seconds);
        text.push_str(&format!(
            "<tr{class}>{epoch}<td class=\"n\">{step}</td>{cells}<td class=\"n\">{seconds:.1}</td></tr>\n"
        ));
    }
    let names: String = columns.iter().map(|(_, name)| format!("<th class=\"n\">{}</th>", Text(name))).collect();
    let epoch = if is_best.is_some() { "<th class=\"n\">epoch</th>" } else { "" };
    let head = format!("{epoch}<th class=\"n\">step</th>{names}<th class=\"n\">seconds</th>");
    Some(super::table("numbers", &head, &text))
}
