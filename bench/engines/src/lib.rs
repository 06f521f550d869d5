//! Benches of the LibTorch engine against PyTorch: see `benches/`. Here is what they share.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

pub mod ours;
pub mod python;
pub mod turns;
pub mod worker;
pub mod workload;
