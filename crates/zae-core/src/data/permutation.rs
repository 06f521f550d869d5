//! [`Permutation`]: a shuffled order that is computed, not stored.

use crate::rng::mix;

/// Rounds of the Feistel network, in pairs.
const PAIRS: usize = 4;
/// Up to this length the order is drawn exactly and kept in a table: a network of so few bits would be biased.
const TABLE: u64 = 64;

/// How many values are computed side by side.
const LANES: usize = 8;

/// A random order of `0..len` as a function from position to value: constant memory, and any position at once.
///
/// It is a Feistel network (Luby and Rackoff 1988) on the smallest power of two that holds `len`, with a SplitMix64
/// round function. Values that fall outside `0..len` are sent through the network again until they fall inside (cycle
/// walking: Black and Rogaway 2002), which is less than twice on average.
///
/// ```
/// use zae_core::data::Permutation;
/// let order = Permutation::new(42, 1_000_000_000);
/// assert!(order.get(999_999_999) < 1_000_000_000);
///
/// let mut values: Vec<u64> = (0..100).map(|i| Permutation::new(42, 100).get(i)).collect();
/// values.sort();
/// assert_eq!(values, Vec::from_iter(0..100));
/// ```
#[derive(Clone, Debug)]
pub struct Permutation {
    len: u64,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Table([u8; TABLE as usize]),
    Feistel { keys: [[u64; 2]; PAIRS], high_bits: u32, low_bits: u32 },
}

impl Permutation {
    /// The order of `0..len` that belongs to this seed.
    #[must_use]
    pub fn new(seed: u64, len: u64) -> Self {
        let key = |i: u64| mix(mix(seed).wrapping_add(i));
        let kind = if len <= TABLE {
            Kind::Table(shuffle(len, key))
        } else {
            let bits = u64::BITS - (len - 1).leading_zeros();
            let keys = std::array::from_fn(|pair| [key(2 * pair as u64), key(2 * pair as u64 + 1)]);
            Kind::Feistel { keys, high_bits: bits / 2, low_bits: bits - bits / 2 }
        };
        Self { len, kind }
    }

    /// The value at position `i`. A position outside `0..len` is its own value.
    #[must_use]
    pub fn get(&self, i: u64) -> u64 {
        if i >= self.len {
            return i;
        }
        self.get_from(i)
    }

    /// The value inside that comes next from this one on.
    fn get_from(&self, i: u64) -> u64 {
        match &self.kind {
            Kind::Table(table) => u64::from(table[i as usize]),
            Kind::Feistel { keys, high_bits, low_bits } => {
                let mut x = i;
                loop {
                    x = feistel(x, keys, *high_bits, *low_bits);
                    if x < self.len {
                        return x;
                    }
                }
            }
        }
    }

    /// What [`Permutation::get`] gives, for a caller that asks for neighbours: they are computed side by side, so that the
    /// processor need not wait for the end of each, which takes half the time.
    pub(super) fn into_neighbours(self) -> impl FnMut(u64) -> u64 + Send {
        let mut held = (None, [0; LANES]);
        move |i| {
            let block = i / LANES as u64;
            if held.0 != Some(block) {
                held = (Some(block), self.block(block * LANES as u64));
            }
            held.1[i as usize % LANES]
        }
    }

