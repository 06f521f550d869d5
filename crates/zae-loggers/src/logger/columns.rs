//! [`Columns`]: the lists of names that entries have, each told to the thread once.

use std::{collections::HashMap, sync::Arc};

use crate::Kind;

/// The names of columns.
type Names = Arc<[Arc<str>]>;

/// The columns of entries seen so far, as the thread knows them.
#[derive(Default)]
pub(super) struct Columns {
    numbers: HashMap<(Kind, Names), usize>,
    /// Those of the last step.
    last: Option<(Names, usize)>,
}

impl Columns {
    /// The number of a list of columns, and the list if the thread has yet to be told of it.
    #[inline]
    pub(super) fn number(&mut self, kind: Kind, names: &Names) -> (usize, Option<Names>) {
        match &self.last {
            // Nearly always the very list of the step before.
            Some((last, number)) if kind == Kind::Step && Arc::ptr_eq(last, names) => (*number, None),
            _ => self.look_up(kind, names),
        }
    }

    #[cold]
    fn look_up(&mut self, kind: Kind, names: &Names) -> (usize, Option<Names>) {
        let known = self.numbers.len();
        let number = *self.numbers.entry((kind, names.clone())).or_insert(known);
        if kind == Kind::Step {
            self.last = Some((names.clone(), number));
        }
        (number, (number == known).then(|| names.clone()))
    }
}
