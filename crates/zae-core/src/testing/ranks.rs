//! Ranks that are threads of one process, and what every group has to do.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    add_on::AddOn,
    engine::Engine,
    error::Fallible,
    process_group::{Parallel, ProcessGroup, Reduction},
    rng::stream_seed,
};

/// What threads hand each other: nothing is carried over a network, which is why it is here and not among the features.
#[derive(Default)]
struct Table {
    given: Vec<Option<Vec<u8>>>,
    taken: usize,
    round: u64,
    broken: Option<String>,
}

struct Shared {
    table: Mutex<Table>,
    changed: Condvar,
    timeout: Duration,
}

/// One of several threads that act as ranks.
pub struct ThreadRank {
    rank: usize,
    world_size: usize,
    shared: Arc<Shared>,
    pub(super) sums_overlap: bool,
}

/// So many ranks. One that is waited for longer than `timeout` is lost.
#[must_use]
pub fn thread_ranks(world_size: usize, timeout: Duration) -> Vec<Arc<ThreadRank>> {
    ranks(world_size, timeout, false)
}

/// The same, but a learner of the reference engine sums gradients while it computes others:
/// [`Learner::overlap`](crate::learner::Learner::overlap).
#[must_use]
pub fn overlapping_thread_ranks(world_size: usize, timeout: Duration) -> Vec<Arc<ThreadRank>> {
    ranks(world_size, timeout, true)
}

fn ranks(world_size: usize, timeout: Duration, sums_overlap: bool) -> Vec<Arc<ThreadRank>> {
    let table = Mutex::new(Table { given: vec![None; world_size], ..Table::default() });
    let shared = Arc::new(Shared { table, changed: Condvar::new(), timeout });
    let of = |rank| Arc::new(ThreadRank { rank, world_size, shared: shared.clone(), sums_overlap });
    (0..world_size).map(of).collect()
}

impl ThreadRank {
    fn wait<'a>(
        &self,
        mut table: MutexGuard<'a, Table>,
        until: impl Fn(&Table) -> bool,
    ) -> Fallible<MutexGuard<'a, Table>> {
        let since = Instant::now();
        while !until(&table) {
            if let Some(reason) = &table.broken {
                return Err(reason.clone().into());
            }
            let left = self.shared.timeout.saturating_sub(since.elapsed());
            if left.is_zero() {
                let rank = table.given.iter().position(Option::is_none).unwrap_or_default();
                let reason = format!("rank {rank} has not come within {:?}", self.shared.timeout);
                table.broken = Some(reason.clone());
                self.shared.changed.notify_all();
                return Err(reason.into());
            }
            table = self.shared.changed.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(table)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.shared.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProcessGroup for ThreadRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn all_reduce_sum(&self, values: &mut [f32]) -> Fallible {
        let own: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        values.fill(-0.0);
        for theirs in self.all_gather(&own)? {
            if theirs.len() != own.len() {
                return Err(format!("{} numbers are summed with {}", own.len() / 4, theirs.len() / 4).into());
            }
            for (value, bytes) in values.iter_mut().zip(theirs.as_chunks::<4>().0) {
                *value += f32::from_le_bytes(*bytes);
            }
        }
        Ok(())
    }

    fn all_gather(&self, own: &[u8]) -> Fallible<Vec<Vec<u8>>> {
        // The round before is over when all have taken what was given.
        let mut table = self.wait(self.lock(), |table| table.given[self.rank].is_none())?;
        if let Some(reason) = &table.broken {
            return Err(reason.clone().into());
        }
        table.given[self.rank] = Some(own.to_vec());
        self.shared.changed.notify_all();
        let mut table = self.wait(table, |table| table.given.iter().all(Option::is_some))?;
        let all = table.given.iter().flatten().cloned().collect();
        table.taken += 1;
        let round = table.round;
        if table.taken == self.world_size {
            table.taken = 0;
            table.round += 1;
            table.given.fill(None);
            self.shared.changed.notify_all();
        }
        drop(self.wait(table, |table| table.round > round)?);
        Ok(all)
    }

    fn broadcast(&self, bytes: &mut Vec<u8>, from: usize) -> Fallible {
        let own = if from == self.rank { bytes.as_slice() } else { &[] };
        *bytes = self.all_gather(own)?.swap_remove(from);
        Ok(())
    }

    fn abort(&self, reason: &str) {
        self.lock().broken.get_or_insert_with(|| format!("rank {} has given up: {reason}", self.rank));
        self.shared.changed.notify_all();
    }
}

