//! Which LibTorch is loaded.

/// The version of the LibTorch that is loaded, such as `2.13.0`. That it was built against 2.13 is certain: this crate's
/// build script sees to it.
pub fn version() -> String {
    let [major, minor, patch, ..] = crate::ffi::zae_version().to_be_bytes();
    format!("{major}.{minor}.{patch}")
}
