//! [`Entry`]: a metric of one micro-batch. [`Numbers`]: those of all entries, until they are summed.

use crate::{learner::Readout, step::Kind};

#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) column: usize,
    pub(super) kind: Kind,
    pub(super) given: Given,
}

/// Where an entry's numbers are.
#[derive(Clone, Copy)]
pub(super) enum Given {
    /// Among those that come from the device: its place.
    Lazy(usize),
    /// A number that is here already.
    Now(f64),
    /// Among those that are several and here already: its place.
    Here(usize),
}

/// What was read from the device, and what was on the host already.
#[derive(Default)]
pub(super) struct Numbers {
    pub(super) device: Readout,
    pub(super) host: Readout,
}

impl Numbers {
    #[inline]
    pub(super) fn of<'a>(&'a self, entry: &'a Entry) -> &'a [f64] {
        match &entry.given {
            Given::Lazy(place) => self.device.get(*place),
            Given::Now(number) => std::slice::from_ref(number),
            Given::Here(place) => self.host.get(*place),
        }
    }

    pub(super) fn clear(&mut self) {
        self.device.clear();
        self.host.clear();
    }
}
