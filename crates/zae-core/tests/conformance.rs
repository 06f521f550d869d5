//! The reference engine holds what every engine must hold.

use zae_core::testing::{conformance, ranks_conformance, reference::Reference};

#[test]
fn reference_on_a_synchronous_device() {
    conformance(&Reference { asynchronous: false });
}

#[test]
fn reference_on_an_asynchronous_device() {
    conformance(&Reference { asynchronous: true });
}

#[test]
fn references_that_are_ranks() {
    ranks_conformance(|| Reference { asynchronous: false });
    ranks_conformance(|| Reference { asynchronous: true });
}
