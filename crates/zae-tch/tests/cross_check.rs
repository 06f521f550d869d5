//! LibTorch and the plain-Rust reference engine train alike; so do Burn and the reference. One test only: LibTorch's
//! generator is one per process.
#![allow(clippy::unwrap_used)]

mod common;

use common::LibTorch;
use zae_core::testing::{Architecture, cross_check, reference::Reference};

#[test]
fn libtorch_trains_as_the_reference_does() {
    let (libtorch, reference) = (LibTorch::default(), Reference::default());
    let compared = cross_check(&libtorch, &reference, Architecture::Plain, 20).unwrap();
    let first = &compared.steps[0];
    assert!(first.loss < 1e-6 && first.weights < 1e-5, "\n{compared}");
    assert!(compared.loss() < 1e-5 && compared.weights() < 1e-4, "\n{compared}");
    let back = cross_check(&reference, &libtorch, Architecture::Plain, 20).unwrap();
    assert!(back.loss() < 1e-5 && back.weights() < 1e-4, "\n{back}");
    let frozen = cross_check(&libtorch, &reference, Architecture::Frozen, 5).unwrap();
    assert!(frozen.loss() < 1e-5, "\n{frozen}");
}
