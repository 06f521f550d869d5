//! [`ProcessGroup`]: the processes that train one model together. Bytes between them are carried by somebody else's library
//! (MPI, c10d): an implementation is a handle of it.

mod sum;

pub use sum::Sum;

use std::{any::Any, sync::Arc, time::Duration};

use crate::{error::Fallible, watch::Watch};

/// Processes that do the same things in the same order, each on its part of the data.
///
/// A call is made by every rank, in the same order on each: it returns when all have made it, or fails. After a failure the
/// group is of no more use, and every later call fails at once.
pub trait ProcessGroup: Any + Send + Sync {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn world_size(&self) -> usize;

    /// Each number becomes the sum over all ranks: the same bits on each of them. `-0.0` on all ranks stays `-0.0`.
    ///
    /// # Errors
    /// When a rank is gone, or does not come within the group's timeout; the message names the rank where that is known.
    fn all_reduce_sum(&self, values: &mut [f32]) -> Fallible;

    /// As [`ProcessGroup::all_reduce_sum`], of numbers that are there one after another: those given first may be summed while
    /// the others are still being gathered. It is one call, up to [`Sum::end`]; this thread makes no other before that.
    ///
    /// `memory` is for what a group has to keep, and is warm if it is the same for every sum. By default all numbers are kept
    /// there, and summed when the first sum is taken.
    ///
    /// # Errors
    /// When the group has failed before.
    fn begin_sum<'a>(&'a self, memory: &'a mut Vec<f32>) -> Fallible<Box<dyn Sum + 'a>> {
        Ok(Box::new(sum::Gathered::new(self, memory)))
    }

    /// What every rank gave, by rank. Ranks may give different lengths, none included.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_sum`].
    fn all_gather(&self, own: &[u8]) -> Fallible<Vec<Vec<u8>>>;

    /// `bytes` becomes that of rank `from`, whatever its length.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_sum`].
    fn broadcast(&self, bytes: &mut Vec<u8>, from: usize) -> Fallible;

    /// A few host numbers, summed in the order of ranks, so that the same bits come out on each of them. They do not pass a
    /// device.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_sum`].
    fn sum(&self, numbers: &mut [f64]) -> Fallible {
        let own: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let all = self.all_gather(&own)?;
        numbers.fill(0.0);
        for (rank, theirs) in all.iter().enumerate() {
            if theirs.len() != own.len() {
                let (bytes, got) = (own.len(), theirs.len());
                return Err(format!("rank {rank} sums {got} bytes, this one {bytes}: they do different things").into());
            }
            for (number, bytes) in numbers.iter_mut().zip(theirs.as_chunks::<8>().0) {
                *number += f64::from_le_bytes(*bytes);
            }
        }
        Ok(())
    }

    /// Who is to be told what this rank does, if the group lets the others know what a rank did that is missed.
    /// [`Whereabouts`](crate::watch::Whereabouts) keeps it, and has the words.
    fn watch(&self) -> Option<Arc<dyn Watch>> {
        None
    }

    /// This rank cannot go on, and cannot say so in a call that the others make too: they are kept from waiting for it.
    fn abort(&self, reason: &str);
}

/// Where a process stands among those that a launcher has started.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct World {
    /// The number of this process, from 0.
    pub rank: usize,
    /// How many processes there are.
    pub world_size: usize,
    /// The number of this process among those on this machine.
    pub local_rank: usize,
    /// Host and port at which rank 0 is found, if the launcher says so.
    pub master: Option<(String, u16)>,
    /// How long a rank is waited for.
    pub timeout: Duration,
}

impl World {
    /// This place among processes on one machine, of which one that is silent for five minutes is lost.
    #[must_use]
    pub fn new(rank: usize, world_size: usize) -> Self {
        Self { rank, world_size, local_rank: rank, master: None, timeout: Duration::from_secs(300) }
    }
}

/// How gradients of several micro-batches become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reduction {
    /// As fast as it goes. How many processes there are shows in the last bits of the weights.
    #[default]
    Fast,
    /// By a tree that is fixed by the number of micro-batches per step: the same bits come out of 1, 2, 4, ... processes with
    /// the same threads each. Costs each process the memory of a set of gradients per process and a few more. Processes and
    /// micro-batches have to be powers of two.
    Reproducible,
}

/// What an add-on makes of a run's processes: see [`AddOn::parallel`](crate::add_on::AddOn::parallel).
#[derive(Clone)]
#[non_exhaustive]
pub struct Parallel {
    /// The processes; `None` if there is only this one.
    pub group: Option<Arc<dyn ProcessGroup>>,
    /// How their gradients are summed.
    pub reduction: Reduction,
    /// After how many steps weights are compared between ranks; never if this is 0. They are at the start, in any case.
    pub check_every: u64,
}

impl Parallel {
    /// These processes, with the fast reduction.
    #[must_use]
    pub fn new(group: Option<Arc<dyn ProcessGroup>>) -> Self {
        Self { group, reduction: Reduction::Fast, check_every: 0 }
    }
}
