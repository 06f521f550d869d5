//! [`FixedBatches`]: so many neighbours of an order.

use std::{ops::Range, sync::Arc};

use super::{super::Sampler, BatchOrder, BatchSampler, SamplerAt};
use crate::error::Fallible;

/// Batches of equal size, but for the last one: what a loader makes by itself.
#[derive(Clone)]
pub(in crate::data) struct FixedBatches {
    pub(in crate::data) sampler: Arc<dyn Sampler>,
    pub(in crate::data) batch_size: usize,
    pub(in crate::data) drop_last: bool,
}

impl FixedBatches {
    /// The places of so many neighbouring batches from this one on, and the end of the epoch if that comes before.
    pub(super) fn places(&self, samples: usize, epoch: u64) -> impl Fn(u64, u64) -> Range<u64> + Send + use<> {
        let size = self.batch_size as u64;
        let all = self.sampler.len(samples, epoch) as u64;
        let end = if self.drop_last { self.batches(samples, epoch) * size } else { all };
        move |batch, count| {
            let start = batch.saturating_mul(size);
            start..start.saturating_add(count.saturating_mul(size)).min(end)
        }
    }

    /// # Errors
    /// When there is no batch.
    pub(super) fn check(&self, samples: usize, epoch: u64) -> Fallible {
        let (size, len) = (self.batch_size, self.sampler.len(samples, epoch));
        if size == 0 {
            return Err("batches of 0 samples: give a batch size of 1 or more".into());
        }
        if len == 0 {
            let sampler = self.sampler.describe();
            return Err(format!("the sampler ({sampler}) gives epoch {epoch} no sample: let it give 1 or more").into());
        }
        if self.batches(samples, epoch) == 0 {
            let fix = "lower the batch size, or leave out `.drop_last(true)`";
            return Err(format!("{len} samples make no batch of {size}: {fix}").into());
        }
        Ok(())
    }
}

impl BatchSampler for FixedBatches {
    fn batches(&self, samples: usize, epoch: u64) -> u64 {
        let (size, len) = (self.batch_size.max(1), self.sampler.len(samples, epoch));
        (if self.drop_last { len / size } else { len.div_ceil(size) }) as u64
    }
    fn order(&self, at: &SamplerAt) -> Fallible<BatchOrder> {
        self.check(at.samples, at.epoch)?;
        let mut order = self.sampler.order(at)?;
        let places = self.places(at.samples, at.epoch);
        Ok(Box::new(move |batch| places(batch, 1).map(&mut order).collect()))
    }
    fn describe(&self) -> String {
        format!("{} in batches of {}, drop_last {}", self.sampler.describe(), self.batch_size, self.drop_last)
    }
}
