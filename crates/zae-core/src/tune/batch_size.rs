//! [`BatchSizeFinder`]: how large batches may be, and how large they should be.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::{
    add_on::{AddOn, Context},
    data::Loader,
    error::{Error, Fallible},
    memory,
    task::Task,
    trainer::Trainer,
};

/// Trains some steps with batches that are twice as large from one trial to the next, until they no longer fit in memory. See
/// [`Trainer::scale_batch_size`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct BatchSizeFinder {
    min: usize,
    max: usize,
    steps: u64,
}

impl Default for BatchSizeFinder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchSizeFinder {
    /// From 8 to 4096 samples, 10 steps each.
    pub const fn new() -> Self {
        Self { min: 8, max: 4096, steps: 10 }
    }

    /// From `min` on, and no more than `max`.
    pub const fn range(mut self, min: usize, max: usize) -> Self {
        (self.min, self.max) = (min, max);
        self
    }

    /// So many steps of each size. The first two are not timed.
    pub const fn steps(mut self, steps: u64) -> Self {
        self.steps = steps;
        self
    }

    fn misuse(&self) -> Option<&'static str> {
        if self.min == 0 || self.max < self.min {
            Some("`BatchSizeFinder::range(min, max)`: give at least 1 sample, the smaller size first")
        } else if self.steps <= WARM_UP {
            Some("`BatchSizeFinder::steps(..)`: give at least 3, for the first two are not timed")
        } else {
            None
        }
    }
}

const WARM_UP: u64 = 2;
/// So much more than the fastest a size may take per sample, and be preferred for being smaller.
const NEARLY: f64 = 0.95;

/// How fast batches of one size are.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Trial {
    /// Samples per batch.
    pub batch_size: usize,
    /// Samples trained per second.
    pub samples_per_second: f64,
    /// The memory of the process on the host, in bytes, where that is known (Linux).
    pub memory: Option<u64>,
}

/// What the trials have shown.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct BatchSizes {
    /// The sizes that fit, ascending.
    pub tried: Vec<Trial>,
    /// Why no larger one was tried, or what went wrong with it.
    pub ended: String,
}

impl BatchSizes {
    /// The largest that fits.
    #[must_use]
    pub fn largest(&self) -> Option<usize> {
        self.tried.last().map(|tried| tried.batch_size)
    }

    /// The smallest that is nearly as fast, per sample, as the fastest: larger ones only use more memory, and make fewer steps.
    #[must_use]
    pub fn fastest(&self) -> Option<usize> {
        let best = self.tried.iter().map(|tried| tried.samples_per_second).fold(0.0, f64::max);
        self.tried.iter().find(|tried| tried.samples_per_second >= NEARLY * best).map(|tried| tried.batch_size)
    }
}

/// A table.
impl fmt::Display for BatchSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "batch size  samples/s  memory MiB")?;
        for Trial { batch_size, samples_per_second, memory } in &self.tried {
            let memory = memory.map_or_else(|| "?".to_owned(), |bytes| (bytes >> 20).to_string());
            writeln!(f, "{batch_size:>10}  {samples_per_second:>9.0}  {memory:>10}")?;
        }
        write!(f, "{}", self.ended)
    }
}

