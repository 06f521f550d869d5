//! So that examples and tests with LibTorch find it also when they are started without Cargo.
#![allow(clippy::print_stdout)]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Set by zae-tch-sys, so only with the feature `tch`.
    if let Ok(lib) = std::env::var("DEP_ZAE_TCH_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
    }
}
