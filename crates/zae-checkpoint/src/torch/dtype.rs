//! The names of element types in PyTorch.

use zae_core::learner::Dtype;

/// Type, class of its storage in the module `torch`, name in the module `torch`. The unsigned ones came after PyTorch
/// stopped making storage classes.
const NAMES: [(Dtype, Option<&str>, &str); 13] = [
    (Dtype::F64, Some("DoubleStorage"), "float64"),
    (Dtype::F32, Some("FloatStorage"), "float32"),
    (Dtype::F16, Some("HalfStorage"), "float16"),
    (Dtype::BF16, Some("BFloat16Storage"), "bfloat16"),
    (Dtype::I64, Some("LongStorage"), "int64"),
    (Dtype::I32, Some("IntStorage"), "int32"),
    (Dtype::I16, Some("ShortStorage"), "int16"),
    (Dtype::I8, Some("CharStorage"), "int8"),
    (Dtype::U64, None, "uint64"),
    (Dtype::U32, None, "uint32"),
    (Dtype::U16, None, "uint16"),
    (Dtype::U8, Some("ByteStorage"), "uint8"),
    (Dtype::Bool, Some("BoolStorage"), "bool"),
];

/// Other names that `repr(torch.dtype)` never gives: types that exist but that no engine here has.
const FOREIGN: [&str; 14] = [
    "complex32",
    "complex64",
    "complex128",
    "quint8",
    "qint8",
    "qint32",
    "quint4x2",
    "quint2x4",
    "float8_e5m2",
    "float8_e4m3fn",
    "float8_e5m2fnuz",
    "float8_e4m3fnuz",
    "float8_e8m0fnu",
    "float4_e2m1fn_x2",
];

pub(super) fn from_storage_class(class: &str) -> Option<Dtype> {
    NAMES.iter().find(|(_, storage, _)| *storage == Some(class)).map(|(dtype, ..)| *dtype)
}

pub(super) fn from_name(name: &str) -> Option<Dtype> {
    NAMES.iter().find(|(_, _, own)| *own == name).map(|(dtype, ..)| *dtype)
}

pub(super) fn is_name(name: &str) -> bool {
    from_name(name).is_some() || FOREIGN.contains(&name)
}

/// The storage class, if it has one, and the name.
pub(super) fn names_of(dtype: Dtype) -> Option<(Option<&'static str>, &'static str)> {
    NAMES.iter().find(|(own, ..)| *own == dtype).map(|(_, storage, name)| (*storage, *name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_type_comes_back_from_its_names() {
        for (dtype, ..) in NAMES {
            let (storage, name) = names_of(dtype).unwrap();
            assert_eq!(from_name(name), Some(dtype));
            assert!(storage.is_none_or(|class| from_storage_class(class) == Some(dtype)));
        }
    }
}