    fn block(&self, start: u64) -> [u64; LANES] {
        let places: [u64; LANES] = std::array::from_fn(|i| start + i as u64);
        match &self.kind {
            Kind::Feistel { keys, high_bits, low_bits } if places[LANES - 1] < self.len => {
                let values = side_by_side(places, keys, *high_bits, *low_bits);
                // From outside, it goes on until it is inside.
                values.map(|x| if x < self.len { x } else { self.get_from(x) })
            }
            _ => places.map(|i| self.get(i)),
        }
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The shuffle of Fisher and Yates. The modulo's bias is below 2^-57.
fn shuffle(len: u64, key: impl Fn(u64) -> u64) -> [u8; TABLE as usize] {
    let mut table = std::array::from_fn(|i| i as u8);
    for i in (1..len).rev() {
        table.swap(i as usize, (key(i) % (i + 1)) as usize);
    }
    table
}

/// Each half is changed by a function of the other, in turn: whatever the function, that can be undone.
fn feistel(x: u64, keys: &[[u64; 2]; PAIRS], high_bits: u32, low_bits: u32) -> u64 {
    let (mut high, mut low) = (x >> low_bits, x & ((1 << low_bits) - 1));
    for [a, b] in keys {
        high ^= mix(a ^ low) >> (u64::BITS - high_bits);
        low ^= mix(b ^ high) >> (u64::BITS - low_bits);
    }
    high << low_bits | low
}

/// The same of several values, which go through each round together.
fn side_by_side(x: [u64; LANES], keys: &[[u64; 2]; PAIRS], high_bits: u32, low_bits: u32) -> [u64; LANES] {
    let (mut high, mut low) = (x.map(|x| x >> low_bits), x.map(|x| x & ((1 << low_bits) - 1)));
    for [a, b] in keys {
        high.iter_mut().zip(&low).for_each(|(high, low)| *high ^= mix(a ^ low) >> (u64::BITS - high_bits));
        low.iter_mut().zip(&high).for_each(|(low, high)| *low ^= mix(b ^ high) >> (u64::BITS - low_bits));
    }
    std::array::from_fn(|i| high[i] << low_bits | low[i])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn values(seed: u64, len: u64) -> Vec<u64> {
        let order = Permutation::new(seed, len);
        (0..len).map(|i| order.get(i)).collect()
    }

    fn is_bijection(seed: u64, len: u64) -> bool {
        let mut values = values(seed, len);
        values.sort_unstable();
        values.into_iter().eq(0..len)
    }

    /// Pearson's statistic, in standard deviations from what equal frequencies give.
    fn excess<'a>(counts: impl IntoIterator<Item = &'a u64>, expected: f64, freedom: u64) -> f64 {
        let chi2: f64 = counts.into_iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
        (chi2 - freedom as f64) / (2.0 * freedom as f64).sqrt()
    }

    #[test]
    fn every_short_length_is_a_bijection() {
        for len in 0..=300 {
            assert!(is_bijection(len * 7 + 1, len), "{len}");
        }
        assert!(Permutation::new(1, 0).is_empty());
    }

    #[test]
    fn the_longest_length_works_and_outside_nothing_moves() {
        for len in [u64::MAX, 1 << 63, (1 << 63) + 1, 1 << 32, (1 << 32) + 1] {
            let order = Permutation::new(3, len);
            assert!([0, 1, len / 2, len - 1].iter().all(|&i| order.get(i) < len));
            assert_ne!([order.get(0), order.get(1)], [0, 1]);
        }
        assert_eq!([Permutation::new(3, 5).get(5), Permutation::new(3, 500).get(501)], [5, 501]);
    }

    /// A run that was started by another version, or on another platform, must go on in the same order.
    #[test]
    fn the_order_of_a_seed_never_changes() {
        assert_eq!(values(42, 8), [1, 7, 3, 0, 5, 4, 2, 6]);
        assert_eq!(values(42, 1_000)[..8], [140, 701, 731, 577, 220, 843, 293, 156]);
        assert_eq!(Permutation::new(42, u64::MAX).get(0), 12_694_863_740_865_846_606);
    }

    #[test]
    fn every_value_is_as_likely_at_every_position() {
        for (len, seeds) in [(2, 20_000), (3, 20_000), (4, 20_000), (5, 20_000), (6, 20_000), (7, 20_000)]
            .into_iter()
            .chain([(64, 10_000), (65, 10_000), (100, 10_000), (128, 10_000)])
        {
            let mut counts = vec![0; (len * len) as usize];
            for seed in 0..seeds {
                for (i, value) in values(seed, len).into_iter().enumerate() {
                    counts[i * len as usize + value as usize] += 1;
                }
            }
            let excess = excess(&counts, seeds as f64 / len as f64, (len - 1) * (len - 1));
            assert!(excess.abs() < 4.0, "length {len}: {excess}");
        }
    }

    #[test]
    fn every_order_of_a_few_is_as_likely() {
        for (len, orders) in [(2, 2), (3, 6), (4, 24), (5, 120)] {
            let mut counts = BTreeMap::<_, u64>::new();
            for seed in 0..2_000 * orders {
                *counts.entry(values(seed, len)).or_default() += 1;
            }
            assert_eq!(counts.len() as u64, orders);
            let excess = excess(counts.values(), 2_000.0, orders - 1);
            assert!(excess.abs() < 4.0, "length {len}: {excess}");
        }
    }

    #[test]
    fn neighbours_do_not_stay_neighbours() {
        // The distance (around the circle) of what comes next to each other takes all values equally often.
        for (len, seeds) in [(7, 9_000), (65, 2_000), (100, 2_000), (1_000, 300)] {
            let mut counts = vec![0; len as usize];
            for seed in 0..seeds {
                for pair in values(seed, len).windows(2) {
                    counts[((pair[1] + len - pair[0]) % len) as usize] += 1;
                }
            }
            let expected = (seeds * (len - 1)) as f64 / (len - 1) as f64;
            assert_eq!(counts[0], 0);
            let excess = excess(&counts[1..], expected, len - 2);
            assert!(excess.abs() < 4.5, "length {len}: {excess}");
        }
    }

    #[test]
    fn the_serial_correlation_is_small() {
        for len in [1_000, 4_096, 60_000] {
            for seed in 0..8 {
                let values = values(seed, len);
                let mean = (len - 1) as f64 / 2.0;
                let variance = ((len * len - 1) as f64) / 12.0;
                for lag in [1, 2, 64] {
                    let pairs = values.iter().zip(&values[lag..]);
                    let sum: f64 = pairs.map(|(&a, &b)| (a as f64 - mean) * (b as f64 - mean)).sum();
                    let correlation = sum / variance / len as f64;
                    assert!(correlation.abs() < 4.5 / (len as f64).sqrt(), "{len}, lag {lag}: {correlation}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn neighbours_are_those_that_come_one_by_one(seed: u64, len in 0u64..400, from in 0u64..400) {
            let order = Permutation::new(seed, len);
            let mut neighbours = order.clone().into_neighbours();
            for i in (from..400).chain([7, u64::MAX, 0]) {
                prop_assert_eq!(neighbours(i), order.get(i), "{}", i);
            }
        }

        #[test]
        fn longer_lengths_are_bijections(seed: u64, len in 300u64..20_000) {
            prop_assert!(is_bijection(seed, len));
        }

        #[test]
        fn another_seed_is_another_order(seed: u64, other: u64, len in 40u64..2_000) {
            prop_assume!(seed != other);
            let same = values(seed, len).iter().zip(values(other, len)).filter(|(a, b)| **a == *b).count();
            prop_assert!(same < 15, "{same} of {len} in the same place");
        }
    }
}
