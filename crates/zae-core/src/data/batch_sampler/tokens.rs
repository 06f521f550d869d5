//! [`TokenBatchSampler`]: batches of a bounded number of tokens.

use std::sync::{Arc, OnceLock};

use super::{
    super::{Permutation, sampler},
    BatchOrder, BatchSampler, SamplerAt,
};
use crate::{
    error::Fallible,
    rng::{Stream, stream_seed},
};

/// Batches of as many sequences of similar length as fit in a number of tokens, padding included: the length of the
/// longest times their number. So short sequences come in large batches, long ones in small ones, and all batches take
/// about the same memory. The `max_tokens` of fairseq.
///
/// Samples are sorted by length once and cut into batches. Each epoch has these batches in another random order, and in
/// them other samples of the same length: so the number of batches is known, and a resume finds its batch at once.
/// [`TokenBatchSampler::multiple_of`] makes more lengths the same. It takes 16 bytes per sample. As batches differ in size,
/// return their number of sequences (or tokens) as the weight of a step, as always.
///
/// ```
/// use zae_core::data::{DataLoader, Dataset, Loader, Pad, TokenBatchSampler};
///
/// let texts: Vec<Vec<u32>> = (0..1_000).map(|i| vec![7; 1 + i * i % 97]).collect();
/// let lengths = texts.per_sample(Vec::len)?;
/// let pad = Pad::new(0).multiple_of(8);
/// let train = DataLoader::with_batch_sampler(
///     texts.collate(move |texts| pad.batch(&texts)),
///     TokenBatchSampler::new(lengths, 1_024).multiple_of(8),
/// );
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TokenBatchSampler {
    lengths: Arc<[usize]>,
    max_tokens: usize,
    multiple_of: usize,
    max_batch_size: Option<usize>,
    shuffle: bool,
    /// Made when it is first needed.
    cut: OnceLock<Result<Arc<Cut>, String>>,
}

/// The samples by length, cut into batches.
#[derive(Debug)]
struct Cut {
    /// Indices of samples, the shortest first.
    samples: Vec<usize>,
    /// Where samples of the same length end.
    runs: Vec<usize>,
    /// Where batches end.
    batches: Vec<usize>,
}

impl TokenBatchSampler {
    /// Batches of at most `max_tokens`, given the length of each sample: see
    /// [`Dataset::per_sample`](crate::data::Dataset::per_sample).
    #[must_use]
    pub fn new(lengths: Vec<usize>, max_tokens: usize) -> Self {
        let lengths = lengths.into();
        Self { lengths, max_tokens, multiple_of: 1, max_batch_size: None, shuffle: true, cut: OnceLock::new() }
    }

    /// Lengths count as the next multiple of this, as [`Pad::multiple_of`](crate::data::Pad::multiple_of) pads them.
    #[must_use]
    pub fn multiple_of(mut self, length: usize) -> Self {
        self.multiple_of = length;
        self.cut = OnceLock::new();
        self
    }

    /// The most samples a batch may have, however short they are. Without limit by default.
    #[must_use]
    pub fn max_batch_size(mut self, samples: usize) -> Self {
        self.max_batch_size = Some(samples);
        self.cut = OnceLock::new();
        self
    }

    /// Whether samples and batches come in another random order each epoch: on by default. Off, the shortest come first.
    #[must_use]
    pub fn shuffle(mut self, on: bool) -> Self {
        self.shuffle = on;
        self
    }

    fn cut(&self) -> Result<&Arc<Cut>, &String> {
        self.cut.get_or_init(|| self.make().map(Arc::new)).as_ref()
    }

