//! [`ShardSampler`]: the order in which a stream of shards is read.

use std::sync::Arc;

use zae_core::{
    data::{Order, Permutation, Sampler, SamplerAt},
    error::Fallible,
    rng::Rng,
};

use crate::Shards;

/// The place whose generator orders the pieces. Windows use their own numbers, of which there are fewer.
const PIECES: u64 = u64::MAX;

/// Reads shards as a stream, for data that are larger than memory, or lie where jumping about is slow: shards come in
/// another random order each epoch, each is read from its beginning to its end, and only samples in a window of this
/// stream are mixed. WebDataset's `shardshuffle` and `shuffle(window)`, on the seam of
/// [`DataLoader::sampler`](zae_core::data::DataLoader::sampler).
///
/// Where each sample begins is known, and the order is a function of (seed, epoch, place). So a resumed run continues at
/// its very sample without reading those before it, any number of processes and workers see the same batches, and there is
/// no buffer whose content a checkpoint would have to hold. What it does hold is a fingerprint of the shards (their names,
/// sizes, and where their samples begin): with others, the run is refused.
///
/// No sample moves further than the window is long. So shards that are sorted inside (by class, by source) need large
/// windows, and few large shards are better cut: [`ShardSampler::pieces_of`].
///
/// ```no_run
/// use zae_core::data::{DataLoader, Dataset};
/// use zae_data::{Jsonl, ShardSampler, files_in};
///
/// #[derive(serde::Deserialize)]
/// struct Document { text: String }
///
/// let documents = Jsonl::<Document>::open_with_index(files_in("corpus", "jsonl")?, "corpus/index")?;
/// let order = ShardSampler::new(&documents, 10_000)?;
/// let batches = documents.collate(|documents| Ok(documents.into_iter().map(|d| d.text).collect::<Vec<_>>()));
/// let train = DataLoader::new(batches, 32).sampler(order).workers(4);
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ShardSampler {
    /// Where each piece of the data ends.
    ends: Arc<[usize]>,
    shards: usize,
    fingerprint: u64,
    window: usize,
}

impl ShardSampler {
    /// Mixes samples in windows of so many: 1 leaves each shard in its own order.
    ///
    /// # Errors
    /// When the window is 0.
    pub fn new(data: &impl Shards, window: usize) -> Fallible<Self> {
        if window == 0 {
            return Err("a shuffle window of 0 samples: give 1 or more".into());
        }
        let ends: Arc<[usize]> = data.ends().into();
        Ok(Self { shards: ends.len(), ends, fingerprint: data.fingerprint(), window })
    }

    /// Cuts shards into pieces of at most so many samples, which are read in random order as if each were a shard. A window
    /// of many pieces mixes what lies far apart.
    ///
    /// # Errors
    /// When it is 0.
    pub fn pieces_of(mut self, samples: usize) -> Fallible<Self> {
        if samples == 0 {
            return Err("pieces of 0 samples: give 1 or more".into());
        }
        let mut ends = Vec::new();
        let mut start = 0;
        for &end in &*self.ends {
            while end - start > samples {
                start += samples;
                ends.push(start);
            }
            start = end;
            ends.push(end);
        }
        self.ends = ends.into();
        Ok(self)
    }

    fn samples(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }
}

impl Sampler for ShardSampler {
    fn order(&self, at: &SamplerAt) -> Fallible<Order> {
        let total = self.samples();
        if total != at.samples {
            return Err(format!(
                "the shards have {total} samples, but the loader's data {}: make the sampler of the same data, and open \
                 the files of each part by themselves instead of splitting",
                at.samples
            )
            .into());
        }
        let at = *at;
        let pieces = pieces(&self.ends, &at);
        let window = self.window as u64;
        let mut mixed: Option<(u64, Permutation)> = None;
        Ok(Box::new(move |position| {
            let number = position / window;
            let first = number * window;
            let (_, order) = match mixed.take() {
                Some(made) if made.0 == number => mixed.insert(made),
                _ => {
                    let len = window.min((total as u64).saturating_sub(first));
                    mixed.insert((number, Permutation::new(at.rng(number).next_u64(), len)))
                }
            };
            let place = (first + order.get(position - first)) as usize;
            let piece = pieces.partition_point(|piece| piece.end <= place);
            // What is beyond the epoch is no sample, which the loader says.
            pieces.get(piece).map_or(usize::MAX, |piece| piece.start + (place - (piece.end - piece.len)))
        }))
    }

    fn describe(&self) -> String {
        let (shards, samples, print) = (self.shards, self.samples(), self.fingerprint);
        let pieces = self.ends.len();
        format!(
            "{shards} shards in {pieces} pieces, {samples} samples, window {}, fingerprint {print:016x}",
            self.window
        )
    }
}

/// A run of samples that is read from its beginning to its end.
struct Piece {
    /// Its first sample in the data.
    start: usize,
    len: usize,
    /// Where it ends in the epoch.
    end: usize,
}

