//! What PyTorch and Lightning themselves say about our files, and we about theirs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/interpreter.rs"]
mod interpreter;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{DTYPES, LARGE, Sparse, contiguous, file_of, large, size_of, torch_name};
use interpreter::python;
use zae_checkpoint::{
    Bytes, ckpt,
    torch::{self, Error, Storage, Tensor, Value},
};
use zae_core::{
    learner::{Clip, Dtype, Learner, Readout, SavedTensor, StateDict, TensorBytes, Update},
    place::Place,
    snapshot::{RunState, Snapshot},
    task::Mode,
    testing::{
        Architecture, Fixture, Samples, Sizes,
        reference::{Reference, ReferenceLearner},
    },
};

fn read(path: &Path) -> Value {
    torch::verify(&Bytes::map(path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    torch::read(&Bytes::map(path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// As `described` in `tests/python/compare.py`.
fn described(tensors: &[(String, Tensor)]) -> Vec<(&'static str, Value)> {
    let each = |of: fn(&Tensor) -> Value| Value::dict(tensors.iter().map(|(name, tensor)| (name.as_str(), of(tensor))));
    vec![
        ("tensors", each(|tensor| tensor.clone().into())),
        ("bytes", each(|tensor| Value::Bytes(tensor.bytes().unwrap().as_ref().into()))),
        ("dtypes", each(|tensor| torch_name(tensor.dtype()).into())),
        ("shapes", each(|tensor| Value::Tuple(tensor.shape().iter().map(|n| Value::Int(*n as i64)).collect()))),
    ]
}

/// As `check` in `tests/python/compare.py`.
fn check(found: &Value) -> usize {
    let entries = |key: &str| found.get(key).unwrap().as_dict().unwrap();
    let mut checked = 0;
    for (i, (name, tensor)) in entries("tensors").iter().enumerate() {
        let (name, tensor) = (text(name), tensor.as_tensor().unwrap());
        let Value::Bytes(bytes) = &entries("bytes")[i].1 else { panic!("no bytes") };
        assert_eq!(*tensor.bytes().unwrap(), **bytes, "{name}");
        assert_eq!(torch_name(tensor.dtype()), text(&entries("dtypes")[i].1), "{name}");
        let shape: Vec<_> =
            entries("shapes")[i].1.as_list().unwrap().iter().map(|n| n.as_i64().unwrap() as usize).collect();
        assert_eq!(tensor.shape(), shape, "{name}");
        checked += 1;
    }
    checked
}

fn plain() -> Value {
    let ints = |numbers: &[i64]| numbers.iter().map(|number| Value::Int(*number)).collect::<Vec<_>>();
    let mut plain = vec![
        ("none".into(), Value::None),
        ("true".into(), Value::Bool(true)),
        ("false".into(), Value::Bool(false)),
        ("byte".into(), Value::Int(255)),
        ("negative".into(), Value::Int(-5)),
        ("long".into(), Value::Int(1 << 40)),
        ("least".into(), Value::Int(i64::MIN)),
        ("u64".into(), u64::MAX.into()),
        ("float".into(), Value::Float(0.1 + 0.2)),
        ("infinity".into(), Value::Float(f64::NEG_INFINITY)),
        ("nan".into(), Value::Float(f64::NAN)),
        ("text".into(), "naïve ✓".into()),
        ("bytes".into(), Value::Bytes((0..=255).collect::<Vec<u8>>().into())),
        ("tuple".into(), Value::Tuple(vec![Value::Int(1), Value::Tuple(Vec::new()), Value::Tuple(vec!["one".into()])])),
        ("empty".into(), Value::Dict(Vec::new())),
        (Value::Int(3), "an integer as key".into()),
    ];
    let mut list = ints(&[1]);
    list.extend([Value::List(Vec::new()), Value::List(vec![Value::Float(2.0), "two".into()])]);
    plain.push(("list".into(), Value::List(list)));
    Value::Dict(plain)
}

#[test]
#[ignore = "needs Python with torch: cargo xtask test runs it"]
fn pytorch_reads_every_type_and_view_of_ours() {
    let pattern = |len: usize| (0..len).map(|i| (i * 37 + 11) as u8).collect::<Vec<_>>();
    let mut tensors: Vec<_> = DTYPES
        .map(|dtype| {
            let bytes =
                pattern(6 * size_of(dtype)).iter().map(|b| if dtype == Dtype::Bool { b % 2 } else { *b }).collect();
            (format!("{dtype:?}"), contiguous(dtype, &[2, 3], bytes))
        })
        .into();
    let matrix = contiguous(Dtype::I32, &[3, 4], pattern(48));
    let view = |shape: &[usize], stride: &[usize], offset| {
        Tensor::new(Dtype::I32, shape.to_vec(), stride.to_vec(), offset, matrix.storage().clone()).unwrap()
    };
    let transposed = contiguous(Dtype::F32, &[2, 3], pattern(24)).transposed();
    let column16 = contiguous(Dtype::U16, &[4, 2], pattern(16));
    tensors.extend([
        ("matrix".to_owned(), matrix.clone()),
        ("column".to_owned(), view(&[3], &[4], 1)),
        ("row".to_owned(), view(&[4], &[1], 4)),
        ("expanded".to_owned(), view(&[3, 5], &[1, 0], 2)),
        ("transposed".to_owned(), transposed),
        (
            "unsigned column".to_owned(),
            Tensor::new(Dtype::U16, vec![3], vec![2], 1, column16.storage().clone()).unwrap(),
        ),
        ("number".to_owned(), contiguous(Dtype::BF16, &[], vec![1, 2])),
        ("empty".to_owned(), contiguous(Dtype::F64, &[0], Vec::new())),
        ("empty matrix".to_owned(), contiguous(Dtype::F64, &[3, 0, 2], Vec::new())),
        ("long".to_owned(), contiguous(Dtype::U8, &[300_001], pattern(300_001))),
    ]);
    let mut entries = described(&tensors);
    entries.push(("plain", plain()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ours.pt");
    std::fs::write(&path, file_of(&Value::dict(entries))).unwrap();
    python("read_ours.py", &[&path]);
    assert_eq!(check(&read(&folder.path().join("ours.pt.again"))), tensors.len(), "and what PyTorch makes of it again");
}

#[test]
#[ignore = "needs Python with torch: cargo xtask test runs it"]
fn pytorch_reads_ours_beyond_4_gib() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.pt");
    torch::write(&large(), &mut Sparse::create(&path)).unwrap();
    assert!(path.metadata().unwrap().len() > LARGE as u64);
    python("read_large.py", &[&path]);
}

#[test]
#[ignore = "needs Python with torch: cargo xtask test runs it"]
fn we_read_what_pytorch_writes() {
    let folder = tempfile::tempdir().unwrap();
    python("write_theirs.py", &[folder.path()]);
    let file = |name: &str| folder.path().join(name);
    for protocol in 2..=5 {
        let found = read(&file(&format!("tensors-{protocol}.pt")));
        assert_eq!(check(&found), 27);
        let tensor = |name| found.get("tensors").unwrap().get(name).unwrap().as_tensor().unwrap();
        assert!(Arc::ptr_eq(tensor("base").storage(), tensor("transposed").storage()), "views share a storage");
        check_containers(&read(&file(&format!("containers-{protocol}.pt"))));
    }
    assert_eq!(check(&read(&file("tensors-net.pt"))), 10);
    let weights = |name: &str| ckpt::weights(&read(&file(name))).unwrap();
    let state_dict = weights("state_dict.pt");
    assert_eq!(state_dict.len(), 10);
    assert_eq!(state_dict["1.num_batches_tracked"].dtype, Dtype::I64);
    for name in ["training.pt", "repacked.pt"] {
        let other = weights(name);
        assert!(state_dict.keys().eq(other.keys()), "{name}");
        for (key, tensor) in &other {
            assert_eq!(tensor.data.bytes().unwrap(), state_dict[key].data.bytes().unwrap(), "{name}: {key}");
        }
    }
    let module = ckpt::weights(&read(&file("refused-module.pt"))).err().unwrap();
    assert!(module.to_string().contains("torch.nn.modules.container.Sequential"), "{module}");
    for (name, needle) in [
        ("refused-legacy.pt", "before 1.6"),
        ("refused-script.pt", "TorchScript"),
        ("refused-deflated.pt", "compressed"),
        ("refused-big-endian.pt", "big-endian"),
    ] {
        let error = torch::read(&Bytes::map(&file(name)).unwrap()).unwrap_err();
        assert!(matches!(&error, Error::Unsupported(what) if what.contains(needle)), "{name}: {error}");
    }
}

fn check_containers(found: &Value) {
    let get = |key: &str| found.get(key).unwrap_or_else(|| panic!("no {key}"));
    let ints = |value: &Value| value.as_list().unwrap().iter().map(Value::as_i64).collect::<Vec<_>>();
    assert!(matches!(get("none"), Value::None));
    assert!(matches!(get("bools").as_list(), Some([Value::Bool(true), Value::Bool(false)])));
    let [most @ .., beyond] = get("ints").as_list().unwrap() else { panic!("no ints") };
    let expected = [0, 255, 256, 65536, -1, 1 << 31, -(1 << 31) - 1, i64::MAX, i64::MIN].map(Some);
    assert_eq!(most.iter().map(Value::as_i64).collect::<Vec<_>>(), expected);
    assert!(matches!(beyond, Value::UInt(u64::MAX)));
    assert!(matches!(get("beyond"), Value::Opaque(_)));
    assert!(
        matches!(get("floats").as_list(), Some([Value::Float(a), Value::Float(b)]) if *a == 0.1 + 0.2 && *b == f64::NEG_INFINITY)
    );
    assert_eq!((text(get("text")), text(get("long text"))), ("naïve ✓", &*"x".repeat(300)));
    assert!(matches!(get("bytes"), Value::Bytes(bytes) if (0..=255).eq(bytes.iter().copied())));
    assert!(matches!(get("no bytes"), Value::Bytes(bytes) if bytes.is_empty()));
    assert!(matches!(get("bytearray"), Value::Bytes(bytes) if **bytes == *b"abc"));
    assert_eq!(get("tuples").as_list().unwrap().iter().map(|t| ints(t).len()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    let keys = |value: &Value| value.as_dict().unwrap().iter().map(|(key, _)| text(key).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        (keys(get("ordered")), keys(get("default"))),
        (vec!["b".to_owned(), "a".to_owned()], vec!["x".to_owned()])
    );
    for set in ["set", "frozen"] {
        assert_eq!(ints(get(set)), [Some(7)], "{set}");
    }
    assert!(matches!(get("size"), Value::Tuple(_)));
    assert_eq!(ints(get("size")), [Some(2), Some(3)]);
    assert_eq!((text(get("device")), text(get("cuda")), text(get("dtype"))), ("cpu", "cuda:1", "torch.bfloat16"));
    for (key, name) in [
        ("class", "collections.Counter"),
        ("path", "pathlib.PosixPath"),
        ("complex", "complex"),
        ("complex tensor", "torch.ComplexFloatStorage"),
        ("negated", "negated or conjugated"),
        ("float8", "torch.float8_e4m3fn"),
    ] {
        assert!(matches!(get(key), Value::Opaque(own) if own.contains(name)), "{key}: {:?}", get(key));
    }
    let shared = get("shared").as_list().unwrap();
    assert!(shared.iter().all(|own| ints(own) == [Some(1), Some(2)]));
    let by_int = found.as_dict().unwrap().iter().find(|(key, _)| key.as_i64() == Some(7));
    assert_eq!(text(&by_int.unwrap().1), "an integer as key");
}

#[test]
#[ignore = "needs Python with torch: cargo xtask test runs it"]
fn we_read_the_weights_of_a_lightning_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    python("lightning_run.py", &[folder.path()]);
    let file = read(&folder.path().join("lightning.ckpt"));
    let expected = read(&folder.path().join("tensors-lightning.pt"));
    assert_eq!(check(&expected), 4);
    let weights = ckpt::weights(&file).unwrap();
    assert_eq!(weights.len(), 4);
    for (name, tensor) in &weights {
        let expected = expected.get("tensors").unwrap().get(name).unwrap().as_tensor().unwrap();
        assert_eq!(tensor.data.bytes().unwrap(), expected.bytes().unwrap(), "{name}");
    }
    assert_eq!(file.get("epoch").and_then(Value::as_i64), Some(2));
    let parameters = file.get("hyper_parameters").unwrap();
    assert!(matches!(parameters.get("choice"), Some(Value::Opaque(name)) if &**name == "__main__.Choice"));
    assert_eq!(parameters.get("width").and_then(Value::as_i64), Some(4));
    assert!(matches!(ckpt::decode(&file), Err(ckpt::Error::WeightsOnly)));
}

/// A run of the reference engine, some steps in, and what PyTorch needs to go on.
struct Run {
    learner: ReferenceLearner,
    batch: Samples,
    sizes: Sizes,
    norm: bool,
}

const STEPS: u64 = 4;
const LR: f64 = 0.01;

impl Run {
    fn new(architecture: Architecture) -> Self {
        let fixture = Reference::default();
        let sizes = fixture.sizes(architecture);
        let batch = Samples::random(7, sizes.features, sizes.classes, 5);
        let norm = architecture == Architecture::Full;
        let mut run = Self { learner: fixture.learner(architecture), batch, sizes, norm };
        run.learner.init(3).unwrap();
        (0..STEPS).for_each(|_| run.step());
        run
    }

    fn loss(&mut self, mode: Mode) -> f64 {
        let batch = Reference::default().batch(&self.batch).place(&self.learner.device(mode));
        let (loss, _) = self.learner.eval(|net| net.loss(&batch)).unwrap().unwrap();
        let mut out = Readout::default();
        self.learner.read(&[loss], &mut out).unwrap();
        out.get(0)[0]
    }

    fn step(&mut self) {
        let batch = Reference::default().batch(&self.batch).place(&self.learner.device(Mode::Train));
        let (loss, _) = self.learner.train(|net| net.loss(&batch)).unwrap().unwrap();
        self.learner.backward(loss, 1.0, true).unwrap();
        self.learner.clip(1.0, &Clip::None).unwrap();
        self.learner.step(&Update::new(LR)).unwrap();
    }

    fn snapshot(&mut self) -> Snapshot {
        let mut run: RunState = serde_json::from_value(serde_json::json!({
            "progress": {"cursor": {"epoch": 1, "micro_batch": 0}, "step": STEPS, "samples": 28.0, "skipped": 0, "elapsed_before": 1.5},
            "due": {"evaluation": false, "epoch_end": false}, "seed": 7, "window": 1, "unit": null, "stopped": null, "lr": 0.0,
            "epoch_batches": null, "totals": {"sums": {}, "samples": 0.0}, "history": {"epochs": [], "evaluations": []},
            "schedule": null, "task": null, "add_ons": {}
        }))
        .unwrap();
        run.lr = LR;
        Snapshot::new(run, self.learner.snapshot().unwrap())
    }
}

fn weights_of(state: &StateDict) -> Value {
    let model = state.tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix("model/")?, tensor)));
    Value::dict(
        model.map(|(name, t)| (name, Tensor::contiguous(t.dtype, t.shape.clone(), t.data.clone()).unwrap().into())),
    )
}

/// As of an engine that has its matrices the other way round, as Burn has.
fn exchanged(mut snapshot: Snapshot) -> Snapshot {
    for (name, tensor) in &mut snapshot.learner.tensors {
        let [rows, columns] = *tensor.shape else { continue };
        let storage = Storage::new(tensor.data.clone(), rows * columns * 4);
        let view = Tensor::new(tensor.dtype, vec![columns, rows], vec![1, columns], 0, storage).unwrap();
        let bytes = view.bytes().unwrap().into_owned();
        assert!(name.contains("weight"));
        *tensor = SavedTensor { dtype: tensor.dtype, shape: vec![columns, rows], data: Arc::new(bytes) };
    }
    for own in &mut Arc::make_mut(&mut snapshot.learner.layout).tensors {
        own.transposed = snapshot.learner.tensors[&format!("model/{}", own.name)].shape.len() == 2;
    }
    assert_eq!(snapshot.learner.layout.tensors.iter().filter(|own| own.transposed).count(), 2);
    snapshot
}

fn python_continues(mut run: Run, change: fn(Snapshot) -> Snapshot, steps: bool) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| -> PathBuf { folder.path().join(name) };
    let snapshot = change(run.snapshot());
    std::fs::write(file("run.ckpt"), file_of(&ckpt::encode(&snapshot).unwrap())).unwrap();
    let loss = run.loss(Mode::Evaluate);
    if steps {
        run.step();
    }
    let next = if steps { weights_of(&run.learner.snapshot().unwrap()) } else { Value::None };
    let inputs: Vec<u8> = run.batch.inputs.iter().flat_map(|x| x.to_le_bytes()).collect();
    let labels: Vec<u8> = run.batch.labels.iter().flat_map(|x| (*x as i64).to_le_bytes()).collect();
    let Sizes { features, hidden, classes, .. } = run.sizes;
    let case = Value::dict([
        ("inputs", contiguous(Dtype::F32, &[run.batch.len(), features], inputs).into()),
        ("labels", contiguous(Dtype::I64, &[run.batch.len()], labels).into()),
        ("sizes", Value::Tuple([features, hidden, classes].map(|n| Value::Int(n as i64)).into())),
        ("norm", Value::Bool(run.norm)),
        ("loss", loss.into()),
        ("steps", STEPS.into()),
        ("next", next),
    ]);
    std::fs::write(file("case.pt"), file_of(&case)).unwrap();
    python("continue_run.py", &[&file("run.ckpt"), &file("case.pt")]);
}

#[test]
#[ignore = "needs Python with torch: cargo xtask test runs it"]
fn pytorch_takes_our_optimizer_and_makes_the_same_next_step() {
    python_continues(Run::new(Architecture::Plain), |snapshot| snapshot, true);
    python_continues(Run::new(Architecture::Plain), exchanged, true);
}

#[test]
#[ignore = "needs Python with torch: cargo xtask test runs it"]
fn lightning_loads_our_checkpoint_with_its_running_statistics() {
    python_continues(Run::new(Architecture::Full), |snapshot| snapshot, false);
    python_continues(Run::new(Architecture::Full), exchanged, false);
}
