//! [`Sum`]: a sum over all ranks, of numbers that are there one after another.

use super::ProcessGroup;
use crate::error::Fallible;

/// A sum over all ranks that is under way: see [`ProcessGroup::begin_sum`].
///
/// First all numbers are given, then all sums are taken, in the same order, however either is cut. Every rank gives as many.
///
/// What is given cannot be taken back: if a sum is dropped before it has ended, other ranks may wait for the rest of it. So the
/// group fails then, as after [`ProcessGroup::abort`]. Who knows why the sum does not come to its end calls that first, for the
/// first reason is the one that all ranks are told.
pub trait Sum {
    /// These numbers are summed too, behind those given before.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_sum`]; and when sums were taken already.
    fn give(&mut self, values: &[f32]) -> Fallible;

    /// These become the next sums.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_sum`], when ranks have given different numbers of them, and when this one has given fewer
    /// than are taken.
    fn take(&mut self, values: &mut [f32]) -> Fallible;

    /// Nothing is given or taken any more. A sum of no numbers at all is a call too, and ranks wait for each other here.
    ///
    /// # Errors
    /// As [`Sum::take`], and when sums are left.
    fn end(&mut self) -> Fallible;
}

/// Numbers that are kept until all are there, for a group that sums them in one call.
pub(super) struct Gathered<'a, G: ProcessGroup + ?Sized> {
    group: &'a G,
    values: &'a mut Vec<f32>,
    /// How many sums were taken, once they are sums.
    taken: Option<usize>,
    ended: bool,
}

impl<'a, G: ProcessGroup + ?Sized> Gathered<'a, G> {
    pub(super) fn new(group: &'a G, values: &'a mut Vec<f32>) -> Self {
        values.clear();
        Self { group, values, taken: None, ended: false }
    }

    fn sums(&mut self) -> Fallible<usize> {
        if let Some(taken) = self.taken {
            return Ok(taken);
        }
        self.group.all_reduce_sum(self.values)?;
        self.taken = Some(0);
        Ok(0)
    }
}

impl<G: ProcessGroup + ?Sized> Sum for Gathered<'_, G> {
    fn give(&mut self, values: &[f32]) -> Fallible {
        if self.taken.is_some() {
            return Err("numbers are given to a sum of which something was taken already".into());
        }
        self.values.extend_from_slice(values);
        Ok(())
    }

    fn take(&mut self, values: &mut [f32]) -> Fallible {
        let taken = self.sums()?;
        let end = taken + values.len();
        let sums = self.values.get(taken..end).ok_or("more sums are taken than numbers were given")?;
        values.copy_from_slice(sums);
        self.taken = Some(end);
        Ok(())
    }

    fn end(&mut self) -> Fallible {
        match self.values.len() - self.sums()? {
            0 => {
                self.ended = true;
                Ok(())
            }
            left => Err(format!("{left} sums are left that nobody has taken").into()),
        }
    }
}

impl<G: ProcessGroup + ?Sized> Drop for Gathered<'_, G> {
    fn drop(&mut self) {
        if !self.ended {
            self.group.abort("it has left a sum before its end");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::testing::thread_ranks;

    #[test]
    fn a_sum_knows_how_many_numbers_were_given() {
        let one = &thread_ranks(1, Duration::from_secs(60))[0];
        let mut memory = vec![7.0];
        for _ in 0..2 {
            let mut sum = one.begin_sum(&mut memory).unwrap();
            sum.give(&[1.0, 2.0]).unwrap();
            sum.give(&[3.0]).unwrap();
            let mut taken = [0.0; 2];
            sum.take(&mut taken[..1]).unwrap();
            assert_eq!(
                sum.give(&[4.0]).unwrap_err().to_string(),
                "numbers are given to a sum of which something was taken already"
            );
            assert_eq!(sum.end().unwrap_err().to_string(), "2 sums are left that nobody has taken");
            assert_eq!(sum.take(&mut [0.0; 3]).unwrap_err().to_string(), "more sums are taken than numbers were given");
            sum.take(&mut taken).unwrap();
            assert_eq!(taken, [2.0, 3.0]);
            sum.end().unwrap();
        }
    }

    #[test]
    fn a_sum_that_is_left_is_not_waited_for() {
        let ranks = thread_ranks(2, Duration::from_secs(60));
        std::thread::scope(|scope| {
            scope.spawn(|| ranks[1].begin_sum(&mut Vec::new()).unwrap().give(&[1.0]).unwrap());
            let error = ranks[0].all_reduce_sum(&mut [1.0]).unwrap_err();
            assert_eq!(error.to_string(), "rank 1 has given up: it has left a sum before its end");
        });
        assert!(ranks[1].begin_sum(&mut Vec::new()).unwrap().end().is_err());
    }
}
