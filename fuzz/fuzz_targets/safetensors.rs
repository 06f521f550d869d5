//! Any bytes as a safetensors file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zae_checkpoint::fuzzing;

fuzz_target!(|data: &[u8]| {
    for (name, tensor) in fuzzing::safetensors(data.to_vec()).into_iter().flatten() {
        let elements: usize = tensor.shape.iter().product();
        let bytes = tensor.data.bytes().expect("a slice of the file");
        assert_eq!(bytes.len(), elements * tensor.dtype.size(), "{name}");
    }
});
