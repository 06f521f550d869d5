//! The safetensors format. Our own writer streams: it gathers no tensors in a buffer, and its bytes are reproducible.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    path::Path,
    sync::Arc,
};

use safetensors::tensor::{Dtype as Foreign, Metadata, TensorInfo};
use serde::{Deserialize, Serialize};
use zae_core::learner::{Dtype, Number, SavedTensor, TensorLayout};

use crate::{
    bytes::Bytes,
    error::{Error, Result},
    json,
    manifest::FORMAT,
};

/// The key of the file's metadata under which everything of ours is.
const KEY: &str = "zae";
/// The name that the format keeps for itself.
const RESERVED: &str = "__metadata__";
/// Readers take no header longer than this.
const LONGEST_HEADER: usize = 100_000_000;

/// Tensors and numbers of one file, by name.
#[derive(Default)]
pub(crate) struct Part<'a> {
    pub(crate) tensors: Vec<(&'a str, &'a SavedTensor)>,
    pub(crate) numbers: BTreeMap<&'a str, Number>,
    /// Of a model: what its tensors are in PyTorch, for other engines.
    pub(crate) layout: &'a [TensorLayout],
}

/// What is under [`KEY`], as JSON.
#[derive(Serialize, Deserialize)]
struct Head<N, L> {
    format: u64,
    #[serde(default = "BTreeMap::new", bound(deserialize = "N: Ord + Deserialize<'de>"))]
    numbers: BTreeMap<N, Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layout: Option<L>,
}

/// Writes a file.
///
/// The order is by size of the elements, largest first, and then by name: so every tensor lies at a multiple of its
/// element's size, and can be used where it is in a mapped file. Readers go by the offsets and take any order.
pub(crate) fn write(part: &Part<'_>, out: &mut dyn Write, path: &Path) -> Result<()> {
    let mut tensors = part.tensors.clone();
    tensors.sort_by_key(|(name, tensor)| (std::cmp::Reverse(dtype(tensor.dtype).map(|d| d.bitsize()).ok()), *name));
    let mut infos = Vec::with_capacity(tensors.len());
    let mut end = 0usize;
    for (name, tensor) in &tensors {
        if *name == RESERVED {
            return Err(Error::Unsavable(format!("the format keeps the name `{RESERVED}` for itself")));
        }
        let start = end;
        let too_large = || Error::Unsavable(format!("`{name}` is too large: {:?}", tensor.shape));
        let dtype = dtype(tensor.dtype)?;
        end = length(dtype, &tensor.shape).and_then(|bytes| start.checked_add(bytes)).ok_or_else(too_large)?;
        let info = TensorInfo { dtype, shape: tensor.shape.clone(), data_offsets: (start, end) };
        infos.push(((*name).to_owned(), info));
    }
    let unsavable = |what: &dyn ToString| Error::Unsavable(what.to_string());
    let layout = (!part.layout.is_empty()).then_some(part.layout);
    let head = Head { format: FORMAT, numbers: part.numbers.clone(), layout };
    let head = json::compact(&head).map_err(|e| unsavable(&e))?;
    let metadata = Metadata::new(Some(HashMap::from([(KEY.to_owned(), head)])), infos).map_err(|e| unsavable(&e))?;
    let mut header = serde_json::to_vec(&metadata).map_err(|e| unsavable(&e))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() > LONGEST_HEADER {
        return Err(unsavable(&"the names of its tensors take more than 100 MB"));
    }
    let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(Error::io("write", path));
    put(&(header.len() as u64).to_le_bytes())?;
    put(&header)?;
    for (name, tensor) in tensors {
        let bytes = tensor.data.bytes().map_err(|source| Error::Source { what: format!("`{name}`"), source })?;
        if length(dtype(tensor.dtype)?, &tensor.shape) != Some(bytes.len()) {
            let (dtype, shape) = (tensor.dtype, &tensor.shape);
            return Err(Error::Unsavable(format!("`{name}` is {dtype:?} {shape:?} but has {} bytes", bytes.len())));
        }
        put(&bytes)?;
    }
    Ok(())
}

