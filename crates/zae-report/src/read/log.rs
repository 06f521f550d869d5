//! [`Log`]: what a log holds, in a memory that does not grow with it.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::series::{Point, Series};

/// So many rows of a table are kept from its beginning, and as many from its end.
const KEPT: usize = 200;
/// So many places are known at which epochs begin.
const MOST_BEGINNINGS: usize = 1024;

/// What a row is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Event {
    #[default]
    Step,
    Evaluation,
    Epoch,
}

impl Event {
    const ALL: [Self; 3] = [Self::Step, Self::Evaluation, Self::Epoch];

    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "step" => Self::Step,
            "evaluation" => Self::Evaluation,
            "epoch" => Self::Epoch,
            _ => return None,
        })
    }
}

/// What every row has.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Head {
    pub(crate) event: Event,
    pub(crate) epoch: u64,
    pub(crate) step: u64,
    pub(crate) seconds: f64,
}

/// A row that is kept whole.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Row {
    pub(crate) head: Head,
    /// Values by column.
    pub(crate) cells: Vec<(usize, f64)>,
}

/// The first rows and the last ones.
#[derive(Clone, Default, Debug)]
pub(crate) struct Table {
    first: Vec<Row>,
    last: VecDeque<Row>,
    pub(crate) rows: u64,
}

/// All that a report needs of a log.
#[derive(Clone, Default, Debug)]
pub(crate) struct Log {
    pub(crate) names: Vec<String>,
    columns: HashMap<String, usize>,
    /// By column and event.
    series: Vec<[Series; 3]>,
    pub(crate) epochs: Table,
    pub(crate) evaluations: Table,
    /// Steps at which an epoch begins.
    pub(crate) beginnings: Vec<(u64, u64)>,
    /// Rows that could not be read.
    pub(crate) unreadable: u64,
    /// Steps that have a row.
    pub(crate) steps: u64,
    /// Steps done, epochs done and time spent, as far as the rows tell.
    pub(crate) reached: Head,
}

impl Table {
    fn push(&mut self, row: Row) {
        self.rows += 1;
        if self.first.len() < KEPT {
            self.first.push(row);
            return;
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(row);
    }

    /// The rows for which something holds, of those that are kept.
    pub(crate) fn filtered(&self, holds: impl Fn(&Row) -> bool) -> Self {
        let mut some = Self::default();
        self.iter().filter(|row| holds(row)).for_each(|row| some.push(row.clone()));
        some
    }

    /// Rows in order. Those that were left out are between the first and the last ones.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Row> {
        self.first.iter().chain(&self.last)
    }

    /// How many rows are before those that were left out, and how many those are.
    pub(crate) fn left_out(&self) -> Option<(usize, u64)> {
        let left = self.rows - (self.first.len() + self.last.len()) as u64;
        (left > 0).then_some((self.first.len(), left))
    }
}

impl Log {
    /// The column of a name.
    pub(crate) fn column(&mut self, name: &str) -> usize {
        if let Some(column) = self.columns.get(name) {
            return *column;
        }
        self.names.push(name.to_owned());
        self.series.push(Default::default());
        self.columns.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }

    /// Takes in a row.
    pub(crate) fn push(&mut self, head: Head, cells: &[(usize, f64)]) {
        for (column, value) in cells {
            let point = Point { step: head.step, seconds: head.seconds, value: *value };
            self.series[*column][head.event as usize].push(point);
        }
        let row = || Row { head, cells: cells.to_vec() };
        let (mut step, mut epoch) = (head.step, head.epoch);
        match head.event {
            Event::Step => {
                self.steps += 1;
                self.begins(head.step, head.epoch);
                step += 1;
            }
            Event::Evaluation => self.evaluations.push(row()),
            Event::Epoch => {
                self.epochs.push(row());
                epoch += 1;
                self.begins(step, epoch);
            }
        }
        let reached = &mut self.reached;
        (reached.step, reached.seconds) = (reached.step.max(step), reached.seconds.max(head.seconds));
        reached.epoch = reached.epoch.max(if head.event == Event::Epoch { epoch } else { 0 });
    }

    /// An epoch begins at this step, unless that is known.
    fn begins(&mut self, step: u64, epoch: u64) {
        if self.beginnings.last().is_some_and(|(_, known)| *known >= epoch) {
            return;
        }
        if self.beginnings.len() == MOST_BEGINNINGS {
            let mut even = false;
            self.beginnings.retain(|_| {
                even = !even;
                even
            });
        }
        self.beginnings.push((step, epoch));
    }

