//! Burn holds what every engine must hold. One test only: Burn's generator is one per process.

#[path = "common/fixture.rs"]
mod fixture;

use zae_core::testing::{conformance, ranks_conformance};

#[test]
fn burn_on_the_cpu() {
    conformance(&fixture::Flex::default());
    ranks_conformance(fixture::Flex::default);
}
