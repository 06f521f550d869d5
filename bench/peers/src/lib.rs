//! Benches of zae-engine against other trainers: see `benches/`.

pub mod stats;
