//! Saving and loading by hand, and weights from files.

#![allow(clippy::unwrap_used, clippy::panic)]

mod program;

use std::{fs, sync::Arc};

use program::*;
use tempfile::tempdir;
use zae_checkpoint::{Bytes, Format, Resume, SaveLoad, StateManager, Weights, torch};
use zae_core::{
    learner::{Dtype, Layout, SavedTensor, StateDict, TensorLayout},
    trainer::{Outcome, Trainer, Until},
};

fn trained(steps: u64) -> (tempfile::TempDir, Trainer<Classify>) {
    let dir = tempdir().unwrap();
    let mut trainer = trainer(dir.path());
    trainer.run(Until::steps(steps).or_epochs(EPOCHS), train_data(), valid_data()).unwrap();
    (dir, trainer)
}

#[test]
fn a_run_saved_by_hand_goes_on_with_the_same_bits() {
    for name in ["deep/run", "deep/run.ckpt", "run.pt"] {
        let (dir, mut first) = trained(15);
        let path = dir.path().join(name);
        for _ in 0..2 {
            // What is there is replaced.
            first.save(&path).unwrap();
        }
        let expected = bits_of(&mut first);
        let mut second = trainer(dir.path()).accept_change("total_steps");
        second.load(&path).unwrap();
        assert_eq!(bits_of(&mut second), expected, "{name}");
        assert_eq!(run(&mut second).unwrap().outcome, Outcome::Complete);
        assert_eq!(run(&mut first).unwrap().outcome, Outcome::Complete);
        assert_eq!(bits_of(&mut second), bits_of(&mut first), "{name}");
        assert!(names(path.parent().unwrap()).iter().all(|name| !name.starts_with('.')), "nothing half done is left");
    }
}

#[test]
fn what_is_no_checkpoint_is_neither_replaced_nor_loaded() {
    let (dir, mut trainer) = trained(2);
    let mine = dir.path().join("notes");
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("text"), "mine").unwrap();
    let error = trainer.save(&mine).unwrap_err().to_string();
    assert!(error.contains("notes") && error.contains("is no checkpoint"), "{error}");
    assert_eq!(fs::read_to_string(mine.join("text")).unwrap(), "mine");
    let before = bits_of(&mut trainer);
    for path in [mine.clone(), mine.join("text"), dir.path().join("nowhere")] {
        let error = trainer.load(&path).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
    let error = trainer.save_weights(dir.path().join("weights")).unwrap_err().to_string();
    assert!(error.contains("`.safetensors`") && error.contains("`.pt`"), "{error}");
    assert_eq!(bits_of(&mut trainer), before);
}

fn model(state: &StateDict) -> Vec<(String, Vec<u8>)> {
    let model = state.tensors.iter().filter(|(name, _)| name.starts_with("model/"));
    model.map(|(name, tensor)| (name.clone(), tensor.data.bytes().unwrap().into_owned())).collect()
}

#[test]
fn weights_alone_come_from_any_file_of_ours() {
    let (dir, mut first) = trained(9);
    let expected = model(&first.state_dict().unwrap());
    let at = |name: &str| dir.path().join(name);
    for name in ["w.safetensors", "w.pt"] {
        first.save_weights(at(name)).unwrap();
    }
    for name in ["run", "run.ckpt"] {
        first.save(at(name)).unwrap();
    }
    for format in [Format::Safetensors, Format::Ckpt] {
        let from = StateManager::in_dir(at(&format!("{format:?}"))).format(format).resume(Resume::From(at("run")));
        let mut again = trainer(dir.path()).add_on(from).accept_change("total_steps");
        again.run(Until::steps(10), train_data(), valid_data()).unwrap();
    }
    let last = {
        let mut again = trainer(dir.path());
        again.load(at("Ckpt/last")).unwrap();
        model(&again.state_dict().unwrap())
    };
    let cases = [("w.safetensors", &expected), ("w.pt", &expected), ("run", &expected), ("run.ckpt", &expected)];
    for (name, expected) in cases.into_iter().chain([("Safetensors/last", &last), ("Ckpt/last", &last)]) {
        let mut other = trainer(dir.path());
        let fresh = other.state_dict().unwrap();
        let report = other.load_weights(at(name)).unwrap();
        assert!(report.is_whole() && report.loaded.len() == expected.len(), "{name}: {report}");
        let state = other.state_dict().unwrap();
        assert_eq!(model(&state), *expected, "{name}");
        assert_eq!(state.numbers, fresh.numbers, "the optimizer is a new one");
        assert_eq!(other.progress().step(), 0);
    }
}

fn floats(values: &[f32], shape: &[usize]) -> SavedTensor {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    SavedTensor { dtype: Dtype::F32, shape: shape.to_vec(), data: Arc::new(bytes) }
}

/// A model of one linear layer, kept the other way round than PyTorch keeps it.
fn linear() -> StateDict {
    let tensor = |name: &str, torch: &str, transposed| TensorLayout {
        name: name.to_owned(),
        torch: torch.to_owned(),
        parameter: true,
        transposed,
        group: 0,
    };
    let tensors = [("model/fc.w", floats(&[0.0; 6], &[2, 3])), ("model/fc.b", floats(&[0.0; 3], &[3]))];
    StateDict {
        tensors: tensors.map(|(name, tensor)| (name.to_owned(), tensor)).into(),
        layout: Arc::new(Layout {
            tensors: vec![tensor("fc.w", "fc.weight", true), tensor("fc.b", "fc.bias", false)],
            optimizer: None,
        }),
        ..StateDict::default()
    }
}