impl<T: Task> Trainer<T> {
    /// Finds out how large batches may be: `data` makes a loader of batches of the size that it is given. Afterwards the model, the
    /// optimizer and the run are what they were, and no add-on has heard of it.
    ///
    /// A size does not fit if the engine fails with it, as it does when a device has no memory left, or if twice the memory that
    /// the size before took is more than the host has left (where that is known, on Linux): a program that has taken too much
    /// there is killed. Processes that train together find the same: the speed of the slowest, the memory of the largest.
    ///
    /// ```
    /// # use zae_core::{data::{DataLoader, Dataset}, error::Error, task::Task, trainer::Trainer};
    /// use zae_core::tune::BatchSizeFinder;
    /// # fn train<T: Task<Batch = Vec<f32>>>(mut trainer: Trainer<T>, data: Vec<f32>) -> Result<(), Error> {
    /// let found = trainer.scale_batch_size(&BatchSizeFinder::new(), |size| DataLoader::new(data.clone().collate(Ok), size))?;
    /// let train = DataLoader::new(data.collate(Ok), found.fastest().unwrap_or(32));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Trainer::run`] for the first size; after an interrupt, [`Error::Interrupted`].
    pub fn scale_batch_size<D: Loader<T::Batch>>(
        &mut self,
        finder: &BatchSizeFinder,
        data: impl Fn(usize) -> D,
    ) -> Result<BatchSizes, Error> {
        if let Some(misuse) = finder.misuse() {
            return Err(Error::Misuse(misuse.to_owned()));
        }
        let resident = || memory::of_process().map(|(now, _)| now);
        let before = resident();
        let mut tried: Vec<Trial> = Vec::new();
        let mut size = finder.min;
        // What is left where one more of the same does not fit.
        let mut short = None;
        let ended = loop {
            if size > finder.max {
                break format!("the sizes go up to {}", finder.max);
            }
            if let Some(left) = short {
                break format!("batches of {size} would take more memory than the {} MiB that are left", left >> 20);
            }
            let rate = Arc::default();
            match self.trial(finder.steps, 0.0, Watch { rate: Arc::clone(&rate), since: None }, data(size)) {
                Ok(()) => {}
                Err(Error::Interrupted { signal }) => return Err(Error::Interrupted { signal }),
                Err(error) if tried.is_empty() => return Err(error),
                Err(error) => break format!("batches of {size} fail: {error}"),
            }
            let rate: f64 = *rate.lock().unwrap_or_else(PoisonError::into_inner);
            let now = resident();
            let grown = now.zip(before).map(|(now, before)| now.saturating_sub(before));
            let left = memory::left().filter(|left| grown.is_some_and(|grown| grown > *left));
            // The clock and the memory are each process's own.
            let all = self.of_all((rate, now, left))?;
            short = all.iter().filter_map(|(.., left)| *left).min();
            let samples_per_second = all.iter().map(|(rate, ..)| *rate).fold(f64::INFINITY, f64::min);
            let memory = all.iter().filter_map(|(_, memory, _)| *memory).max();
            tried.push(Trial { batch_size: size, samples_per_second, memory });
            size = size.saturating_mul(2);
        };
        Ok(BatchSizes { tried, ended })
    }
}

struct Watch {
    rate: Arc<Mutex<f64>>,
    /// When the steps began that are timed, and after how many samples.
    since: Option<(Instant, f64)>,
}

impl AddOn for Watch {
    fn name(&self) -> &'static str {
        "batch-size-finder"
    }

    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        let samples = cx.progress.samples();
        match self.since {
            None if cx.progress.step() == WARM_UP => self.since = Some((Instant::now(), samples)),
            None => {}
            Some((since, before)) => {
                let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
                *rate = (samples - before) / since.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(rates: &[f64]) -> BatchSizes {
        let tried = (3..).zip(rates).map(|(power, rate)| Trial {
            batch_size: 1 << power,
            samples_per_second: *rate,
            memory: (power > 3).then_some(5 << 20),
        });
        BatchSizes { tried: tried.collect(), ended: "batches of 64 fail: no memory".to_owned() }
    }

    #[test]
    fn a_smaller_size_that_is_nearly_as_fast_is_preferred() {
        let found = sizes(&[100.0, 191.0, 200.0]);
        assert_eq!((found.largest(), found.fastest()), (Some(32), Some(16)));
        assert_eq!(sizes(&[100.0, 180.0, 200.0]).fastest(), Some(32));
        assert_eq!((sizes(&[]).largest(), sizes(&[]).fastest()), (None, None));
        assert_eq!(
            found.to_string(),
            "batch size  samples/s  memory MiB\n\
             \x20        8        100           ?\n\
             \x20       16        191           5\n\
             \x20       32        200           5\n\
             batches of 64 fail: no memory"
        );
    }
}
