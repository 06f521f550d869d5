//! LibTorch's half precision holds what every engine's must hold. One test only: its generator is one per process.

mod common;

use common::LibTorch;
use zae_core::{precision::Precision, testing::f16_conformance};

#[test]
fn libtorch_in_f16() {
    f16_conformance(&LibTorch { precision: Precision::F16, ..LibTorch::default() });
}
