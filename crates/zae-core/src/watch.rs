//! [`Watch`]: is told what the training thread does. Meters of time and profilers are made of it.

mod whereabouts;

pub use whereabouts::Whereabouts;

use crate::{error::Stage, progress::Cursor};

/// What the training thread does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Doing<'a> {
    /// What the trainer does itself, or has the task, a loader or the engine do.
    Stage(Stage),
    /// A hook of an add-on.
    Hook {
        /// The add-on's name.
        add_on: &'a str,
        /// The hook's name, for example `on_step_end`.
        hook: &'static str,
    },
    /// Exchanges something with the processes that train together, or waits for them.
    Exchange,
}

/// The training thread turns from one thing to another, which it does until the next turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Turn<'a> {
    /// What it turns to.
    pub doing: Doing<'a>,
    /// Optimizer steps done before.
    pub step: u64,
    /// Epoch and micro-batch, or the batch of an evaluation.
    pub cursor: Cursor,
}

impl<'a> Turn<'a> {
    /// For the trainer, and for tests.
    #[must_use]
    pub fn new(doing: Doing<'a>, step: u64, cursor: Cursor) -> Self {
        Self { doing, step, cursor }
    }
}

/// Is told what the training thread does; an add-on names it in [`AddOn::watch`](crate::add_on::AddOn::watch). If nobody watches,
/// a turn costs a branch.
///
/// The trainer reads no clock: who wants to know how long something took reads one at each turn. That is the time of the host. On
/// an asynchronous device (a GPU) the host only *asks* for the forward pass, the backward pass and the step, and waits for all of
/// them where it reads losses ([`Stage::Read`]): there the time of the device is seen.
pub trait Watch: Send + Sync {
    /// Called on the training thread, several times per step: it has to be quick, and it must not panic.
    fn turn(&self, to: &Turn<'_>);
}
