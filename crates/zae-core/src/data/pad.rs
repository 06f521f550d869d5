//! [`Pad`]: sequences of different lengths as one array.

use crate::error::Fallible;

/// Fills sequences up to the length of the longest of their batch. For [`Dataset::collate`](super::Dataset::collate):
///
/// ```
/// use zae_core::data::{DataLoader, Dataset, Draw, Loader, Pad};
///
/// let texts: Vec<(Vec<i64>, u8)> = vec![(vec![5, 6, 7], 1), (vec![8], 0)];
/// let pad = Pad::new(0).max_length(512).truncate(true);
/// let batches = DataLoader::new(
///     texts.collate(move |samples| {
///         let (texts, labels): (Vec<_>, Vec<_>) = samples.into_iter().unzip();
///         Ok((pad.batch(&texts)?, labels))
///     }),
///     2,
/// );
/// let (texts, _) = batches.epoch(&Draw::new(0, Default::default()))?.next().transpose()?.unwrap_or_default();
/// assert_eq!((texts.shape(), texts.values.as_slice()), ([2, 3], &[5, 6, 7, 8, 0, 0][..]));
/// assert_eq!(texts.lengths, [3, 1]);
/// assert_eq!(texts.mask(), [true, true, true, true, false, false]);
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
///
/// A step of a sequence may be anything that can be copied: `[f32; 80]` for frames of 80 features.
#[derive(Clone, Copy, Debug)]
pub struct Pad<T> {
    value: T,
    multiple_of: usize,
    max_length: Option<usize>,
    truncate: bool,
    left: bool,
}

impl<T: Copy> Pad<T> {
    /// Fills up with this value, at the end.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self { value, multiple_of: 1, max_length: None, truncate: false, left: false }
    }

    /// Fills up to the next multiple of this, which the kernels of some devices are faster with.
    #[must_use]
    pub fn multiple_of(mut self, steps: usize) -> Self {
        self.multiple_of = steps;
        self
    }

    /// The most steps a sequence may have. A longer one is an error, unless it is truncated. With `.multiple_of(..)` of the
    /// same number all batches have this length.
    #[must_use]
    pub fn max_length(mut self, steps: usize) -> Self {
        self.max_length = Some(steps);
        self
    }

    /// Whether the end of a sequence that is too long is cut off. Off by default.
    #[must_use]
    pub fn truncate(mut self, on: bool) -> Self {
        self.truncate = on;
        self
    }

    /// Whether it is filled up at the start, as models want it that go on writing a text. Off by default.
    #[must_use]
    pub fn left(mut self, on: bool) -> Self {
        self.left = on;
        self
    }

    /// Makes one array of these sequences.
    ///
    /// # Errors
    /// When a sequence is too long.
    pub fn batch(&self, sequences: &[impl AsRef<[T]>]) -> Fallible<Padded<T>> {
        self.check()?;
        let most = self.max_length.unwrap_or(usize::MAX);
        let mut lengths = Vec::with_capacity(sequences.len());
        for (i, sequence) in sequences.iter().enumerate() {
            let length = sequence.as_ref().len();
            if length > most && !self.truncate {
                let fix = "cut it with `.truncate(true)`, or give a larger `.max_length(..)`";
                return Err(
                    format!("sequence {i} of the batch has {length} steps, but {most} is the most: {fix}").into()
                );
            }
            lengths.push(length.min(most));
        }
        let width = lengths.iter().max().copied().unwrap_or(0).next_multiple_of(self.multiple_of);
        let mut values = Vec::with_capacity(width * lengths.len());
        for (sequence, &length) in sequences.iter().zip(&lengths) {
            let padding = std::iter::repeat_n(self.value, width - length);
            if self.left {
                values.extend(padding.clone());
            }
            values.extend_from_slice(&sequence.as_ref()[..length]);
            if !self.left {
                values.extend(padding);
            }
        }
        Ok(Padded { values, width, lengths, left: self.left })
    }

    fn check(&self) -> Fallible {
        let multiple = self.multiple_of;
        match self.max_length {
            _ if multiple == 0 => Err("padding to multiples of 0: give `.multiple_of(1)` or more".into()),
            Some(0) => Err("sequences of 0 steps at most: give `.max_length(1)` or more".into()),
            Some(most) if most % multiple != 0 => {
                let fix = "give a length that is";
                Err(format!("`.max_length({most})` is no multiple of {multiple}, so padding could exceed it: {fix}")
                    .into())
            }
            _ => Ok(()),
        }
    }
}