/// All of them, in the epoch's order.
fn pieces(ends: &[usize], at: &SamplerAt) -> Vec<Piece> {
    let order = Permutation::new(at.rng(PIECES).next_u64(), ends.len() as u64);
    let mut read = 0;
    let piece = |i| {
        let i = order.get(i) as usize;
        let start = if i == 0 { 0 } else { ends[i - 1] };
        let len = ends[i] - start;
        read += len;
        Piece { start, len, end: read }
    };
    (0..ends.len() as u64).map(piece).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use zae_core::data::{Dataset, Sample};

    use super::*;

    struct Sizes(Vec<usize>);

    impl Sizes {
        fn new(sizes: &[usize]) -> Self {
            let mut end = 0;
            Self(
                sizes
                    .iter()
                    .map(|size| {
                        end += size;
                        end
                    })
                    .collect(),
            )
        }
    }

    impl Dataset for Sizes {
        type Item = usize;

        fn len(&self) -> usize {
            self.0.last().copied().unwrap_or(0)
        }
        fn item(&self, at: &Sample) -> Fallible<usize> {
            Ok(at.index)
        }
    }

    impl Shards for Sizes {
        fn ends(&self) -> &[usize] {
            &self.0
        }
        fn fingerprint(&self) -> u64 {
            self.0.iter().sum::<usize>() as u64
        }
    }

    fn epoch(sampler: &ShardSampler, seed: u64, epoch: u64) -> Vec<usize> {
        let samples = sampler.samples();
        (0..samples as u64).map(sampler.order(&SamplerAt::new(seed, epoch, samples)).unwrap()).collect()
    }

    #[test]
    fn shards_come_in_another_order_each_epoch_and_are_read_through() {
        let data = Sizes::new(&[3, 0, 4, 2, 5, 1, 6]);
        let sampler = ShardSampler::new(&data, 1).unwrap();
        let orders: Vec<Vec<usize>> = (0..4).map(|e| epoch(&sampler, 7, e)).collect();
        for order in &orders {
            // A sample is followed by the next of its shard, unless it is the last.
            for pair in order.windows(2) {
                assert!(pair[1] == pair[0] + 1 || data.0.contains(&(pair[0] + 1)), "{order:?}");
            }
        }
        assert!(orders[0] != orders[1] && orders[1] != orders[2] && orders[0] != epoch(&sampler, 8, 0));
        assert_eq!(orders[0], epoch(&sampler, 7, 0));
    }

    #[test]
    fn errors_and_descriptions() {
        let data = Sizes::new(&[3, 4]);
        assert!(ShardSampler::new(&data, 0).unwrap_err().to_string().contains("give 1 or more"));
        let sampler = ShardSampler::new(&data, 2).unwrap();
        assert!(sampler.clone().pieces_of(0).unwrap_err().to_string().contains("give 1 or more"));
        let error = sampler.order(&SamplerAt::new(0, 0, 6)).err().unwrap().to_string();
        assert!(error.starts_with("the shards have 7 samples, but the loader's data 6: make the sampler of the same"));
        let expected = "2 shards in 2 pieces, 7 samples, window 2, fingerprint 000000000000000a";
        assert_eq!(sampler.describe(), expected);
        assert!(sampler.clone().pieces_of(2).unwrap().describe().starts_with("2 shards in 4 pieces"));
        assert_eq!(sampler.order(&SamplerAt::new(0, 0, 7)).unwrap()(7), usize::MAX);
        assert_eq!(sampler.order(&SamplerAt::new(0, 0, 7)).unwrap()(u64::MAX), usize::MAX);
        assert!(epoch(&ShardSampler::new(&Sizes::new(&[]), 2).unwrap(), 0, 0).is_empty());
    }

    /// A run that was started by another version must go on in the same order.
    #[test]
    fn the_order_of_a_seed_never_changes() {
        let sampler = ShardSampler::new(&Sizes::new(&[3, 4, 5]), 4).unwrap();
        assert_eq!(epoch(&sampler, 42, 0), FIRST);
        assert_eq!(epoch(&sampler.pieces_of(2).unwrap(), 42, 1), SECOND);
    }

    const FIRST: [usize; 12] = [4, 3, 6, 5, 1, 0, 2, 7, 8, 9, 10, 11];
    const SECOND: [usize; 12] = [6, 5, 9, 10, 0, 7, 11, 8, 1, 4, 3, 2];

    proptest! {
        #[test]
        fn every_sample_once_and_none_far_from_its_place(
            sizes in prop::collection::vec(0usize..30, 0..12), window in 1usize..40, pieces in prop::option::of(1usize..10),
            seed: u64, at in 0u64..3,
        ) {
            let data = Sizes::new(&sizes);
            let of = |window| {
                let sampler = ShardSampler::new(&data, window).unwrap();
                pieces.map_or(sampler.clone(), |pieces| sampler.pieces_of(pieces).unwrap())
            };
            // What is read, in the order in which it is read.
            let read = epoch(&of(1), seed, at);
            let mixed = epoch(&of(window), seed, at);
            let mut sorted = mixed.clone();
            sorted.sort_unstable();
            prop_assert!(sorted.into_iter().eq(0..data.len()));
            for (read, mixed) in read.chunks(window).zip(mixed.chunks(window)) {
                let (mut read, mut mixed) = (read.to_vec(), mixed.to_vec());
                read.sort_unstable();
                mixed.sort_unstable();
                prop_assert_eq!(read, mixed);
            }
        }

        /// A resume, and a worker, ask for any place first.
        #[test]
        fn any_place_may_be_asked_for(sizes in prop::collection::vec(0usize..30, 1..8), window in 1usize..40, seed: u64) {
            let data = Sizes::new(&sizes);
            let sampler = ShardSampler::new(&data, window).unwrap();
            let whole = epoch(&sampler, seed, 0);
            let mut order = sampler.order(&SamplerAt::new(seed, 0, data.len())).unwrap();
            for (i, expected) in whole.iter().enumerate().rev() {
                prop_assert_eq!(order(i as u64), *expected);
            }
        }

        #[test]
        fn a_window_as_long_as_the_data_mixes_all(seed: u64) {
            let sampler = ShardSampler::new(&Sizes::new(&[100, 100, 100]), 300).unwrap();
            prop_assert!(!epoch(&sampler, seed, 0)[..100].is_sorted());
        }
    }
}
