//! What the tests save.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, path::Path, sync::Arc};

use zae_core::{
    add_ons::EarlyStopping,
    learner::{Dtype, Number, SavedTensor, StateDict},
    schedule::{Cosine, ReduceOnPlateau, Schedule},
    snapshot::Snapshot,
    state::State,
    testing::{Architecture, Fixture, FixtureTask, Recorder, Samples, reference::Reference},
    trainer::Trainer,
};

/// Snapshots of a small run with everything that has state: after every step, validation and epoch.
pub(crate) fn snapshots() -> Vec<Arc<Snapshot>> {
    let fixture = Reference::default();
    let sizes = fixture.sizes(Architecture::Full);
    let batches = |seed| -> Vec<_> {
        let samples = Samples::random(14, sizes.features, sizes.classes, seed);
        samples.batches(&[5, 5, 4]).iter().map(|samples| fixture.batch(samples)).collect()
    };
    let (train, valid) = (batches(1), batches(2));
    let recorder = Recorder::new().with_snapshots();
    let schedule = ReduceOnPlateau::new(Cosine::new(0.02).warmup(3)).patience(0).threshold(0.9);
    let mut trainer = Trainer::new(FixtureTask::new(&fixture), fixture.learner(Architecture::Full))
        .seed(11)
        .handle_signals(false)
        .scheduler(schedule)
        .accumulate(2)
        .add_on((recorder.clone(), EarlyStopping::new("valid/loss").patience(2)));
    trainer.run(2, &train, &valid).unwrap();
    let snapshots = std::mem::take(&mut recorder.get().snapshots);
    snapshots.into_iter().map(|(_, snapshot)| snapshot).collect()
}

/// The last one of each step.
pub(crate) fn one_per_step() -> Vec<Arc<Snapshot>> {
    let by_step: BTreeMap<u64, _> =
        snapshots().into_iter().map(|snapshot| (snapshot.run.progress.step(), snapshot)).collect();
    by_step.into_values().collect()
}

/// One of a step, with what a run seldom has: second weights, numbers and states that JSON has no words for, all types.
pub(crate) fn snapshot(index: usize) -> Snapshot {
    let mut snapshot = Snapshot::clone(&one_per_step()[index]);
    snapshot.learner.tensors.extend(every_type());
    let numbers = [
        ("optimizer/head.weight/momentum.time", Number::UInt(u64::MAX)),
        ("optimizer/head.weight/small", Number::Int(i64::MIN)),
        ("optimizer/head.weight/nan", Number::Float(f64::from_bits(0xfff8_0000_0000_1234))),
        ("optimizer/head.weight/zero", Number::Float(-0.0)),
        ("model/flag", Number::Bool(true)),
    ];
    snapshot.learner.numbers.extend(numbers.map(|(name, number)| (name.to_owned(), number)));
    snapshot.run.lr = f64::NEG_INFINITY;
    snapshot.run.add_ons.insert("raw".to_owned(), State(vec![0xc1, 0, 255]));
    snapshot.run.add_ons.insert("floats".to_owned(), State::encode(&(f32::NAN, 0.1f32, f64::MIN_POSITIVE)).unwrap());
    snapshot
}

/// A tensor of each type, one without elements, one without dimensions.
pub(crate) fn every_type() -> Vec<(String, SavedTensor)> {
    let types = [
        (Dtype::F64, 8),
        (Dtype::F32, 4),
        (Dtype::F16, 2),
        (Dtype::BF16, 2),
        (Dtype::I64, 8),
        (Dtype::I32, 4),
        (Dtype::I16, 2),
        (Dtype::I8, 1),
        (Dtype::U64, 8),
        (Dtype::U32, 4),
        (Dtype::U16, 2),
        (Dtype::U8, 1),
        (Dtype::Bool, 1),
    ];
    let tensor = |(dtype, size): (Dtype, usize), shape: &[usize]| {
        let bytes = shape.iter().product::<usize>() * size;
        let byte = |i: usize| if dtype == Dtype::Bool { (i % 2) as u8 } else { (i * 37 + size) as u8 };
        SavedTensor { dtype, shape: shape.to_vec(), data: Arc::new((0..bytes).map(byte).collect::<Vec<u8>>()) }
    };
    let mut tensors: Vec<_> = types
        .iter()
        .map(|&dtype| (format!("shadow/ema/{}", format!("{:?}", dtype.0).to_lowercase()), tensor(dtype, &[3, 1])))
        .collect();
    tensors.push(("shadow/ema/empty".to_owned(), tensor(types[1], &[2, 0])));
    tensors.push(("shadow/ema/scalar".to_owned(), tensor(types[0], &[])));
    tensors
}

/// Fails unless both are the same, bit for bit.
#[track_caller]
pub(crate) fn assert_same(a: &Snapshot, b: &Snapshot) {
    assert_eq!(State::encode(&a.run).unwrap(), State::encode(&b.run).unwrap(), "{:?}\n{:?}", a.run, b.run);
    assert_same_learner(&a.learner, &b.learner);
}

#[track_caller]
pub(crate) fn assert_same_learner(a: &StateDict, b: &StateDict) {
    assert_eq!(a.tensors.keys().collect::<Vec<_>>(), b.tensors.keys().collect::<Vec<_>>());
    for ((name, a), b) in a.tensors.iter().zip(b.tensors.values()) {
        assert_eq!((a.dtype, &a.shape), (b.dtype, &b.shape), "{name}");
        assert_eq!(a.data.bytes().unwrap(), b.data.bytes().unwrap(), "{name}");
    }
    assert_eq!(State::encode(&a.numbers).unwrap(), State::encode(&b.numbers).unwrap());
}

/// A copy of a folder and all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let to = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &to);
        } else {
            std::fs::copy(item.path(), to).unwrap();
        }
    }
}
