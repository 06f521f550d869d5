//! Tells the bench where LibTorch's libraries are, for it starts itself again.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

fn main() {
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", std::env::var("DEP_ZAE_TCH_LIBTORCH_LIB").unwrap());
}
