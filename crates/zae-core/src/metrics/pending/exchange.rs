//! What ranks exchange of their rows.

use super::{NORM, OpenRow, Pending};
use crate::{
    metrics::{
        RowHead,
        entries::{Entry, Given},
        shared::{Shared, SharedRow},
    },
    step::Name,
};

impl<S> Pending<S> {
    /// What was read, for the other ranks: each row with its micro-batches' numbers.
    pub(crate) fn shared(&self) -> Shared {
        let columns = &self.columns.all;
        let names = columns.iter().map(|column| column.short.as_ref().map(ToString::to_string)).collect();
        let mut shared = Shared { names, rows: Vec::new() };
        let mut from = 0;
        for row in &self.open {
            let own = self.entries[from..row.entries].iter().filter(|entry| columns[entry.column].short.is_some());
            let entries = own.map(|entry| (entry.column, entry.kind, self.numbers.of(entry).to_vec())).collect();
            from = row.entries;
            shared.rows.push(SharedRow { key: row.head.step, samples: row.samples, counted: row.counted, entries });
        }
        shared
    }

    /// What all ranks have read, in the order of the data, in place of what this one has. What add-ons have logged stays this
    /// one's own.
    pub(crate) fn take_all(&mut self, all: Vec<Shared>) {
        let own = std::mem::take(&mut self.open);
        let entries = std::mem::take(&mut self.entries);
        self.discard();
        let names: Vec<Vec<usize>> = all
            .iter()
            .map(|shared| {
                let place = |name: &Option<String>| {
                    let name = name.as_ref().map(|name| Name::Owned(name.clone()));
                    name.map_or(usize::MAX, |name| self.columns.place(&name))
                };
                shared.names.iter().map(place).collect()
            })
            .collect();
        let mut rows: Vec<(usize, SharedRow)> = all
            .into_iter()
            .enumerate()
            .flat_map(|(rank, shared)| shared.rows.into_iter().map(move |row| (rank, row)))
            .collect();
        // Stable: within a row, ranks stay in order, which is that of their micro-batches.
        rows.sort_by_key(|(_, row)| row.key);
        for same in rows.chunk_by(|(_, a), (_, b)| a.key == b.key) {
            let last = same.len() - 1;
            for (i, (rank, row)) in same.iter().enumerate() {
                for (column, kind, values) in &row.entries {
                    let column = names[*rank][*column];
                    // Every rank has the norm of the same sum, which comes behind all micro-batches.
                    if column == NORM && i < last {
                        continue;
                    }
                    let given = Given::Lazy(self.numbers.device.len());
                    self.entries.push(Entry { column, kind: *kind, given });
                    self.numbers.device.push(values);
                }
            }
            let (_, first) = &same[0];
            let mine = own.binary_search_by_key(&first.key, |row| row.head.step).ok();
            let (head, lr) =
                mine.map_or((RowHead { step: first.key, ..RowHead::default() }, None), |i| (own[i].head, own[i].lr));
            if let Some(i) = mine {
                let from = i.checked_sub(1).map_or(0, |before| own[before].entries);
                let of_row = &entries[from..own[i].entries];
                let columns = &self.columns.all;
                self.entries.extend(of_row.iter().filter(|entry| columns[entry.column].short.is_none()));
            }
            let counted = same.iter().all(|(_, row)| row.counted);
            self.open.push(OpenRow { head, entries: self.entries.len(), lr, samples: first.samples, counted });
        }
    }
}
