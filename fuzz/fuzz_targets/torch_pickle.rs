//! Any bytes as the pickle in an archive that is as it should be.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zae_checkpoint::{Bytes, ckpt, torch};

/// An archive with this pickle and one storage of 64 bytes.
fn with_pickle(pickle: &[u8]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::<u8>::new(), Vec::<u8>::new());
    for (name, data) in [("a/data.pkl", pickle), ("a/data/0", &[7; 64])] {
        let sizes = [crc32fast::hash(data), data.len() as u32, data.len() as u32].map(u32::to_le_bytes).concat();
        let at = (out.len() as u32).to_le_bytes();
        let name_len = (name.len() as u16).to_le_bytes();
        out.extend(b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0".iter().chain(&sizes).chain(&name_len).chain(&[0, 0]));
        out.extend(name.as_bytes().iter().chain(data));
        directory.extend(b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0".iter().chain(&sizes).chain(&name_len));
        directory.extend([0; 12].iter().chain(&at).chain(name.as_bytes()));
    }
    let at = (out.len() as u32).to_le_bytes();
    let len = (directory.len() as u32).to_le_bytes();
    out.extend(directory);
    out.extend(b"PK\x05\x06\0\0\0\0\x02\0\x02\0".iter().chain(&len).chain(&at).chain(&[0, 0]));
    out
}

fuzz_target!(|data: &[u8]| {
    let file = Bytes::from(with_pickle(data));
    torch::verify(&file).expect("the archive is as it should be");
    let Ok(value) = torch::read(&file) else { return };
    let _ = ckpt::decode(&value);
    if let Ok(weights) = ckpt::weights(&value) {
        weights.values().for_each(|tensor| drop(tensor.data.bytes()));
    }
});
