//! Any bytes as a file of PyTorch.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zae_checkpoint::{Bytes, ckpt, torch};

fuzz_target!(|data: &[u8]| {
    let file = Bytes::from(data.to_vec());
    let _ = torch::verify(&file);
    let Ok(value) = torch::read(&file) else { return };
    let _ = ckpt::decode(&value);
    if let Ok(weights) = ckpt::weights(&value) {
        weights.values().for_each(|tensor| drop(tensor.data.bytes()));
    }
    // What was read can be written, unless it has objects of foreign classes, and then reads the same again.
    let mut again = Vec::new();
    if torch::write(&value, &mut again).is_ok() {
        let back = torch::read(&Bytes::from(again.clone()));
        let mut third = Vec::new();
        torch::write(&back.expect("what was written is read"), &mut third).expect("what was read is written");
        assert_eq!(again, third);
    }
});
