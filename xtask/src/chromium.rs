//! What the tests of reports need besides Rust.

use std::env;

use crate::path::program;

/// Where the tests look too.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Says what is missing, and how it is installed.
pub(crate) fn complete() -> Result<(), String> {
    if env::var_os("ZAE_CHROMIUM").is_some() || NAMES.into_iter().any(program) {
        return Ok(());
    }
    Err("there is no Chromium: install chromium (so Debian calls it), or say in ZAE_CHROMIUM where one is".to_owned())
}
