#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, sync::Arc};

use zae_core::{
    learner::{Dtype, Layout, Number, OptimizerLayout, SavedTensor, StateDict, TensorLayout},
    snapshot::{RunState, Snapshot},
    state::State,
};

use super::*;
use crate::{
    Bytes,
    torch::{self, Value},
};

fn tensor(shape: &[usize], first: u8) -> SavedTensor {
    let len = shape.iter().product::<usize>() * 4;
    let bytes: Vec<u8> = (0..len).map(|i| first.wrapping_add(i as u8)).collect();
    SavedTensor { dtype: Dtype::F32, shape: shape.to_vec(), data: Arc::new(bytes) }
}

fn run() -> RunState {
    let mut run = RunState::default();
    run.seed = u64::MAX;
    run.lr = 0.1 + 0.2;
    run.unit = Some(f64::from_bits(0x7ff8_0000_0000_1234));
    run.stopped = Some("plateau".to_owned());
    run.epoch_batches = Some((3, 1 << 60));
    run.totals = serde_json::from_str(r#"{"sums": {"train/loss": {"Mean": {"sum": 0.3, "weight": 7.0}}, "train/hits": {"Count": [1.0, 2.0]}}, "samples": 9.0}"#).unwrap();
    run.schedule = Some(State((0..=255).collect()));
    run.add_ons.insert("early stopping".to_owned(), State::encode(&(f64::NEG_INFINITY, 3)).unwrap());
    run
}

fn learner() -> StateDict {
    let mut state = StateDict::default();
    for (name, shape, first) in [
        ("model/head.gamma", &[3][..], 1),
        ("model/body.weight", &[2, 3], 40),
        ("model/head.mean", &[3], 80),
        ("optimizer/body.weight/m.1", &[2, 3], 100),
        ("optimizer/body.weight/m.2", &[2, 3], 120),
        ("optimizer/body.weight/odd", &[2], 130),
        ("shadow/ema/body.weight", &[2, 3], 140),
    ] {
        state.tensors.insert(name.to_owned(), tensor(shape, first));
    }
    state.numbers.insert("optimizer/body.weight/time".to_owned(), Number::UInt((1 << 53) + 1));
    state.numbers.insert("optimizer/body.weight/rank".to_owned(), Number::Int(-2));
    state.numbers.insert("optimizer/scale".to_owned(), Number::Float(f64::NAN));
    let layout = |name: &str, torch: &str, parameter, transposed, group| TensorLayout {
        name: name.to_owned(),
        torch: torch.to_owned(),
        parameter,
        transposed,
        group,
    };
    let numbers = |numbers: &[f64]| numbers.iter().map(|number| Number::Float(*number)).collect::<Vec<_>>();
    let fields = [("m.1", "exp_avg"), ("m.2", "exp_avg_sq"), ("time", "step")];
    state.layout = Arc::new(Layout {
        tensors: vec![
            layout("head.gamma", "head.weight", true, false, 1),
            layout("head.mean", "head.running_mean", false, false, 0),
            layout("body.weight", "body.weight", true, true, 0),
        ],
        optimizer: Some(OptimizerLayout {
            class: "AdamW".to_owned(),
            fields: fields.map(|(own, torch)| (own.to_owned(), torch.to_owned())).into(),
            groups: vec![
                BTreeMap::from([("betas".to_owned(), numbers(&[0.9, 0.999])), ("eps".to_owned(), numbers(&[1e-8]))]),
                BTreeMap::from([("amsgrad".to_owned(), vec![Number::Bool(false)])]),
            ],
            rates: vec![1.0, 0.5],
        }),
    });
    state
}

fn through_a_file(value: &Value) -> Value {
    let mut file = Vec::new();
    torch::write(value, &mut file).unwrap();
    torch::read(&Bytes::from(file)).unwrap()
}

fn assert_same(a: &Snapshot, b: &Snapshot) {
    assert_eq!(State::encode(&a.run).unwrap(), State::encode(&b.run).unwrap());
    assert_eq!(a.learner.layout, b.learner.layout);
    assert_eq!(State::encode(&a.learner.numbers).unwrap(), State::encode(&b.learner.numbers).unwrap());
    assert!(a.learner.tensors.keys().eq(b.learner.tensors.keys()));
    for (name, tensor) in &a.learner.tensors {
        let other = &b.learner.tensors[name];
        assert_eq!((tensor.dtype, &tensor.shape), (other.dtype, &other.shape), "{name}");
        assert_eq!(tensor.data.bytes().unwrap(), other.data.bytes().unwrap(), "{name}");
    }
}

#[test]
fn a_snapshot_comes_back_bit_for_bit() {
    for with_layout in [true, false] {
        let mut learner = learner();
        if !with_layout {
            learner.layout = Arc::default();
        }
        let snapshot = Snapshot::new(run(), learner);
        let value = through_a_file(&encode(&snapshot).unwrap());
        let back = decode(&value).unwrap();
        assert_same(&snapshot, &back);
    }
}

#[test]
fn pytorch_finds_weights_and_optimizer_in_its_own_words() {
    let value = through_a_file(&encode(&Snapshot::new(run(), learner())).unwrap());
    let state_dict = value.get("state_dict").unwrap();
    let names: Vec<_> = state_dict.as_dict().unwrap().iter().map(|(name, _)| name.as_str().unwrap()).collect();
    assert_eq!(names, ["head.weight", "head.running_mean", "body.weight"]);
    let weight = state_dict.get("body.weight").unwrap().as_tensor().unwrap();
    assert_eq!((weight.shape(), weight.stride()), (&[3, 2][..], &[1, 3][..]));
    let optimizer = &value.get("optimizer_states").unwrap().as_list().unwrap()[0];
    let [group, other] = optimizer.get("param_groups").unwrap().as_list().unwrap() else { panic!("two groups") };
    assert_eq!(group.get("params").unwrap().as_list().unwrap()[0].as_i64(), Some(0), "groups number the parameters");
    assert!(matches!(other.get("lr"), Some(Value::Float(lr)) if *lr == (0.1 + 0.2) * 0.5));
    let [(number, state)] = optimizer.get("state").unwrap().as_dict().unwrap() else { panic!("one has state") };
    assert_eq!(number.as_i64(), Some(0));
    assert_eq!(state.get("exp_avg").unwrap().as_tensor().unwrap().shape(), [3, 2]);
    let fields: Vec<_> = state.as_dict().unwrap().iter().map(|(name, _)| name.as_str().unwrap()).collect();
    assert_eq!(fields, ["step", "exp_avg", "exp_avg_sq"]);
    let weights = weights(&value).unwrap();
    assert_eq!(weights["body.weight"].shape, [3, 2]);
    let bytes = weights["body.weight"].data.bytes().unwrap().into_owned();
    assert_eq!(bytes[..8], [40, 41, 42, 43, 52, 53, 54, 55], "row-major in PyTorch's layout");
}

#[test]
fn a_file_without_a_run_says_what_to_do() {
    let tensor = torch::Tensor::contiguous(Dtype::F32, vec![1], Arc::new(vec![0; 4])).unwrap();
    let weights_only = Value::dict([("fc.weight", tensor.into())]);
    let error = decode(&weights_only).err().unwrap();
    assert!(matches!(error, Error::WeightsOnly) && error.to_string().contains("load_weights"));
    assert_eq!(weights(&weights_only).unwrap().len(), 1);
    assert_eq!(weights(&Value::dict([("model", weights_only.clone())])).unwrap().len(), 1);
    assert!(matches!(weights(&Value::dict([("a", Value::None)])), Err(Error::NoWeights(_))));
    assert!(matches!(weights(&Value::Opaque("a.Net".into())), Err(Error::NoWeights(_))));
    let newer = Value::dict([("zae", Value::dict([("format", Value::Int(2))]))]);
    assert!(matches!(decode(&newer), Err(Error::Newer { found: 2, known: 1 })));
}

#[test]
fn a_layout_that_does_not_fit_is_an_error() {
    let encoded = |change: fn(&mut Layout)| {
        let mut learner = learner();
        change(Arc::make_mut(&mut learner.layout));
        encode(&Snapshot::new(run(), learner))
    };
    assert!(matches!(encoded(|l| l.tensors[0].name.push('x')), Err(Error::Layout(_))));
    assert!(matches!(encoded(|l| l.tensors[1].torch = "head.weight".to_owned()), Err(Error::Layout(_))));
    assert!(matches!(encoded(|l| l.tensors[0].group = 2), Err(Error::Layout(_))));
}
