//! [`Element`]: what an array may hold.

use bytemuck::Pod;

/// A type of Rust's that is an element of NumPy's arrays.
pub trait Element: Pod + Send + Sync + sealed::Sealed {
    /// What NumPy calls it: `float32`.
    const NAME: &'static str;
    /// How it is written in a file's header, without the byte order: `f4`.
    #[doc(hidden)]
    const CODE: &'static str;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($kind:ty, $name:literal, $code:literal;)*) => {
        $(
            impl sealed::Sealed for $kind {}
            impl Element for $kind {
                const NAME: &'static str = $name;
                const CODE: &'static str = $code;
            }
        )*

        /// The type of Rust's and NumPy's name for a header's type, if it is one that is read.
        pub(super) fn names_of(code: &str) -> Option<(&'static str, &'static str)> {
            match code {
                $($code => Some((stringify!($kind), $name)),)*
                _ => None,
            }
        }
    };
}
elements! {
    u8, "uint8", "u1";
    u16, "uint16", "u2";
    u32, "uint32", "u4";
    u64, "uint64", "u8";
    i8, "int8", "i1";
    i16, "int16", "i2";
    i32, "int32", "i4";
    i64, "int64", "i8";
    f32, "float32", "f4";
    f64, "float64", "f8";
}
