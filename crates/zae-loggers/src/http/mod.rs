//! [`Client`]: requests that end in time, and failures that say whether trying again can help.

mod client;
mod failure;
mod secret;

pub(crate) use client::{Client, Reply, Request};
pub(crate) use failure::Failure;
pub(crate) use secret::Secret;
