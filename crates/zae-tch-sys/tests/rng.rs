//! The generator of the CPU: one for all tests of this file, so that they take turns.
#![allow(clippy::unwrap_used)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::{Device, Kind, Tensor};
use zae_tch_sys::{manual_seed, rng_state, set_rng_state};

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Draws in several ways, an odd number of normal numbers among them: the generator keeps the second of a pair.
fn draw() -> Vec<u64> {
    let options = (Kind::Double, Device::Cpu);
    let drawn = [Tensor::randn([3], options), Tensor::rand([100], options), Tensor::randperm(50, options)];
    let dropped = Tensor::ones([64], options).dropout(0.5, true);
    let all: Vec<f64> = Tensor::cat(&[&drawn[0], &drawn[1], &drawn[2], &dropped], 0).try_into().unwrap();
    all.into_iter().map(f64::to_bits).collect()
}

#[test]
fn a_seed_gives_the_same_numbers_again() {
    let _turn = turn();
    manual_seed(Device::Cpu, 7).unwrap();
    let first = draw();
    assert_ne!(draw(), first);
    manual_seed(Device::Cpu, 7).unwrap();
    assert_eq!(draw(), first);
    manual_seed(Device::Cpu, 8).unwrap();
    assert_ne!(draw(), first);
    // As `tch` seeds, all 64 bits of it.
    for seed in [7, u64::MAX, 1 << 40] {
        manual_seed(Device::Cpu, seed).unwrap();
        let ours = draw();
        tch::manual_seed(seed.cast_signed());
        assert_eq!(draw(), ours);
    }
}

#[test]
fn numbers_follow_again_where_the_state_was_taken() {
    let _turn = turn();
    manual_seed(Device::Cpu, 3).unwrap();
    draw();
    let state = rng_state(Device::Cpu).unwrap();
    assert_eq!((state.kind(), state.device(), state.size()), (Kind::Uint8, Device::Cpu, vec![5056]));
    let expected = draw();
    assert_ne!(rng_state(Device::Cpu).unwrap(), state);
    set_rng_state(Device::Cpu, &state).unwrap();
    assert_eq!(rng_state(Device::Cpu).unwrap(), state);
    assert_eq!(draw(), expected);
}

#[test]
fn what_is_no_state_and_no_device_is_refused() {
    let _turn = turn();
    let before = rng_state(Device::Cpu).unwrap();
    let short = Tensor::zeros([10], (Kind::Uint8, Device::Cpu));
    let floats = Tensor::zeros([5056], (Kind::Float, Device::Cpu));
    for no_state in [short, floats, Tensor::new()] {
        let error = set_rng_state(Device::Cpu, &no_state).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
    }
    assert_eq!(rng_state(Device::Cpu).unwrap(), before);
    for device in [Device::Cuda(99), Device::Cuda(usize::MAX), Device::Vulkan] {
        let error = manual_seed(device, 1).unwrap_err().to_string();
        assert!(!error.is_empty() && !error.contains('\n'), "{error}");
        assert!(rng_state(device).is_err() && set_rng_state(device, &before).is_err());
    }
}
