//! PyTorch's file format (`torch.save`), written and read without PyTorch.
//!
//! A file is a zip archive of stored entries: `data.pkl`, a pickle of Python values in which tensors are references, and
//! one entry `data/N` for the elements of each storage.
//!
//! - [`write()`] makes files that `torch.load(weights_only=True)` reads, also with `mmap=True`. They are written front to
//!   back, each storage straight from where it is. The same value gives the same bytes.
//! - [`read`] reads what `torch.save` has written since PyTorch 1.6. Nothing of a file is ever executed: of the functions
//!   a pickle may call it knows those that make tensors and containers. An object of any other class becomes
//!   [`Value::Opaque`], which holds nothing but the class's name, so that a hyperparameter of some class does not make the
//!   weights beside it unreadable.
//!
//! ```
//! use zae_checkpoint::{Bytes, torch::{self, Tensor, Value}};
//! use zae_core::learner::Dtype;
//!
//! let bias = Tensor::contiguous(Dtype::F32, vec![2], std::sync::Arc::new(vec![0u8; 8]))?;
//! let value = Value::dict([("epoch", Value::Int(3)), ("bias", bias.into())]);
//! let mut file = Vec::new();
//! torch::write(&value, &mut file)?;
//! let back = torch::read(&Bytes::from(file))?;
//! assert_eq!(back.get("epoch").and_then(Value::as_i64), Some(3));
//! # Ok::<(), torch::Error>(())
//! ```

mod archive;
mod dtype;
mod error;
mod fields;
mod layout;
mod memory;
mod opcode;
mod pickle;
mod rebuild;
mod records;
mod tensor;
mod unpickle;
mod value;
mod write;

pub use archive::verify;
pub use error::{Error, Result};
pub use tensor::{Storage, Tensor};
pub use value::Value;
pub use write::{File, write};

use crate::bytes::Bytes;

/// Containers may be nested this deep. Lightning's files reach about ten.
pub(crate) const MAX_DEPTH: usize = 128;

/// Reads a file of `torch.save`. Tensors are slices of `file`: nothing is copied, and of a mapped file nothing is read
/// before it is used. Each tensor is checked to lie within its storage. Checksums are not looked at: see [`verify`].
///
/// Whatever the file says, no more memory is taken than about a hundred bytes for each byte of its pickle.
///
/// Sets come back as [`Value::List`], `torch.Size` as [`Value::Tuple`], `OrderedDict` and `defaultdict` as
/// [`Value::Dict`], parameters as their tensors, `torch.device` and `torch.dtype` as [`Value::Str`].
///
/// # Errors
/// When the file is damaged, compressed, big-endian, a TorchScript archive, or older than PyTorch 1.6.
pub fn read(file: &Bytes) -> Result<Value> {
    let archive = archive::Archive::open(file)?;
    let pickle = archive.get("data.pkl")?;
    unpickle::unpickle(&pickle, &archive)
}
