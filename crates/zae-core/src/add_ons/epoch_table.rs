//! [`EpochTable`]: a table of epochs at the end of a run.

use std::{
    collections::BTreeSet,
    io::Write,
    sync::{Mutex, PoisonError},
};

use super::text;
use crate::{
    add_on::{AddOn, Context, Phase},
    error::Fallible,
    metrics::{Direction, EpochSummary},
    trainer::Run,
};

/// More epochs than this are shortened to the first and the last ones.
const MOST_ROWS: usize = 50;
/// The metric by which an epoch is the best.
const JUDGE: &str = "valid/loss";

/// Writes a table of all epochs to standard error when a run ends, those before a resume included. Epochs are counted
/// from 1, as in the progress bar. The one with the best validation loss is marked. Its columns are the metrics of the task
/// (`train/..`, `valid/..`): what add-ons log under other names is in the files.
///
/// ```
/// use zae_core::add_ons::EpochTable;
/// let table = EpochTable::new();
/// ```
pub struct EpochTable {
    out: Mutex<Box<dyn Write + Send>>,
}

impl Default for EpochTable {
    fn default() -> Self {
        Self::new()
    }
}

impl EpochTable {
    /// Writes to standard error.
    #[must_use]
    pub fn new() -> Self {
        Self::to(std::io::stderr())
    }

    /// Writes to something else.
    #[must_use]
    pub fn to(out: impl Write + Send + 'static) -> Self {
        Self { out: Mutex::new(Box::new(out)) }
    }
}

impl AddOn for EpochTable {
    /// Comes after `progress-bar` in the order of add-ons, which is that of names: the bar has been taken off the console
    /// when the table is written.
    fn name(&self) -> &'static str {
        "table-of-epochs"
    }

    fn phase(&self) -> Phase {
        Phase::Report
    }

    fn leaves_traces(&self) -> bool {
        false
    }

    fn on_run_end(&mut self, run: &Run, _: &mut Context<'_>) -> Fallible {
        if !run.history.epochs.is_empty() {
            let out = self.out.get_mut().unwrap_or_else(PoisonError::into_inner);
            // A console that is gone is no reason to fail a run.
            let table = table(&run.history.epochs, &text::sets(&run.history));
            let _ = out.write_all(table.as_bytes()).and_then(|()| out.flush());
        }
        Ok(())
    }
}

/// `sets` are the names of the data that the run was evaluated on.
fn table(epochs: &[EpochSummary], sets: &BTreeSet<&str>) -> String {
    let names: BTreeSet<&str> = epochs
        .iter()
        .flat_map(|epoch| epoch.metrics.keys().map(String::as_str))
        .filter(|name| text::is_of_task(name, sets))
        .collect();
    let first = ["train/loss", JUDGE];
    let metrics: Vec<&str> = first
        .into_iter()
        .filter(|name| names.contains(name))
        .chain(names.iter().copied().filter(|n| !first.contains(n)))
        .collect();
    let best = best(epochs);
    let mut rows = vec![header(&metrics)];
    // Half of the rows from each end; the best epoch is named below in any case.
    let (head, tail) = if epochs.len() > MOST_ROWS { (MOST_ROWS / 2, MOST_ROWS / 2) } else { (epochs.len(), 0) };
    let mut before = 0.0;
    for (i, epoch) in epochs.iter().enumerate() {
        if i < head || i >= epochs.len() - tail {
            rows.push(row(epoch, before, &metrics, best == Some(i)));
        } else if i == head {
            rows.push(vec!["...".to_owned()]);
        }
        before = epoch.seconds;
    }
    let mut out = aligned(&rows);
    if let Some(i) = best {
        let (epoch, value) = (epochs[i].epoch + 1, text::short(epochs[i].metrics[JUDGE]));
        out.push_str(&format!("* best {JUDGE}: {value}, epoch {epoch}\n"));
    }
    out
}

fn best(epochs: &[EpochSummary]) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (i, epoch) in epochs.iter().enumerate() {
        let Some(&value) = epoch.metrics.get(JUDGE) else { continue };
        let is_gain = best.map_or(!value.is_nan(), |(_, best)| Direction::Minimize.is_gain(value, best, 0.0));
        if is_gain {
            best = Some((i, value));
        }
    }
    best.map(|(i, _)| i)
}

fn header(metrics: &[&str]) -> Vec<String> {
    ["epoch"].into_iter().chain(metrics.iter().copied()).chain(["lr", "seconds"]).map(str::to_owned).collect()
}

fn row(epoch: &EpochSummary, before: f64, metrics: &[&str], is_best: bool) -> Vec<String> {
    let mut row = vec![format!("{}{}", if is_best { "* " } else { "" }, epoch.epoch + 1)];
    row.extend(metrics.iter().map(|name| epoch.metrics.get(*name).map_or_else(String::new, |v| text::short(*v))));
    row.push(text::setting(epoch.lr));
    row.push(format!("{:.1}", epoch.seconds - before));
    row
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|row| row.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            out.push_str(&format!("{}{cell:>width$}", if i > 0 { "  " } else { "" }));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETS: [&str; 1] = ["valid"];

    fn epochs(n: u64) -> Vec<EpochSummary> {
        let epoch = |epoch: u64| EpochSummary {
            epoch,
            metrics: [
                ("train/loss".to_owned(), 1.0 / (epoch + 1) as f64),
                ("valid/accuracy".to_owned(), 0.25),
                ("valid/loss".to_owned(), (epoch as f64 - 1.0).abs()),
            ]
            .into(),
            lr: 1e-3,
            seconds: 2.0 * (epoch + 1) as f64,
            ..EpochSummary::default()
        };
        (0..n).map(epoch).collect()
    }

    #[test]
    fn columns_are_aligned_and_the_best_epoch_is_marked() {
        let mut epochs = epochs(3);
        epochs[2].metrics.remove("valid/accuracy");
        epochs[2].metrics.insert("grad_norm/total".to_owned(), 1.0);
        epochs[0].metrics.insert("valid/loss".to_owned(), f64::NAN);
        let expected = "\
epoch  train/loss  valid/loss  valid/accuracy     lr  seconds
    1       1.000         NaN          0.2500  0.001      2.0
  * 2      0.5000           0          0.2500  0.001      2.0
    3      0.3333       1.000                  0.001      2.0
* best valid/loss: 0, epoch 2
";
        assert_eq!(table(&epochs, &SETS.into()), expected);
    }

    #[test]
    fn a_long_run_is_shortened_in_the_middle() {
        let table = table(&epochs(1000), &SETS.into());
        assert_eq!(table.lines().count(), MOST_ROWS + 3);
        assert!(table.contains("\n  ...\n") && table.contains("\n   25 ") && table.contains("\n  976 "), "{table}");
        assert!(table.lines().all(|line| line.len() < 80));
    }
}