/// Sequences of one length, in the host's memory.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Padded<T> {
    /// All steps, sequence by sequence.
    pub values: Vec<T>,
    /// How many steps each sequence has with its padding.
    pub width: usize,
    /// How many it has without.
    pub lengths: Vec<usize>,
    left: bool,
}

impl<T> Padded<T> {
    /// The number of sequences, and of steps of each.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        [self.lengths.len(), self.width]
    }

    /// Whether each of the values is a step of its sequence, and no padding.
    #[must_use]
    pub fn mask(&self) -> Vec<bool> {
        let row = |&length: &usize| {
            let start = if self.left { self.width - length } else { 0 };
            (0..self.width).map(move |step| (start..start + length).contains(&step))
        };
        self.lengths.iter().flat_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        let of = |pad: Pad<u8>| pad.batch(&[vec![1; 3], vec![1; 9]]).unwrap_err().to_string();
        assert_eq!(
            of(Pad::new(0).max_length(8)),
            "sequence 1 of the batch has 9 steps, but 8 is the most: cut it with `.truncate(true)`, or give a larger \
             `.max_length(..)`"
        );
        assert_eq!(of(Pad::new(0).multiple_of(0)), "padding to multiples of 0: give `.multiple_of(1)` or more");
        assert_eq!(of(Pad::new(0).max_length(0)), "sequences of 0 steps at most: give `.max_length(1)` or more");
        assert_eq!(
            of(Pad::new(0).max_length(12).multiple_of(8)),
            "`.max_length(12)` is no multiple of 8, so padding could exceed it: give a length that is"
        );
    }

    #[test]
    fn nothing_and_empty_sequences_are_no_error() {
        assert_eq!(Pad::new(0u8).batch(&[[]; 0]).unwrap().shape(), [0, 0]);
        let one = Pad::new(9).multiple_of(2).batch(&[vec![], vec![1]]).unwrap();
        assert_eq!((one.values, one.lengths), (vec![9, 9, 1, 9], vec![0, 1]));
    }

    #[test]
    fn a_step_may_be_several_numbers() {
        let frames = Pad::new([0.0; 2]).batch(&[vec![[1.0, 2.0]], vec![[3.0, 4.0], [5.0, 6.0]]]).unwrap();
        assert_eq!(frames.values.as_flattened(), [1.0, 2.0, 0.0, 0.0, 3.0, 4.0, 5.0, 6.0]);
    }

    proptest! {
        #[test]
        fn the_masked_values_are_the_sequences(
            sequences in prop::collection::vec(prop::collection::vec(1u8.., 0..20), 1..6),
            multiple in 1usize..5, max in 1usize..5, left: bool,
        ) {
            let max = max * multiple;
            let pad = Pad::new(0).multiple_of(multiple).max_length(max).truncate(true).left(left);
            let padded = pad.batch(&sequences).unwrap();
            let [rows, width] = padded.shape();
            let longest = sequences.iter().map(|all| all.len().min(max)).max().unwrap();
            prop_assert!(rows == sequences.len() && width % multiple == 0 && (longest..longest + multiple).contains(&width));
            let mask = padded.mask();
            for (i, sequence) in sequences.iter().enumerate() {
                let row = i * width..(i + 1) * width;
                let own = |on| row.clone().filter(|&at| mask[at] == on).map(|at| padded.values[at]).collect::<Vec<_>>();
                prop_assert_eq!(own(true), &sequence[..sequence.len().min(max)]);
                prop_assert!(own(false).iter().all(|&value| value == 0));
                let edge = if left { row.clone().last() } else { row.clone().next() };
                prop_assert!(sequence.is_empty() || edge.is_some_and(|at| mask[at]));
            }
        }
    }
}