    fn make(&self) -> Result<Cut, String> {
        let (max, limit) = (self.max_tokens, self.max_batch_size.unwrap_or(usize::MAX));
        if self.multiple_of == 0 {
            return Err("lengths in multiples of 0: give `.multiple_of(1)` or more".to_owned());
        }
        if limit == 0 {
            return Err("batches of 0 samples: give `.max_batch_size(1)` or more".to_owned());
        }
        // An empty sequence takes a place too.
        let padded = |index: usize| self.lengths[index].max(1).checked_next_multiple_of(self.multiple_of);
        let too_long = |&index: &usize| padded(index).is_none_or(|length| length > max);
        if let Some(index) = (0..self.lengths.len()).find(too_long) {
            let length = self.lengths[index];
            let rounded = if self.multiple_of > 1 { ", rounded up," } else { "" };
            let fix = "give more of them, cut the sequence, or leave it out";
            return Err(format!("sample {index} has a length of {length}{rounded} in batches of {max} tokens: {fix}"));
        }
        let mut samples: Vec<usize> = (0..self.lengths.len()).collect();
        samples.sort_by_key(|&index| padded(index));
        let (mut runs, mut batches) = (Vec::new(), Vec::new());
        let (mut start, mut last) = (0, None);
        for (place, &index) in samples.iter().enumerate() {
            let length = padded(index).unwrap_or(max);
            if last.is_some_and(|last| last != length) {
                runs.push(place);
            }
            last = Some(length);
            // The longest of the batch so far.
            if place - start >= limit.min(max / length) {
                batches.push(place);
                start = place;
            }
        }
        for ends in [&mut runs, &mut batches] {
            ends.extend(last.map(|_| samples.len()));
        }
        Ok(Cut { samples, runs, batches })
    }
}

impl Cut {
    /// The samples of a batch; of those of the same length, each comes once in an epoch, but no one knows where.
    fn batch(&self, batch: usize, mut order: impl FnMut(usize, u64) -> Option<Permutation>) -> Vec<usize> {
        let start = |ends: &[usize], i: usize| if i == 0 { 0 } else { ends[i - 1] };
        let (mut place, end) = (start(&self.batches, batch), self.batches[batch]);
        let mut samples = Vec::with_capacity(end - place);
        let mut run = self.runs.partition_point(|&end| end <= place);
        while place < end {
            let (from, to) = (start(&self.runs, run), self.runs[run]);
            let order = order(run, (to - from) as u64);
            let within = |place: usize| order.as_ref().map_or(place - from, |o| o.get((place - from) as u64) as usize);
            samples.extend((place..end.min(to)).map(|place| self.samples[from + within(place)]));
            (place, run) = (to, run + 1);
        }
        samples
    }
}

impl BatchSampler for TokenBatchSampler {
    /// At least 1: one that was set up wrongly is asked for a batch, and says then what is wrong.
    fn batches(&self, _: usize, _: u64) -> u64 {
        self.cut().map_or(1, |cut| cut.batches.len() as u64)
    }

    fn order(&self, at: &SamplerAt) -> Fallible<BatchOrder> {
        sampler::one_each("lengths", self.lengths.len(), at.samples)?;
        let cut = self.cut().map_err(String::as_str)?.clone();
        let SamplerAt { seed, epoch, .. } = *at;
        if !self.shuffle {
            return Ok(Box::new(move |batch| cut.batch(batch as usize, |_, _| None)));
        }
        let turns = Permutation::new(stream_seed(seed, Stream::Batches, epoch, 0), cut.batches.len() as u64);
        Ok(Box::new(move |batch| {
            let order = |run, len| Some(Permutation::new(stream_seed(seed, Stream::Order, epoch, run as u64), len));
            cut.batch(turns.get(batch) as usize, order)
        }))
    }

    fn describe(&self) -> String {
        let lengths = sampler::digest(self.lengths.iter().map(|&length| length as u64));
        let Self { max_tokens, multiple_of, max_batch_size, shuffle, .. } = self;
        let most = max_batch_size.map_or(String::new(), |most| format!(", {most} samples at most"));
        format!("{max_tokens} tokens of lengths {lengths:016x} in multiples of {multiple_of}{most}, shuffle {shuffle}")
    }
}