    /// A name's numbers in rows of an event, if there are any.
    pub(crate) fn series(&self, name: &str, event: Event) -> Option<&Series> {
        let series = &self.series[*self.columns.get(name)?][event as usize];
        (series.stats.points > 0).then_some(series)
    }

    /// The curve of a name: that of steps, else of evaluations, else of epochs. An epoch repeats what an evaluation has told.
    pub(crate) fn curve(&self, name: &str) -> Option<(Event, &Series)> {
        Event::ALL.into_iter().find_map(|event| Some((event, self.series(name, event)?)))
    }

    /// What sums a name up: of what is measured in steps and over epochs, the epochs. A single step tells little.
    pub(crate) fn summed_up(&self, name: &str) -> Option<&Series> {
        let of_steps = self.series(name, Event::Step).and_then(|_| self.series(name, Event::Epoch));
        of_steps.or_else(|| self.curve(name).map(|(_, series)| series))
    }

    /// The names of the data that was trained and evaluated on. An evaluation has a loss.
    pub(crate) fn sets(&self) -> BTreeSet<&str> {
        let evaluated = self.names.iter().filter(|name| self.series(name, Event::Evaluation).is_some());
        evaluated.filter_map(|name| name.strip_suffix("/loss")).chain(["train"]).collect()
    }

    /// Whether an evaluation is among the rows, with just these numbers.
    pub(crate) fn has(&self, head: Head, cells: &[(usize, f64)]) -> bool {
        let same = |a: &[(usize, f64)], b: &[(usize, f64)]| {
            b.iter().all(|cell| a.iter().any(|own| own.0 == cell.0 && own.1.to_bits() == cell.1.to_bits()))
        };
        self.evaluations.iter().any(|row| row.head.step == head.step && same(&row.cells, cells))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn curves_are_of_steps_if_there_are_any_and_a_summary_of_epochs() {
        let mut log = Log::default();
        let [train, valid, lr] = ["train/loss", "valid/loss", "lr"].map(|name| log.column(name));
        for step in 0..4 {
            let at = |event| Head { event, epoch: step / 2, step, seconds: step as f64 };
            log.push(at(Event::Step), &[(train, step as f64), (lr, 0.1)]);
            if step % 2 == 1 {
                let at = |event| Head { step: step + 1, ..at(event) };
                log.push(at(Event::Evaluation), &[(valid, 5.0), (lr, 0.1)]);
                log.push(at(Event::Epoch), &[(valid, 5.0), (train, 0.5), (lr, 0.1)]);
            }
        }
        let curve = |name: &str| log.curve(name).map(|(event, series)| (event, series.stats.points));
        assert_eq!(curve("train/loss"), Some((Event::Step, 4)));
        assert_eq!(curve("valid/loss"), Some((Event::Evaluation, 2)));
        assert_eq!(curve("lr"), Some((Event::Step, 4)));
        assert_eq!(curve("test/loss"), None);
        assert_eq!(log.summed_up("train/loss").unwrap().stats.last.unwrap().value, 0.5);
        assert_eq!(log.sets(), ["train", "valid"].into());
        assert_eq!(log.beginnings, [(0, 0), (2, 1), (4, 2)]);
        assert_eq!((log.reached.step, log.reached.epoch, log.steps), (4, 2, 4));
        let at = Head { event: Event::Evaluation, step: 2, ..Head::default() };
        assert!(log.has(at, &[(valid, 5.0)]) && !log.has(at, &[(valid, 6.0)]));
    }

    #[test]
    fn a_long_table_keeps_both_ends() {
        let mut table = Table::default();
        for step in 0..1000 {
            table.push(Row { head: Head { step, ..Head::default() }, cells: Vec::new() });
        }
        assert_eq!(table.left_out(), Some((KEPT, 600)));
        let steps: Vec<u64> = table.iter().map(|row| row.head.step).collect();
        assert_eq!((steps[199], steps[200], *steps.last().unwrap()), (199, 800, 999));
    }

    #[test]
    fn beginnings_of_many_epochs_stay_few_and_in_order() {
        let mut log = Log::default();
        for epoch in 0..100_000 {
            log.push(Head { epoch, step: epoch * 10, ..Head::default() }, &[]);
        }
        assert!(log.beginnings.len() <= MOST_BEGINNINGS && log.beginnings[0] == (0, 0));
        assert!(log.beginnings.iter().all(|(step, epoch)| *step == epoch * 10));
    }
}
