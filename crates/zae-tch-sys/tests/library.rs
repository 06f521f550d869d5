//! Which library is loaded, and CUDA where there is none.
#![allow(clippy::unwrap_used)]

use tch::Device;

#[test]
fn the_version_is_the_one_this_crate_is_made_for() {
    assert!(zae_tch_sys::version().starts_with("2.13."), "{}", zae_tch_sys::version());
}

/// The one test of its process that asks about CUDA, for LibTorch asks itself but once.
#[test]
fn opening_cuda_is_no_error_anywhere_and_comes_first() {
    let opened = zae_tch_sys::open_cuda();
    assert_eq!(zae_tch_sys::open_cuda(), opened);
    assert_eq!(tch::utils::has_cuda(), opened && tch::Cuda::is_available());
    if tch::Cuda::is_available() {
        let device = Device::Cuda(0);
        zae_tch_sys::manual_seed(device, 1).unwrap();
        let state = zae_tch_sys::rng_state(device).unwrap();
        zae_tch_sys::set_rng_state(device, &state).unwrap();
        assert_eq!(zae_tch_sys::rng_state(device).unwrap(), state);
    } else {
        let error = zae_tch_sys::manual_seed(Device::Cuda(0), 1).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        assert!(error.contains("`open_cuda`") || opened, "{error}");
    }
}
