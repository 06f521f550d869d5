//! LibTorch holds what every engine must hold. One test only: its generator is one per process.

mod common;

use zae_core::testing::{conformance, ranks_conformance};
use zae_tch::local_device;

#[test]
fn libtorch() {
    let make = || common::LibTorch { device: local_device(), ..common::LibTorch::default() };
    conformance(&make());
    ranks_conformance(make);
}
