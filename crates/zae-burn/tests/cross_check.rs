//! Burn and the plain-Rust reference engine train alike. One test only: Burn's generator is one per process.
#![allow(clippy::unwrap_used)]

#[path = "common/fixture.rs"]
mod fixture;

use zae_core::testing::{Architecture, cross_check, reference::Reference};

use fixture::Flex;

#[test]
fn burn_trains_as_the_reference_does() {
    let (burn, reference) = (Flex::like_torch(), Reference::default());
    let compared = cross_check(&burn, &reference, Architecture::Plain, 20).unwrap();
    let first = &compared.steps[0];
    assert!(first.loss < 1e-6 && first.weights < 1e-5, "\n{compared}");
    assert!(compared.loss() < 1e-5 && compared.weights() < 1e-4, "\n{compared}");
    // Over there and back: transposition of the weights both ways.
    let back = cross_check(&reference, &burn, Architecture::Plain, 20).unwrap();
    assert!(back.loss() < 1e-5 && back.weights() < 1e-4, "\n{back}");
    let frozen = cross_check(&burn, &reference, Architecture::Frozen, 5).unwrap();
    assert!(frozen.loss() < 1e-5, "\n{frozen}");
    let table = compared.to_string();
    assert_eq!(table.lines().count(), 21);
    assert!(table.starts_with(" step           burn      reference  relative   weights\n    1 "), "{table}");

    // Another optimizer shows, whether it tells or not.
    let error = cross_check(&Flex::default(), &reference, Architecture::Plain, 1).unwrap_err().to_string();
    assert!(error.contains("the optimizers' `eps` is"), "{error}");
    let secret = burn.optimizer.clone().with_cautious_weight_decay(true);
    let other = cross_check(&Flex { optimizer: secret, ..burn.clone() }, &reference, Architecture::Plain, 20).unwrap();
    assert!(other.steps[0].loss < 1e-6 && other.steps[0].weights > 5e-5, "\n{other}");

    let error = cross_check(&burn, &reference, Architecture::Full, 1).unwrap_err().to_string();
    assert!(error.contains("dropout"), "{error}");
    let error = cross_check(&burn, &reference, Architecture::Unused, 1).unwrap_err().to_string();
    assert!(error.contains("unused.weight"), "{error}");
}
