//! Autocast on the CPU: what it does to types, and that it goes as it came.
#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_near, tensor, values};
use tch::{Device, Kind, Tensor};
use zae_tch_sys::Autocast;

fn kind_of_a_product() -> Kind {
    let matrix = tensor(&[8, 8], 0, Kind::Float);
    matrix.matmul(&matrix).kind()
}

#[test]
fn products_are_in_half_precision_until_the_guard_goes() {
    for kind in [Kind::BFloat16, Kind::Half] {
        let guard = Autocast::enter(Device::Cpu, kind, true).unwrap();
        assert_eq!(kind_of_a_product(), kind);
        drop(guard);
        assert_eq!(kind_of_a_product(), Kind::Float);
    }
}

#[test]
fn guards_nest_and_put_back_what_was_there() {
    let outer = Autocast::enter(Device::Cpu, Kind::BFloat16, true).unwrap();
    {
        let _inner = Autocast::enter(Device::Cpu, Kind::Half, true).unwrap();
        assert_eq!(kind_of_a_product(), Kind::Half);
        {
            let _off = Autocast::enter(Device::Cpu, Kind::Float, false).unwrap();
            assert_eq!(kind_of_a_product(), Kind::Float);
        }
        assert_eq!(kind_of_a_product(), Kind::Half);
    }
    assert_eq!(kind_of_a_product(), Kind::BFloat16);
    drop(outer);
    assert_eq!(kind_of_a_product(), Kind::Float);
}

#[test]
fn it_is_left_when_a_panic_goes_through() {
    let panicked = std::panic::catch_unwind(|| {
        let _guard = Autocast::enter(Device::Cpu, Kind::BFloat16, true).unwrap();
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(panicked.is_err());
    assert_eq!(kind_of_a_product(), Kind::Float);
}

#[test]
fn other_threads_do_not_see_it() {
    let _guard = Autocast::enter(Device::Cpu, Kind::BFloat16, true).unwrap();
    assert_eq!(std::thread::spawn(kind_of_a_product).join().unwrap(), Kind::Float);
}

/// The outermost exit forgets the weights that were cast: after a step the new ones count.
#[test]
fn weights_that_changed_are_cast_again_and_gradients_have_their_type() {
    let x = tensor(&[4, 8], 1, Kind::Float);
    let mut weight = tensor(&[8, 8], 2, Kind::Float).set_requires_grad(true);
    let forward = |weight: &Tensor| {
        let _guard = Autocast::enter(Device::Cpu, Kind::BFloat16, true).unwrap();
        x.matmul(weight)
    };
    forward(&weight).sum(Kind::Float).backward();
    assert_eq!(weight.grad().kind(), Kind::Float);
    let _ = tch::no_grad(|| weight.fill_(0.5));
    let expected = x.to_kind(Kind::BFloat16).matmul(&weight.to_kind(Kind::BFloat16));
    assert_near(&values(&forward(&weight)), &values(&expected), 0.0);
}

#[test]
fn what_has_no_autocast_is_refused_and_changes_nothing() {
    let kind = Autocast::enter(Device::Cpu, Kind::Float, true).unwrap_err();
    assert_eq!(kind.to_string(), "autocast computes in Half or BFloat16, not in Float");
    let device = Autocast::enter(Device::Vulkan, Kind::Half, true).unwrap_err();
    assert_eq!(device.to_string(), "autocast is for the CPU and for CUDA, not for vulkan");
    assert_eq!(kind_of_a_product(), Kind::Float);
}
