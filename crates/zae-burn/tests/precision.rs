//! Half precision. A binary of its own: Burn's generator is one per process.
#![allow(clippy::unwrap_used, clippy::unit_arg)]

#[path = "common/fixture.rs"]
mod fixture;

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::{optim::AdamWConfig, prelude::*};
use zae_burn::BurnLearner;
use zae_core::{
    engine::Engine,
    learner::{Clip, Dtype, Learner, StateDict, Update},
    precision::Precision,
    task::Mode,
    testing::{Architecture, Fixture, FixtureTask, Recorded, Recorder, Samples},
    trainer::Trainer,
};

use fixture::{Batch, Flex, Net};

/// Runs draw from one generator, so they take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

const HALVES: [Precision; 2] = [Precision::Bf16, Precision::F16];

fn flex(precision: Precision) -> Flex {
    Flex { precision, ..Flex::like_torch() }
}

fn batches(fixture: &Flex, seed: u64) -> Vec<Batch> {
    let samples = Samples::random(40, 6, 3, seed);
    samples.batches(&[10, 10, 10, 7, 3]).iter().map(|samples| fixture.batch(samples)).collect()
}

/// With batch norm and dropout, windows of two micro-batches, and clipping.
fn trainer(fixture: &Flex) -> (Trainer<FixtureTask<Flex>>, Recorder) {
    let recorder = Recorder::new().with_snapshots();
    let trainer = Trainer::new(FixtureTask::new(fixture), fixture.learner(Architecture::Full))
        .seed(3)
        .scheduler(0.02)
        .accumulate(2)
        .gradient_clip(Clip::Norm(1.0))
        .handle_signals(false)
        .add_on(recorder.clone());
    (trainer, recorder)
}

fn losses(recorded: &Recorded) -> Vec<f64> {
    let of = |row: &(u64, Vec<(String, u64)>)| row.1.iter().find(|(name, _)| name == "train/loss").unwrap().1;
    recorded.rows.iter().map(|row| f64::from_bits(of(row))).collect()
}

fn bytes(state: &StateDict) -> Vec<(String, Vec<u8>)> {
    let tensors = state.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.data.bytes().unwrap().into_owned()));
    let numbers = state.numbers.iter().map(|(name, number)| (name.clone(), format!("{number:?}").into_bytes()));
    tensors.chain(numbers).collect()
}

#[test]
fn half_precision_trains_as_f32_does() {
    let _turn = turn();
    let run = |precision| {
        let fixture = flex(precision);
        let (mut trainer, recorder) = trainer(&fixture);
        let run = trainer.run(8, batches(&fixture, 1), batches(&fixture, 2)).unwrap();
        let losses = losses(&recorder.get());
        (losses, *run.history.epochs.last().unwrap().metrics.get("valid/loss").unwrap())
    };
    let (exact, exact_valid) = run(Precision::F32);
    assert!(exact.last().unwrap() < &(0.7 * exact[0]), "{exact:?}");
    for (precision, near) in HALVES.into_iter().zip([0.06, 0.01]) {
        let (half, valid) = run(precision);
        assert_ne!(half, exact, "{precision} computes in f32");
        for (half, exact) in half.iter().zip(&exact) {
            assert!((half - exact).abs() < near, "{precision}: {half} and {exact}");
        }
        // Running statistics too.
        assert!((valid - exact_valid).abs() < near, "{precision}: {valid} and {exact_valid}");
    }
}

