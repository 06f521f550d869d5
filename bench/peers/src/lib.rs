//! Benches of zae-engine against other trainers: see `benches/`. Here is what they share with those of `bench/engines`.

pub mod lap;
pub mod memory;
pub mod order;
pub mod stats;
