//! A hash that may be kept in files.

/// The hash of Fowler, Noll and Vo (1a, 64 bits): the same in every version of this program.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
