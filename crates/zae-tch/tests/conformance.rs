//! LibTorch holds what every engine must hold. One test only: its generator is one per process.

mod common;

use zae_core::testing::conformance;
use zae_tch::local_device;

#[test]
fn libtorch() {
    conformance(&common::LibTorch { device: local_device(), ..common::LibTorch::default() });
}