/// A group that no learner knows, whatever it is: so gradients are summed when all are there, and not while they are computed.
pub struct Unknown(pub Arc<dyn ProcessGroup>);

impl ProcessGroup for Unknown {
    fn rank(&self) -> usize {
        self.0.rank()
    }
    fn world_size(&self) -> usize {
        self.0.world_size()
    }
    fn all_reduce_sum(&self, values: &mut [f32]) -> Fallible {
        self.0.all_reduce_sum(values)
    }
    fn all_gather(&self, own: &[u8]) -> Fallible<Vec<Vec<u8>>> {
        self.0.all_gather(own)
    }
    fn broadcast(&self, bytes: &mut Vec<u8>, from: usize) -> Fallible {
        self.0.broadcast(bytes, from)
    }
    fn abort(&self, reason: &str) {
        self.0.abort(reason);
    }
}

/// An add-on that brings a trainer its processes, and nothing else.
pub struct Connect(pub Parallel);

impl Connect {
    /// These, whose weights are compared after so many steps.
    #[must_use]
    pub fn new(group: Option<Arc<dyn ProcessGroup>>, reduction: Reduction, check_every: u64) -> Self {
        Self(Parallel { group, reduction, check_every })
    }
}

impl AddOn for Connect {
    fn name(&self) -> &'static str {
        "connect"
    }
    fn parallel(&mut self, _: &mut dyn Engine) -> Fallible<Option<Parallel>> {
        Ok(Some(self.0.clone()))
    }
}

/// Checks a group: to be called on every rank of it, at the same time. Says what does not hold.
///
/// # Errors
/// When something does not hold, or the group fails.
pub fn check_group(group: &dyn ProcessGroup) -> Fallible {
    let (rank, world) = (group.rank(), group.world_size());
    let numbers = |rank: usize, len: usize| -> Vec<f32> {
        (0..len as u64).map(|i| (stream_number(rank as u64, i) - 0.5) * 8.0).collect()
    };
    let ensure = |holds: bool, what: &str| -> Fallible {
        if holds { Ok(()) } else { Err(format!("rank {rank} of {world}: {what}").into()) }
    };
    ensure(rank < world, "its number is too high")?;
    for len in [0, 1, 2, 3, 1000, 70_001] {
        let mut values = numbers(rank, len);
        group.all_reduce_sum(&mut values)?;
        let given: Vec<Vec<f32>> = (0..world).map(|rank| numbers(rank, len)).collect();
        let exact = |i: usize| given.iter().map(|theirs| f64::from(theirs[i])).sum::<f64>();
        let step = (len / 50).max(1);
        let close = (0..len).step_by(step).all(|i| (f64::from(values[i]) - exact(i)).abs() < 1e-5 * world as f64);
        ensure(close, "a sum is wrong")?;
        let bits: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let all = group.all_gather(&bits)?;
        ensure(all.iter().all(|theirs| *theirs == bits), "ranks have different sums")?;
    }
    check_sums(group)?;
    let mut nothing = [-0.0f32, 0.0, f32::NAN, f32::INFINITY];
    group.all_reduce_sum(&mut nothing)?;
    ensure(nothing[0].to_bits() == (-0.0f32).to_bits(), "-0.0 on all ranks has become 0.0")?;
    ensure(nothing[2].is_nan() && nothing[3] == f32::INFINITY, "NaN or infinity is lost")?;
    let mut one = if rank + 1 == world { [1.5f32] } else { [-0.0] };
    group.all_reduce_sum(&mut one)?;
    ensure(one == [1.5], "the last rank's number is lost")?;

    let own = |rank: usize| vec![rank as u8; rank * 1000 + usize::from(rank > 1)];
    let all = group.all_gather(&own(rank))?;
    ensure(all.len() == world && all.iter().enumerate().all(|(rank, got)| *got == own(rank)), "bytes are mixed up")?;
    ensure(group.all_gather(&[])?.iter().all(Vec::is_empty), "nothing has become something")?;

    for from in 0..world {
        let mut bytes = if rank == from { own(from + 1) } else { vec![7; 3] };
        group.broadcast(&mut bytes, from)?;
        ensure(bytes == own(from + 1), "not what was broadcast")?;
    }
    let mut sums = [rank as f64, 0.1, -1e300 * (rank as f64 - 1.0).signum()];
    group.sum(&mut sums)?;
    ensure(sums[0] == (world * (world - 1) / 2) as f64, "a sum of host numbers is wrong")?;
    let tenths = (0..world).fold(0.0, |sum, _| sum + 0.1);
    ensure(sums[1].to_bits() == f64::to_bits(tenths), "host numbers are not summed in the order of ranks")?;
    // One rank is late, now this one and now that: nothing gets out of step.
    for i in 0..50usize {
        if i % world == rank {
            std::thread::yield_now();
        }
        let mut value = [i as f32];
        group.all_reduce_sum(&mut value)?;
        ensure(value == [(i * world) as f32], "calls get out of step")?;
    }
    Ok(())
}

