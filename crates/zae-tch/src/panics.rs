//! Panics of `tch`, as the errors that they are.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use zae_core::error::{Fallible, Panicked};

/// Runs what calls `tch`, most of whose operations panic where LibTorch refuses: what LibTorch said becomes the error, without
/// the Rust and the C++ around it. Any other panic goes on.
pub(crate) fn plain<R>(work: impl FnOnce() -> R) -> Fallible<R> {
    catch_unwind(AssertUnwindSafe(work)).or_else(|payload| match said(&Panicked::new(&*payload).0) {
        Some(said) => Err(said.into()),
        None => resume_unwind(payload),
    })
}

/// What LibTorch said, out of the message of a panic of `tch`: the first line of `Torch("...")`.
fn said(panic: &str) -> Option<String> {
    let text = panic.strip_prefix("called `Result::unwrap()` on an `Err` value: Torch(\"")?;
    let line = text.split("\\n").next()?;
    Some(line.strip_suffix("\")").unwrap_or(line).replace("\\\"", "\"").replace("\\'", "'"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use tch::Tensor;

    use super::*;

    #[test]
    fn what_tch_panics_with_is_what_libtorch_said() {
        let labels = Tensor::from_slice(&[10i64]);
        let error =
            plain(|| Tensor::zeros([1, 10], tch::kind::FLOAT_CPU).cross_entropy_for_logits(&labels)).unwrap_err();
        assert_eq!(error.to_string(), "Target 10 is out of bounds.");
        assert_eq!(plain(|| 7).unwrap(), 7);
        assert!(catch_unwind(|| plain(|| std::panic::panic_any("mine"))).is_err());
    }
}
