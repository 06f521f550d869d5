//! [`ChunkedSum`]: a sum whose first numbers are summed while the last are still being gathered.

use std::{collections::VecDeque, mem};

use zae_core::{error::Fallible, process_group::Sum};

use super::shared::Lane;

/// How many numbers are summed at a time: 4 MB, beside which the word of all ranks that each chunk begins with is little, and
/// most of a large model is under way while the rest is being gathered.
pub(super) const CHUNK: usize = 1 << 20;
/// How many chunks MPI's thread has: while one is summed, the next one waits for it, and the caller fills a third. Who gathers
/// faster than MPI sums would fill more and more of them.
const UNDER_WAY: usize = 2;

/// A sum in chunks. The last one is shorter than the others, and may be empty: so ranks that give different numbers of them
/// are told within the same sum, and never take the rest of one for the beginning of the next.
pub(super) struct ChunkedSum<'a> {
    lane: Lane<'a>,
    /// What was given, until it is a chunk.
    filling: Vec<f32>,
    /// The last chunk is under way.
    given: bool,
    under_way: usize,
    /// What has come back, and how much of the first of it was taken.
    sums: VecDeque<Vec<f32>>,
    taken: usize,
    ended: bool,
}

impl<'a> ChunkedSum<'a> {
    pub(super) fn begin(mut lane: Lane<'a>) -> Self {
        let filling = lane.empty();
        Self { lane, filling, given: false, under_way: 0, sums: VecDeque::new(), taken: 0, ended: false }
    }

    fn send(&mut self) -> Fallible {
        if self.under_way == UNDER_WAY {
            self.receive()?;
        }
        let next = self.lane.empty();
        self.lane.send_chunk(mem::replace(&mut self.filling, next))?;
        self.under_way += 1;
        Ok(())
    }

    fn receive(&mut self) -> Fallible {
        self.sums.push_back(self.lane.take_sums()?);
        self.under_way -= 1;
        Ok(())
    }

    fn send_last(&mut self) -> Fallible {
        if !self.given {
            self.given = true;
            self.send()?;
        }
        Ok(())
    }
}

impl Sum for ChunkedSum<'_> {
    fn give(&mut self, mut values: &[f32]) -> Fallible {
        if self.given {
            return Err("numbers are given to a sum of which something was taken already".into());
        }
        while !values.is_empty() {
            let room = CHUNK - self.filling.len();
            let (now, later) = values.split_at(room.min(values.len()));
            self.filling.extend_from_slice(now);
            if self.filling.len() == CHUNK {
                self.send()?;
            }
            values = later;
        }
        Ok(())
    }

    fn take(&mut self, mut values: &mut [f32]) -> Fallible {
        self.send_last()?;
        while !values.is_empty() {
            let Some(first) = self.sums.front() else {
                if self.under_way == 0 {
                    return Err("more sums are taken than numbers were given".into());
                }
                self.receive()?;
                continue;
            };
            let left = &first[self.taken..];
            let (now, later) = values.split_at_mut(left.len().min(values.len()));
            now.copy_from_slice(&left[..now.len()]);
            self.taken += now.len();
            if self.taken == first.len() {
                self.taken = 0;
                self.sums.pop_front().into_iter().for_each(|sums| self.lane.keep(sums));
            }
            values = later;
        }
        Ok(())
    }

    fn end(&mut self) -> Fallible {
        self.send_last()?;
        while self.under_way > 0 {
            self.receive()?;
        }
        match self.sums.iter().map(Vec::len).sum::<usize>() - self.taken {
            0 => {
                self.ended = true;
                Ok(())
            }
            left => Err(format!("{left} sums are left that nobody has taken").into()),
        }
    }
}

impl Drop for ChunkedSum<'_> {
    fn drop(&mut self) {
        if self.ended {
            let empty = mem::take(&mut self.sums).into_iter().chain([mem::take(&mut self.filling)]);
            empty.for_each(|memory| self.lane.keep(memory));
        } else {
            // Chunks of it are under way: their answers must not be taken for those of a later call.
            self.lane.give_up("it has left a sum before its end");
        }
    }
}
