//! Weights that are not numbers any more are not worth a checkpoint: the one before is what people will want.

use std::collections::BTreeSet;

use zae_core::{
    error::Fallible,
    learner::{Dtype, StateDict},
};

/// So many bytes are looked at before the loop asks whether it is done.
const BLOCK: usize = 1 << 14;

/// The name of a parameter that has a NaN or an infinity. Buffers may have any: a mask of minus infinity is one.
pub(super) fn first_not_finite(state: &StateDict) -> Fallible<Option<&str>> {
    let parameters: BTreeSet<&str> =
        state.layout.tensors.iter().filter(|tensor| tensor.parameter).map(|tensor| tensor.name.as_str()).collect();
    for (name, tensor) in state.model() {
        if !state.layout.tensors.is_empty() && !parameters.contains(name) {
            continue;
        }
        let bytes = tensor.data.bytes()?;
        let bad = match tensor.dtype {
            Dtype::F64 => any(&bytes, |b| u64::from_le_bytes(b) & 0x7ff << 52 == 0x7ff << 52),
            Dtype::F32 => any(&bytes, |b| u32::from_le_bytes(b) & 0xff << 23 == 0xff << 23),
            Dtype::F16 => any(&bytes, |b| u16::from_le_bytes(b) & 0x1f << 10 == 0x1f << 10),
            Dtype::BF16 => any(&bytes, |b| u16::from_le_bytes(b) & 0xff << 7 == 0xff << 7),
            _ => false,
        };
        if bad {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Whether any number is one that `is_bad`. Without a branch within a block, so that it runs as fast as memory.
fn any<const N: usize>(bytes: &[u8], is_bad: impl Fn([u8; N]) -> bool) -> bool {
    let block = |block: &[u8]| block.as_chunks::<N>().0.iter().fold(false, |bad, number| bad | is_bad(*number));
    bytes.chunks(BLOCK).any(block)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use zae_core::learner::{Layout, SavedTensor, TensorLayout};

    use super::*;

    fn state(dtype: Dtype, bytes: Vec<u8>) -> StateDict {
        let tensor = SavedTensor { dtype, shape: vec![bytes.len()], data: Arc::new(bytes) };
        StateDict { tensors: [("model/w".to_owned(), tensor)].into(), ..StateDict::default() }
    }

    #[test]
    fn what_is_not_finite_is_found_anywhere_and_in_every_type() {
        let n = 20_000;
        for at in [0, 1, 4_095, 4_096, n - 1] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0x7f80_0001)] {
                let mut values = vec![f32::MAX; n];
                values[at] = bad;
                let f32s = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                let f64s = values.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect();
                let bf16s =
                    values.iter().flat_map(|x| ((x.to_bits() >> 16 | u32::from(x.is_nan())) as u16).to_le_bytes());
                assert_eq!(first_not_finite(&state(Dtype::F32, f32s)).unwrap(), Some("w"));
                assert_eq!(first_not_finite(&state(Dtype::F64, f64s)).unwrap(), Some("w"));
                assert_eq!(first_not_finite(&state(Dtype::BF16, bf16s.collect())).unwrap(), Some("w"));
            }
        }
        for (dtype, largest) in [
            (Dtype::F16, 0x7bffu16.to_le_bytes().to_vec()),
            (Dtype::BF16, 0x7f7fu16.to_le_bytes().to_vec()),
            (Dtype::F32, f32::MAX.to_le_bytes().to_vec()),
            (Dtype::F64, f64::MIN.to_le_bytes().to_vec()),
            (Dtype::I32, vec![0xff; 4]),
        ] {
            assert_eq!(first_not_finite(&state(dtype, largest.repeat(10_000))).unwrap(), None, "{dtype:?}");
        }
        assert_eq!(first_not_finite(&state(Dtype::F16, 0xfc00u16.to_le_bytes().to_vec())).unwrap(), Some("w"));
    }

    #[test]
    fn a_buffer_may_be_infinite() {
        let mut mask = state(Dtype::F32, f32::NEG_INFINITY.to_le_bytes().to_vec());
        let tensor = TensorLayout { name: "w".to_owned(), parameter: false, ..TensorLayout::default() };
        mask.layout = Arc::new(Layout { tensors: vec![tensor], optimizer: None });
        assert_eq!(first_not_finite(&mask).unwrap(), None);
    }
}