#[test]
fn forward_passes_are_in_half_and_all_that_is_saved_in_f32() {
    let _turn = turn();
    for precision in HALVES {
        let fixture = flex(precision);
        let (mut trainer, recorder) = trainer(&fixture);
        trainer.run(1, batches(&fixture, 1), ()).unwrap();
        let snapshot = recorder.get().snapshots.last().unwrap().1.clone();
        assert!(snapshot.learner.tensors.keys().any(|name| name.starts_with("optimizer/")));
        let floats = snapshot.learner.tensors.iter().filter(|(name, _)| !name.ends_with("training"));
        assert!(floats.map(|(_, tensor)| tensor.dtype).all(|dtype| dtype == Dtype::F32));
        let mut learner = trainer.into_learner();
        let wanted = if precision == Precision::F16 { burn::tensor::DType::F16 } else { burn::tensor::DType::BF16 };
        for mode in [Mode::Train, Mode::Evaluate] {
            let (x, _) = learner.place(batches(&fixture, 1)[0].clone(), mode);
            assert_eq!(x.dtype(), wanted);
            let forward = |net: &Net| net.forward(x).dtype();
            let found = if mode == Mode::Train { learner.train(forward) } else { learner.eval(forward) };
            assert_eq!(found.unwrap(), wanted);
        }
        // Weights are lent as ever.
        learner.parameters(&mut |_, values| Ok(values.fill(0.5))).unwrap();
        let placed = learner.place(batches(&fixture, 1)[0].clone(), Mode::Evaluate).0;
        let same = learner.eval(|net| net.forward(placed)).unwrap().cast(burn::tensor::FloatDType::F32);
        let first = same.clone().slice([0..1, 0..1]).into_scalar::<f32>();
        assert_eq!(same.into_data().iter::<f32>().take(3).collect::<Vec<_>>(), [first; 3]);
    }
}

#[test]
fn a_run_goes_on_bit_for_bit_from_any_snapshot() {
    let _turn = turn();
    for precision in HALVES {
        let fixture = flex(precision);
        let (train, valid) = (batches(&fixture, 1), batches(&fixture, 2));
        let (mut whole, recorder) = trainer(&fixture);
        whole.run(2, &train, &valid).unwrap();
        let expected = (losses(&recorder.get()), bytes(&whole.snapshot().unwrap().learner));
        let snapshots = std::mem::take(&mut recorder.get().snapshots);
        assert!(snapshots.len() > 6);
        for (moment, snapshot) in snapshots {
            let (mut resumed, recorder) = trainer(&fixture);
            resumed.restore(&snapshot).unwrap();
            resumed.run(2, &train, &valid).unwrap();
            let step = snapshot.run.progress.step() as usize;
            assert_eq!(losses(&recorder.get()), expected.0[step..], "{precision} from {moment:?} {step}");
            assert!(bytes(&resumed.snapshot().unwrap().learner) == expected.1, "{precision} from {moment:?} {step}");
        }
    }
}

#[test]
fn a_run_may_go_on_in_another_precision() {
    let _turn = turn();
    let (mut first, recorder) = trainer(&flex(Precision::F32));
    first.run(1, batches(&flex(Precision::F32), 1), ()).unwrap();
    let snapshot = recorder.get().snapshots.last().unwrap().1.clone();
    let (mut second, _) = trainer(&flex(Precision::Bf16));
    second.restore(&snapshot).unwrap();
    second.run(2, batches(&flex(Precision::Bf16), 1), ()).unwrap();
}

#[test]
fn checkpointed_activations_change_nothing() {
    let _turn = turn();
    let fixture = flex(Precision::Bf16);
    let trained = |device: Device| {
        let net = Net::new(Architecture::Full, fixture.sizes(Architecture::Full));
        let mut learner = BurnLearner::new(net, AdamWConfig::new(), &device).precision(Precision::Bf16);
        learner.init(1).unwrap();
        for (i, batch) in batches(&fixture, 1).into_iter().enumerate() {
            learner.seed(i as u64);
            let (x, _) = learner.place(batch, Mode::Train);
            let loss = learner.train(|net| (net.forward(x) - 0.5).square().mean()).unwrap();
            learner.backward(loss, 1.0, true).unwrap();
            learner.step(&Update::new(0.01)).unwrap();
        }
        bytes(&learner.snapshot().unwrap())
    };
    let device = Device::flex();
    assert!(trained(device.clone()) == trained(device.autodiff().gradient_checkpointing()));
}
