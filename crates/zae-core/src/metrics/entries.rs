//! [`Entry`]: a metric of one micro-batch, and where its numbers are until they are summed.

use crate::{learner::Readout, step::Kind};

#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) column: usize,
    pub(super) kind: Kind,
    pub(super) given: Given,
}

#[derive(Clone, Copy)]
pub(super) enum Given {
    /// The next that comes from the device.
    Lazy,
    /// A number that is here already.
    Now(f64),
    /// The next of those that are several and here already.
    Here,
}

/// Goes through entries in order and finds their numbers.
pub(super) struct Reader<'a> {
    device: &'a Readout,
    host: &'a Readout,
    /// How many of each are behind.
    lazy: usize,
    here: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(device: &'a Readout, host: &'a Readout) -> Self {
        Self { device, host, lazy: 0, here: 0 }
    }

    /// The numbers of the next entry.
    pub(super) fn values<'e>(&mut self, entry: &'e Entry) -> &'e [f64]
    where
        'a: 'e,
    {
        match &entry.given {
            Given::Lazy => {
                self.lazy += 1;
                self.device.get(self.lazy - 1)
            }
            Given::Now(number) => std::slice::from_ref(number),
            Given::Here => {
                self.here += 1;
                self.host.get(self.here - 1)
            }
        }
    }
}
