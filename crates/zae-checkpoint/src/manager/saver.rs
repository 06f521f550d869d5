//! [`Saver`]: asks for a save from outside of the run.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Asks a [`StateManager`](super::StateManager) for a save, from any thread: see
/// [`StateManager::saver`](super::StateManager::saver).
#[derive(Clone, Default, Debug)]
pub struct Saver(Arc<AtomicBool>);

impl Saver {
    /// Has the run saved after the step that runs now.
    pub fn save(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has asked since the last call.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}