/// What is in a file.
pub(crate) struct Read {
    /// They share the bytes of the file.
    pub(crate) tensors: Vec<(String, SavedTensor)>,
    pub(crate) numbers: BTreeMap<String, Number>,
    pub(crate) layout: Vec<TensorLayout>,
    /// Whether this crate wrote it.
    pub(crate) ours: bool,
}

/// Reads a file, also one that another program has written.
pub(crate) fn read(bytes: &Bytes, path: &Path) -> Result<Read> {
    let damaged = |what: &dyn ToString| Error::damaged(path, what.to_string());
    let (start, metadata) = header(bytes).map_err(|what| damaged(&what))?;
    let mut tensors = Vec::new();
    for (name, info) in metadata.tensors() {
        let Some(dtype) = ours(info.dtype) else {
            return Err(damaged(&format!("`{name}` has elements of a type that this version does not know")));
        };
        let (from, to) = info.data_offsets;
        let data = bytes.slice(start + from..start + to).ok_or_else(|| damaged(&"it is cut short"))?;
        tensors.push((name, SavedTensor { dtype, shape: info.shape.clone(), data: Arc::new(data) }));
    }
    let Some(text) = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY)) else {
        return Ok(Read { tensors, numbers: BTreeMap::new(), layout: Vec::new(), ours: false });
    };
    let head: Head<String, Vec<TensorLayout>> = json::read(text.as_bytes()).map_err(|e| damaged(&e))?;
    if head.format > FORMAT {
        return Err(Error::Newer { path: path.to_owned(), found: head.format, known: FORMAT });
    }
    Ok(Read { tensors, numbers: head.numbers, layout: head.layout.unwrap_or_default(), ours: true })
}

/// Where the tensors begin, and what the header says of them: they fill the rest of the file without a gap.
fn header(bytes: &[u8]) -> Result<(usize, Metadata), String> {
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or("it is shorter than 8 bytes")?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok().filter(|length| *length <= LONGEST_HEADER);
    let length = length.ok_or("its header is said to be longer than 100 MB")?;
    let (header, tensors) = rest.split_at_checked(length).ok_or("its header is cut short")?;
    let metadata: Metadata = serde_json::from_slice(header).map_err(|e| format!("its header: {e}"))?;
    if metadata.data_len() != tensors.len() {
        return Err(format!("it has {} bytes of tensors, and its header says {}", tensors.len(), metadata.data_len()));
    }
    Ok((8 + length, metadata))
}

fn length(dtype: Foreign, shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(dtype.bitsize() / 8, |bytes, size| bytes.checked_mul(*size))
}

fn dtype(dtype: Dtype) -> Result<Foreign> {
    Ok(match dtype {
        Dtype::F64 => Foreign::F64,
        Dtype::F32 => Foreign::F32,
        Dtype::F16 => Foreign::F16,
        Dtype::BF16 => Foreign::BF16,
        Dtype::I64 => Foreign::I64,
        Dtype::I32 => Foreign::I32,
        Dtype::I16 => Foreign::I16,
        Dtype::I8 => Foreign::I8,
        Dtype::U64 => Foreign::U64,
        Dtype::U32 => Foreign::U32,
        Dtype::U16 => Foreign::U16,
        Dtype::U8 => Foreign::U8,
        Dtype::Bool => Foreign::BOOL,
        other => return Err(Error::Unsavable(format!("safetensors has no element type {other:?}"))),
    })
}

fn ours(dtype: Foreign) -> Option<Dtype> {
    Some(match dtype {
        Foreign::F64 => Dtype::F64,
        Foreign::F32 => Dtype::F32,
        Foreign::F16 => Dtype::F16,
        Foreign::BF16 => Dtype::BF16,
        Foreign::I64 => Dtype::I64,
        Foreign::I32 => Dtype::I32,
        Foreign::I16 => Dtype::I16,
        Foreign::I8 => Dtype::I8,
        Foreign::U64 => Dtype::U64,
        Foreign::U32 => Dtype::U32,
        Foreign::U16 => Dtype::U16,
        Foreign::U8 => Dtype::U8,
        Foreign::BOOL => Dtype::Bool,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
