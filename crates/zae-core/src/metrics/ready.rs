//! [`Ready`]: rows that have been read and wait to be handed to the add-ons.

use std::{collections::HashMap, ops::Range, sync::Arc};

use super::{RowHead, Rows, cells::Cell};

/// Rows with the same columns.
struct Group {
    layout: usize,
    heads: Range<usize>,
    values: Range<usize>,
}

struct Layout {
    columns: Arc<[usize]>,
    names: Arc<[Arc<str>]>,
}

/// Rows in groups of the same columns. All buffers are reused.
#[derive(Default)]
pub(super) struct Ready {
    layouts: Vec<Layout>,
    /// Their places, by their columns.
    places: HashMap<Arc<[usize]>, usize>,
    /// That of the last row.
    last: usize,
    groups: Vec<Group>,
    heads: Vec<RowHead>,
    values: Vec<f64>,
}

impl Ready {
    /// Appends a row to the last group, or to a new one if the columns differ.
    pub(super) fn push(&mut self, head: RowHead, cells: &[Cell], lr: f64, name: impl Fn(usize) -> Arc<str>) {
        let fits = |layout: &Layout| layout.columns.iter().copied().eq(cells.iter().map(|cell| cell.column));
        let last = self.groups.last().map(|group| group.layout);
        // The rows before were handed out, but their layout most likely stays.
        let layout = last.unwrap_or(self.last);
        let layout = if self.layouts.get(layout).is_some_and(fits) { layout } else { self.layout(cells, name) };
        self.last = layout;
        if last != Some(layout) {
            let (heads, values) = (self.heads.len(), self.values.len());
            self.groups.push(Group { layout, heads: heads..heads, values: values..values });
        }
        self.heads.push(head);
        self.values.extend(cells.iter().map(Cell::value));
        self.values.push(lr);
        if let Some(group) = self.groups.last_mut() {
            group.heads.end = self.heads.len();
            group.values.end = self.values.len();
        }
    }

    /// The place of the layout of these cells.
    fn layout(&mut self, cells: &[Cell], name: impl Fn(usize) -> Arc<str>) -> usize {
        let columns: Arc<[usize]> = cells.iter().map(|cell| cell.column).collect();
        *self.places.entry(columns.clone()).or_insert_with(|| {
            let names = columns.iter().map(|&column| name(column)).chain(["lr".into()]).collect();
            self.layouts.push(Layout { columns, names });
            self.layouts.len() - 1
        })
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = Rows<'_>> {
        self.groups.iter().map(|group| Rows {
            heads: &self.heads[group.heads.clone()],
            names: &self.layouts[group.layout].names,
            values: &self.values[group.values.clone()],
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.groups.clear();
        self.heads.clear();
        self.values.clear();
    }
}
