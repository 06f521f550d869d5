//! Any bytes as `trainer.json` and `manifest.json`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zae_checkpoint::fuzzing;

fuzz_target!(|data: &[u8]| assert!(fuzzing::json(data), "what was written is read otherwise"));
