//! Precision: autocast while the model computes.

use tch::{Device, Kind};
use zae_core::{error::Fallible, precision::Precision};
use zae_tch_sys::Autocast;

/// Autocast, until the guard is dropped; none for `F32`.
pub(crate) fn enter(precision: Precision, device: Device) -> Fallible<Option<Autocast>> {
    let kind = match precision {
        Precision::F32 => return Ok(None),
        Precision::Bf16 => Kind::BFloat16,
        Precision::F16 => Kind::Half,
    };
    Ok(Some(Autocast::enter(device, kind, true)?))
}

/// # Errors
/// When the device does not compute in this precision.
pub(crate) fn check(precision: Precision, device: Device) -> Fallible {
    let entered = enter(precision, device);
    entered.map(drop).map_err(|e| format!("no `{precision}` on {device:?}: {e}. `Precision::F32` is everywhere").into())
}
