//! Lazy scalars, and the counters by which tests see what is read and what is kept alive.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
};

use super::net::Graph;
use crate::learner::Readout;

/// What the reference engine counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Calls of [`Learner::read`](crate::learner::Learner::read).
    pub reads: u64,
    /// Scalars read by them.
    pub scalars: u64,
    /// Graphs (activations kept for a backward pass) alive now.
    pub graphs: usize,
    /// The most graphs that were alive at once.
    pub most_graphs: usize,
}

/// Where the numbers of a scalar arrive.
type Slot = Rc<RefCell<Vec<f64>>>;

/// What stands in for a device's queue: on an asynchronous device, numbers arrive in their scalars only when somebody
/// reads.
#[derive(Default)]
pub(super) struct Stream {
    asynchronous: Cell<bool>,
    queue: RefCell<Vec<(Slot, Vec<f64>)>>,
    counts: Cell<Counts>,
}

/// A handle on the counters of a [`ReferenceLearner`](super::ReferenceLearner), which outlives it.
#[derive(Clone)]
pub struct Counters(pub(super) Rc<Stream>);

impl Counters {
    /// The counts now.
    #[must_use]
    pub fn get(&self) -> Counts {
        self.0.counts.get()
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// One number or several that may still be on their way, with the graph behind them unless they were detached.
#[derive(Clone)]
pub struct LazyScalar {
    slot: Slot,
    pub(super) graph: Option<Rc<Graph>>,
}

impl Stream {
    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    pub(super) fn set_asynchronous(&self) {
        self.asynchronous.set(true);
    }

    pub(super) fn is_asynchronous(&self) -> bool {
        self.asynchronous.get()
    }

    pub(super) fn graph_made(&self) {
        self.count(|c| {
            c.graphs += 1;
            c.most_graphs = c.most_graphs.max(c.graphs);
        });
    }

    pub(super) fn graph_dropped(&self) {
        self.count(|c| c.graphs -= 1);
    }

    pub(super) fn scalar(&self, values: &[f64], graph: Option<Rc<Graph>>) -> LazyScalar {
        let slot = Slot::default();
        if self.is_asynchronous() {
            self.queue.borrow_mut().push((Rc::clone(&slot), values.to_vec()));
        } else {
            values.clone_into(&mut slot.borrow_mut());
        }
        LazyScalar { slot, graph }
    }

    pub(super) fn read(&self, lazy: &[LazyScalar], out: &mut Readout) {
        for (slot, values) in self.queue.take() {
            slot.replace(values);
        }
        self.count(|c| {
            c.reads += 1;
            c.scalars += lazy.len() as u64;
        });
        lazy.iter().for_each(|scalar| out.push(&scalar.slot.borrow()));
    }
}

impl LazyScalar {
    pub(super) fn detached(&self) -> Self {
        Self { slot: Rc::clone(&self.slot), graph: None }
    }
}
