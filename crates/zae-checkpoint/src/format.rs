//! [`Format`]: what the files of a checkpoint are.

use std::{collections::BTreeMap, io::Write, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};
use zae_core::{
    learner::{Layout, MODEL, StateDict},
    snapshot::{RunState, Snapshot},
};

use crate::{
    bytes::Bytes,
    ckpt,
    error::{Error, Result},
    folder::Staging,
    json,
    manifest::FORMAT,
    safetensors::{self, Part},
    torch,
};

/// What the files of a checkpoint are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// `model.safetensors`, `optimizer.safetensors` and `trainer.json`.
    #[default]
    Safetensors,
    /// `checkpoint.ckpt`, which PyTorch and Lightning read.
    Ckpt,
}

const CKPT: &str = "checkpoint.ckpt";
const TRAINER: &str = "trainer.json";
const ENDING: &str = ".safetensors";

/// What is in `trainer.json`.
#[derive(Serialize, Deserialize)]
struct TrainerFile<R, L> {
    format: u64,
    run: R,
    /// Which of the engine's names is which of PyTorch's.
    layout: L,
}

impl Format {
    pub(crate) fn write(self, snapshot: &Snapshot, to: &mut Staging<'_>) -> Result<()> {
        match self {
            Self::Safetensors => {
                for (part, content) in parts(&snapshot.learner)? {
                    to.file(&format!("{part}{ENDING}"), |out, path| safetensors::write(&content, out, path))?;
                }
                let trainer = json::pretty(&TrainerFile {
                    format: FORMAT,
                    run: &snapshot.run,
                    layout: &*snapshot.learner.layout,
                });
                let trainer = trainer.map_err(|e| Error::Unsavable(e.to_string()))?;
                to.file(TRAINER, |out, path| out.write_all(&trainer).map_err(Error::io("write", path)))
            }
            Self::Ckpt => to.file(CKPT, |out, path| write_ckpt(snapshot, out, path)),
        }
    }

    /// `files` are those of the folder `dir`, and are what the manifest says.
    pub(crate) fn read(self, dir: &Path, files: &BTreeMap<&str, Bytes>) -> Result<Snapshot> {
        match self {
            Self::Safetensors => {
                let trainer = files.get(TRAINER).ok_or_else(|| Error::damaged(dir, format!("no {TRAINER}")))?;
                let (run, layout) = read_trainer(trainer, &dir.join(TRAINER))?;
                let mut learner = StateDict { layout: Arc::new(layout), ..StateDict::default() };
                for (file, bytes) in files {
                    let Some(part) = file.strip_suffix(ENDING) else { continue };
                    let safetensors::Read { tensors, numbers, .. } = safetensors::read(bytes, &dir.join(file))?;
                    learner
                        .tensors
                        .extend(tensors.into_iter().map(|(name, tensor)| (format!("{part}/{name}"), tensor)));
                    learner
                        .numbers
                        .extend(numbers.into_iter().map(|(name, number)| (format!("{part}/{name}"), number)));
                }
                Ok(Snapshot::new(run, learner))
            }
            Self::Ckpt => {
                let bytes = files.get(CKPT).ok_or_else(|| Error::damaged(dir, format!("no {CKPT}")))?;
                read_ckpt(bytes, &dir.join(CKPT))
            }
        }
    }
}

pub(crate) fn write_ckpt(snapshot: &Snapshot, out: &mut dyn Write, path: &Path) -> Result<()> {
    let value = ckpt::encode(snapshot).map_err(Error::ckpt(path))?;
    torch::write(&value, out).map_err(Error::torch(path))
}

pub(crate) fn read_ckpt(bytes: &Bytes, path: &Path) -> Result<Snapshot> {
    let value = torch::read(bytes).map_err(Error::torch(path))?;
    ckpt::decode(&value).map_err(Error::ckpt(path))
}

fn read_trainer(bytes: &[u8], path: &Path) -> Result<(RunState, Layout)> {
    #[derive(Deserialize)]
    struct Version {
        format: u64,
    }
    let Version { format } = json::read(bytes).map_err(|e| Error::damaged(path, e.to_string()))?;
    if format > FORMAT {
        return Err(Error::Newer { path: path.to_owned(), found: format, known: FORMAT });
    }
    let file: TrainerFile<RunState, Layout> = json::read(bytes).map_err(|e| Error::damaged(path, e.to_string()))?;
    Ok((file.run, file.layout))
}

/// What is under `model/`, `optimizer/`, `shadow/` and so on: each part is a file, in which names lack the prefix.
fn parts(learner: &StateDict) -> Result<BTreeMap<&str, Part<'_>>> {
    let mut parts = BTreeMap::<&str, Part<'_>>::new();
    for (name, tensor) in &learner.tensors {
        let (part, name) = split(name)?;
        parts.entry(part).or_default().tensors.push((name, tensor));
    }
    for (name, number) in &learner.numbers {
        let (part, name) = split(name)?;
        parts.entry(part).or_default().numbers.insert(name, *number);
    }
    // Its file may be taken out of the folder.
    if let Some(model) = parts.get_mut(MODEL.trim_end_matches('/')) {
        model.layout = &learner.layout.tensors;
    }
    Ok(parts)
}

fn split(name: &str) -> Result<(&str, &str)> {
    let known = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
    name.split_once('/')
        .filter(|(part, _)| (1..=64).contains(&part.len()) && part.bytes().all(known))
        .ok_or_else(|| Error::Unsavable(format!("`{name}` belongs to no part of a learner, such as `model/`")))
}
