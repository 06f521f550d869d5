//! A Burn run that is cut and gone on with by a new learner ends with the bits of the one that was left alone. One test
//! only: Burn's generator, from which dropout draws, is one per process.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use burn::optim::AdamWConfig;
use common::{Classify, Net, samples};
use zae_engine::{learner::Number, prelude::*};

const EPOCHS: u64 = 3;
/// Five batches an epoch, in windows of two.
const STEPS: u64 = 3 * EPOCHS;

/// Everything in the learner, by name.
#[derive(PartialEq)]
struct Bits(Vec<(String, Vec<u8>)>, Vec<(String, Number)>);

/// Ends the run with an error after this step.
struct CutAt(u64);

impl AddOn for CutAt {
    fn name(&self) -> &'static str {
        "cut"
    }
    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        if cx.progress.step() == self.0 { Err("cut".into()) } else { Ok(()) }
    }
}

/// The same program each time: `Ok` with what it ends with.
fn program(dir: &Path, format: Format, precision: Precision, cut: u64) -> Result<Bits, Error> {
    let device = zae_engine::local_device();
    let learner = BurnLearner::new(Net::new(0.3), AdamWConfig::new(), &device).precision(precision);
    let mut trainer = Trainer::new(Classify, learner)
        .run_dir(dir)
        .seed(7)
        .scheduler(Cosine::new(0.02).warmup(2))
        .gradient_clip(Clip::Norm(1.0))
        .accumulate(2)
        .add_on((StateManager::new().every_steps(2).format(format), CutAt(cut)));
    let data = |seed, n| TensorDataset::new(samples(seed, n)).unwrap();
    let (train, valid) = (DataLoader::new(data(1, 38), 8).shuffle(true), DataLoader::new(data(2, 12), 6));
    let run = trainer.run(EPOCHS, &train, &valid)?;
    assert_eq!((run.outcome, trainer.progress().step()), (Outcome::Complete, STEPS));
    let state = trainer.state_dict()?;
    let tensors = state.tensors.iter().map(|(name, own)| (name.clone(), own.data.bytes().unwrap().into_owned()));
    Ok(Bits(tensors.collect(), state.numbers.into_iter().collect()))
}

#[test]
fn a_run_cut_after_any_step_ends_with_the_same_bits_in_both_formats() {
    // In f16 with the state of its scaler.
    for (precision, cuts) in [(Precision::F32, 1..STEPS), (Precision::F16, 3..6)] {
        let whole = tempfile::tempdir().unwrap();
        let expected = program(whole.path(), Format::default(), precision, 0).unwrap();
        assert_eq!(expected.1.iter().any(|(name, _)| name == "scaler/scale"), precision == Precision::F16);
        let other = tempfile::tempdir().unwrap();
        assert!(program(other.path(), Format::Ckpt, precision, 0).unwrap() == expected, "saving changes nothing");
        for cut in cuts {
            // The last: from one format to the other.
            for (first, then) in [
                (Format::Safetensors, Format::Safetensors),
                (Format::Ckpt, Format::Ckpt),
                (Format::Ckpt, Format::Safetensors),
            ] {
                let dir = tempfile::tempdir().unwrap();
                let error = program(dir.path(), first, precision, cut).err().unwrap().to_string();
                assert!(error.contains("cut"), "{error}");
                let saved = dir.path().join("checkpoints/last").exists();
                assert_eq!(saved, cut > 2, "saved at step 2, unless it is cut before that");
                let ended = program(dir.path(), then, precision, 0).unwrap();
                assert!(ended == expected, "{precision} cut at {cut}, {first:?}, {then:?}");
            }
        }
    }
}
