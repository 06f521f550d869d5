//! That all loaders deliver the same samples, and ours the same order.

use crate::{
    Batch, Epoch,
    images::{LEN, WIDTH},
};

/// The numbers of an epoch as one: of its samples in any order, and of its samples in this order.
#[derive(Default)]
struct Sums {
    samples: usize,
    any_order: u64,
    this_order: u64,
}

fn mixed(sum: u64, value: u64) -> u64 {
    (sum.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Sums {
    fn add(&mut self, (x, y): Batch) {
        let (x, y) = (x.into_data().try_to_vec::<f32>().unwrap(), y.into_data().iter::<i64>().collect::<Vec<_>>());
        assert_eq!(x.len(), y.len() * WIDTH);
        for (row, label) in x.chunks(WIDTH).zip(y) {
            let sample = row.iter().fold(label as u64, |sum, value| mixed(sum, u64::from(value.to_bits())));
            self.samples += 1;
            self.any_order = self.any_order.wrapping_add(sample);
            self.this_order = mixed(self.this_order, sample);
        }
    }
}

/// The checksum of the samples; the first `ours` must have them in the same order.
pub(crate) fn epochs(all: &[Epoch], ours: usize) -> u64 {
    let read = |epoch: &Epoch| {
        let mut sums = Sums::default();
        epoch(0, &mut |batch| sums.add(batch));
        assert_eq!(sums.samples, LEN);
        sums
    };
    let sums: Vec<Sums> = all.iter().map(read).collect();
    let first = &sums[0];
    assert!(sums.iter().all(|other| other.any_order == first.any_order), "the samples differ");
    assert!(sums[..ours].iter().all(|other| other.this_order == first.this_order), "the workers change the order");
    assert!(sums[ours..].iter().all(|other| other.this_order != first.this_order), "Burn does not shuffle");
    first.any_order
}