/// Sums of numbers that are there one after another. These are exact, in whatever order ranks are added.
fn check_sums(group: &dyn ProcessGroup) -> Fallible {
    let number = |rank: usize, i: usize| ((i * 7 + rank) % 1013) as f32;
    let mut memory = Vec::new();
    for len in [0, 1, 1000, 70_001, 5] {
        let own: Vec<f32> = (0..len).map(|i| number(group.rank(), i)).collect();
        let exact: Vec<f32> = (0..len).map(|i| (0..group.world_size()).map(|rank| number(rank, i)).sum()).collect();
        let mut taken = vec![f32::NAN; len];
        let mut sum = group.begin_sum(&mut memory)?;
        own.chunks(301).try_for_each(|part| sum.give(part))?;
        taken.chunks_mut(401).try_for_each(|part| sum.take(part))?;
        sum.end()?;
        if taken != exact {
            return Err(format!("{len} numbers that come one after another have a wrong sum").into());
        }
    }
    Ok(())
}

/// A number from 0 to 1.
fn stream_number(rank: u64, i: u64) -> f32 {
    let bits = stream_seed(rank, crate::rng::Stream::Order, 0, i);
    (bits >> 40) as f32 / (1u64 << 24) as f32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn threads_are_a_group() {
        for world in [1, 2, 3, 4] {
            let ranks = thread_ranks(world, Duration::from_secs(60));
            std::thread::scope(|scope| {
                for rank in &ranks {
                    scope.spawn(move || check_group(&**rank).unwrap());
                }
            });
        }
    }

    #[test]
    fn who_gives_up_or_does_not_come_is_not_waited_for() {
        let ranks = thread_ranks(2, Duration::from_secs(60));
        std::thread::scope(|scope| {
            scope.spawn(|| ranks[1].abort("out of paper"));
            let error = ranks[0].all_gather(&[1]).unwrap_err().to_string();
            assert_eq!(error, "rank 1 has given up: out of paper");
        });
        assert!(ranks[0].all_reduce_sum(&mut [1.0]).is_err());
        let ranks = thread_ranks(2, Duration::from_millis(1));
        assert_eq!(ranks[0].all_gather(&[]).unwrap_err().to_string(), "rank 1 has not come within 1ms");
    }
}