fn torch_file(path: &std::path::Path, entries: &[(&str, SavedTensor)]) {
    let tensor = |t: &SavedTensor| torch::Tensor::contiguous(t.dtype, t.shape.clone(), t.data.clone()).unwrap();
    let value = torch::Value::dict(entries.iter().map(|(name, t)| (*name, tensor(t).into())));
    let mut bytes = Vec::new();
    torch::write(&value, &mut bytes).unwrap();
    torch::read(&Bytes::from(bytes.clone())).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn weights_of_pytorch_are_renamed_transposed_and_cast() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("w.pt");
    let weight = || floats(&[1.0, 4.0, 2.0, 5.0, 3.0, 6.0], &[3, 2]);
    let bias = || floats(&[7.0, 8.0, 9.0], &[3]);
    let values = |state: &StateDict, name: &str| -> Vec<f32> {
        let bytes = state.tensors[name].data.bytes().unwrap().into_owned();
        bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    torch_file(
        &path,
        &[
            ("net.fc.weight", weight()),
            ("net.fc.bias", bias()),
            ("other.x", bias()),
            ("net.bn.num_batches_tracked", floats(&[1.0], &[1])),
        ],
    );
    let error = Weights::from(&path).put_into(&linear()).map(drop).unwrap_err().to_string();
    for word in
        ["w.pt", "missing: fc.b, fc.w", "unexpected: net.fc.bias, net.fc.weight, other.x", "`.strip_prefix(\"net.\")`"]
    {
        assert!(error.contains(word), "{word}: {error}");
    }
    let (state, report) = Weights::from(&path).strip_prefix("net.").put_into(&linear()).unwrap();
    assert_eq!(report.loaded, ["fc.b", "fc.w"]);
    assert_eq!(values(&state, "model/fc.w"), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(values(&state, "model/fc.b"), [7.0, 8.0, 9.0]);
    assert_eq!(state.tensors["model/fc.w"].shape, [2, 3]);
    let (_, report) = Weights::from(&path).rename("net.", "").non_strict().put_into(&linear()).unwrap();
    assert_eq!((report.loaded.len(), report.unexpected), (2, vec!["other.x".to_owned()]));
    // Another type, another shape, and nothing that fits.
    let half =
        SavedTensor { dtype: Dtype::BF16, shape: vec![3], data: Arc::new(vec![0xe0, 0x40, 0, 0x41, 0x10, 0x41]) };
    torch_file(&path, &[("fc.weight", floats(&[0.0; 6], &[6])), ("fc.bias", half)]);
    let error = Weights::from(&path).put_into(&linear()).map(drop).unwrap_err().to_string();
    for word in ["fc.w is F32 [6], the model's F32 [2, 3]", "fc.b is BF16 [3], the model's F32 [3]"] {
        assert!(error.contains(word), "{word}: {error}");
    }
    let (state, report) = Weights::from(&path).cast().non_strict().put_into(&linear()).unwrap();
    assert_eq!((report.loaded.len(), report.mismatched.len()), (1, 1));
    assert_eq!(values(&state, "model/fc.b"), [7.0, 8.0, 9.0]);
    let none = Weights::from(&path)
        .strip_prefix("nothing.")
        .non_strict()
        .put_into(&linear())
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(none.contains("Of the model's tensors 0 fit") && none.contains("`.non_strict()`"), "{none}");
    // The file's names lack what the model's begin with.
    torch_file(&path, &[("weight", weight()), ("bias", bias())]);
    let error = Weights::from(&path).put_into(&linear()).map(drop).unwrap_err().to_string();
    assert!(error.contains("`.rename(\"\", \"fc.\")`"), "{error}");
    assert!(Weights::from(&path).rename("", "fc.").put_into(&linear()).unwrap().1.is_whole());
    let doubles = |numbers: &[f32]| SavedTensor {
        dtype: Dtype::F64,
        shape: vec![numbers.len()],
        data: Arc::new(numbers.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect::<Vec<u8>>()),
    };
    torch_file(&path, &[("fc.weight", weight()), ("fc.bias", doubles(&[7.0, 8.0, 9.0]))]);
    let error = Weights::from(&path).put_into(&linear()).map(drop).unwrap_err().to_string();
    assert!(error.contains("nothing was loaded: its numbers are of another type, which `.cast()`"), "{error}");
    assert!(Weights::from(&path).cast().put_into(&linear()).unwrap().1.is_whole());
    // Not a checkpoint, whatever it is.
    let strange = dir.path().join("w.model");
    fs::write(&strange, [7u8; 100]).unwrap();
    let error = Weights::from(&strange).put_into(&linear()).map(drop).unwrap_err().to_string();
    assert!(error.contains("w.model`: it is no checkpoint") && error.contains("`.safetensors`"), "{error}");
    let two =
        Weights::from(&path).rename("fc.weight", "fc.bias").put_into(&linear()).map(drop).unwrap_err().to_string();
    assert!(two.contains("two of its tensors are named `fc.bias`"), "{two}");
}
