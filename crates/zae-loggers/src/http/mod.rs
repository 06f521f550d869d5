//! [`Client`]: requests that end in time, and failures that say whether trying again can help.

mod client;
mod escaped;
mod failure;
mod secret;

#[allow(unused_imports, reason = "not each tracker needs all of it")]
pub(crate) use client::{Client, Reply, Request};
pub(crate) use escaped::escaped;
pub(crate) use failure::Failure;
pub(crate) use secret::Secret;
