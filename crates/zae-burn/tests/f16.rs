//! Burn's half precision holds what every engine's must hold. One test only: Burn's generator is one per process.

#[path = "common/fixture.rs"]
mod fixture;

use fixture::Flex;
use zae_core::{precision::Precision, testing::f16_conformance};

#[test]
fn burn_in_f16() {
    f16_conformance(&Flex { precision: Precision::F16, ..Flex::like_torch() });
}
