//! Who comes when.

use zae_core::rng::seed_for;

/// The numbers below `n` in random order, the same at every call for a block of a process.
pub fn order(n: usize, process: u64, block: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|&i| seed_for(process, block, i as u64));
    order
}
