//! [`Precision`]: in which type a model computes.

/// In which floating-point type a model computes while it trains and evaluates. Losses, metrics and what a checkpoint holds
/// of the optimizer are not changed by it; what an engine keeps the weights in is in its own documentation.
///
/// As text, `f32`, `bf16` and `f16`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Precision {
    /// 32 bits: nothing is converted.
    #[default]
    F32,
    /// 16 bits with the range of `f32` and 8 bits of mantissa. Needs no scaling of the loss.
    Bf16,
    /// 16 bits with 11 bits of mantissa and a range up to 65504. Small gradients vanish in it unless the loss is scaled.
    F16,
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

impl std::str::FromStr for Precision {
    type Err = crate::error::BoxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            _ => Err(format!("there is no precision `{text}`: `f32`, `bf16` and `f16` are").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn precisions_are_read_as_they_are_written() {
        for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
            assert_eq!(precision.to_string().parse::<Precision>().unwrap(), precision);
        }
        assert!("fp32".parse::<Precision>().unwrap_err().to_string().contains("`bf16`"));
    }
}
