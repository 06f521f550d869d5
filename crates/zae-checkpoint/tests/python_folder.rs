//! What Python's `safetensors`, `numpy` and `xxhash` say about our folders, and we about theirs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "common/interpreter.rs"]
mod interpreter;

use std::{collections::BTreeMap, sync::Arc};

use interpreter::python;
use serde::Deserialize;
use zae_checkpoint::{
    Format,
    disk::Disk,
    folder::{Folder, scan},
    read_checkpoint,
};
use zae_core::{
    learner::{Dtype, Number, SavedTensor, StateDict},
    snapshot::{RunState, Snapshot},
};

/// What the script prints.
#[derive(Deserialize)]
struct Found {
    parts: BTreeMap<String, FoundPart>,
    metrics: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct FoundPart {
    numbers: BTreeMap<String, Number>,
    tensors: BTreeMap<String, FoundTensor>,
}

#[derive(Deserialize)]
struct FoundTensor {
    dtype: String,
    shape: Vec<usize>,
    bytes: String,
}

const DTYPES: [(Dtype, &str); 13] = [
    (Dtype::F64, "F64"),
    (Dtype::F32, "F32"),
    (Dtype::F16, "F16"),
    (Dtype::BF16, "BF16"),
    (Dtype::I64, "I64"),
    (Dtype::I32, "I32"),
    (Dtype::I16, "I16"),
    (Dtype::I8, "I8"),
    (Dtype::U64, "U64"),
    (Dtype::U32, "U32"),
    (Dtype::U16, "U16"),
    (Dtype::U8, "U8"),
    (Dtype::Bool, "BOOL"),
];

fn state() -> StateDict {
    let mut state = StateDict::default();
    for (i, (dtype, name)) in DTYPES.into_iter().enumerate() {
        for (part, shape) in [("model", vec![3, 2]), ("optimizer", vec![]), ("shadow", vec![2, 0])] {
            let bytes = shape.iter().product::<usize>() * dtype.size();
            let byte = |j: usize| if dtype == Dtype::Bool { (j % 2) as u8 } else { (i * 41 + j * 13) as u8 };
            let data = Arc::new((0..bytes).map(byte).collect::<Vec<u8>>());
            state.tensors.insert(format!("{part}/ö.{name}/x"), SavedTensor { dtype, shape, data });
        }
    }
    let numbers = [
        ("model/yes", Number::Bool(true)),
        ("optimizer/ö/time", Number::UInt(u64::MAX)),
        ("optimizer/ö/int", Number::Int(i64::MIN)),
        ("optimizer/ö/sum", Number::Float(0.1 + 0.2)),
        ("optimizer/ö/tiny", Number::Float(5e-324)),
    ];
    state.numbers.extend(numbers.map(|(name, number)| (name.to_owned(), number)));
    state
}

#[test]
#[ignore = "needs Python: `cargo xtask test` runs it"]
fn python_reads_our_folder_by_its_description_and_we_read_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let state = state();
    let metrics = BTreeMap::from([("valid/loss".to_owned(), 0.1 + 0.2), ("valid/accuracy".to_owned(), 1e-300)]);
    let snapshot = Snapshot::new(RunState::default(), state.clone());
    let folder = Folder::open(&dir.path().join("run"), Disk::new()).unwrap();
    folder.save(&snapshot, Format::Safetensors, &metrics).unwrap();
    let ours = scan(folder.dir()).unwrap().remove(0).path;
    let theirs = dir.path().join("theirs");
    let found: Found = serde_json::from_slice(&python("checkpoint_folder.py", &[&ours, &theirs])).unwrap();

    assert_eq!(found.metrics, metrics);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut tensors = 0;
    for (part, FoundPart { numbers, tensors: of_part }) in &found.parts {
        let expected =
            state.numbers.iter().filter_map(|(name, n)| Some((name.strip_prefix(part)?.get(1..)?.to_owned(), *n)));
        assert_eq!(numbers, &expected.collect::<BTreeMap<_, _>>());
        for (name, theirs) in of_part {
            let ours = &state.tensors[&format!("{part}/{name}")];
            let dtype = DTYPES.iter().find(|(dtype, _)| *dtype == ours.dtype).unwrap().1;
            assert_eq!((theirs.dtype.as_str(), &theirs.shape), (dtype, &ours.shape), "{name}");
            assert_eq!(theirs.bytes, hex(&ours.data.bytes().unwrap()), "{name}");
            tensors += 1;
        }
    }
    assert_eq!(tensors, state.tensors.len());

    let read = read_checkpoint(&theirs).unwrap().learner;
    let sevenths: Vec<u8> = (0..6).flat_map(|i| (f64::from(i) / 7.0).to_le_bytes()).collect();
    let expected = [
        ("model/a", Dtype::Bool, vec![2], vec![1, 0]),
        ("model/b", Dtype::F64, vec![2, 3], sevenths),
        ("model/e", Dtype::I8, vec![0, 4], vec![]),
        ("model/h", Dtype::F16, vec![2], vec![0x00, 0x3e, 0x00, 0x80]),
        ("optimizer/b/moment", Dtype::U64, vec![2], [1u64 << 63, 1].iter().flat_map(|x| x.to_le_bytes()).collect()),
    ];
    assert_eq!(read.tensors.len(), expected.len());
    for (name, dtype, shape, bytes) in expected {
        let tensor = &read.tensors[name];
        assert_eq!((tensor.dtype, &tensor.shape), (dtype, &shape), "{name}");
        assert_eq!(&*tensor.data.bytes().unwrap(), bytes, "{name}");
    }
    let numbers = [("optimizer/b/beta", Number::Float(0.1)), ("optimizer/b/time", Number::UInt(u64::MAX))];
    assert_eq!(read.numbers, numbers.map(|(name, number)| (name.to_owned(), number)).into());
}
