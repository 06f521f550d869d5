//! Mixed precision, while a guard is there.

use std::marker::PhantomData;

use tch::{Device, Kind};

use crate::{
    error::{Error, Result},
    ffi::{self, AutocastState},
};

/// Autocast, from [`Autocast::enter`] until it is dropped: as `with torch.autocast(..)`. It is of the thread that entered it.
///
/// Inside, matrix products and convolutions compute in half precision, and what would lose by it does not; gradients have
/// their parameters' type. Guards may be nested, and are then dropped in reverse order, as Rust does by itself. Weights that
/// were cast are kept until the outermost ends.
#[must_use = "autocast ends where this is dropped"]
pub struct Autocast {
    before: AutocastState,
    // What it changes is the thread's: it does not go to another.
    of_this_thread: PhantomData<*const ()>,
}

impl Autocast {
    /// Switches autocast on for the CPU or for CUDA, with the type to compute in; or off, within one that is on.
    ///
    /// # Errors
    /// For another device, and for a type that is neither `Half` nor `BFloat16` where it is `enabled`.
    pub fn enter(device: Device, kind: Kind, enabled: bool) -> Result<Self> {
        // As in `c10/core/ScalarType.h`; `tch` has them, but not for us.
        let kind = match kind {
            Kind::Half => 5,
            Kind::BFloat16 => 15,
            _ if !enabled => 0,
            kind => return Err(Error(format!("autocast computes in Half or BFloat16, not in {kind:?}"))),
        };
        let mut state = AutocastState { device: ffi::device(device), kind, enabled };
        ffi::zae_autocast_enter(&mut state).ok()?;
        Ok(Self { before: state, of_this_thread: PhantomData })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // It puts back what was there, and so cannot fail.
        let _ = ffi::zae_autocast_exit(&self.before).ok();
    }
}

impl std::fmt::Debug for Autocast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Autocast")
    }
}
