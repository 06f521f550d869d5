//! [`StateDict`]: all that a learner is, by name.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::error::Fallible;

/// The element type of a saved tensor, with the names of the safetensors format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum Dtype {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl Dtype {
    /// Bytes of an element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }
}

/// Where the bytes of a saved tensor come from. An engine may lend a buffer of its own that it takes back when the last
/// snapshot holding it is dropped.
pub trait TensorBytes: Send + Sync {
    /// The elements, row-major, little-endian.
    ///
    /// # Errors
    /// When a device fails to hand them over.
    fn bytes(&self) -> Fallible<Cow<'_, [u8]>>;
}

impl TensorBytes for Vec<u8> {
    fn bytes(&self) -> Fallible<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(self))
    }
}

/// A saved tensor. Cloning shares its bytes.
#[derive(Clone)]
pub struct SavedTensor {
    /// The element type.
    pub dtype: Dtype,
    /// The shape.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Arc<dyn TensorBytes>,
}

/// A saved number with its type.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Number {
    Int(i64),
    UInt(u64),
    Float(f64),
    Bool(bool),
}

/// How the names of parameters and buffers begin in a [`StateDict`].
pub const MODEL: &str = "model/";
/// How the names of the optimizer's tensors and numbers begin in a [`StateDict`].
pub const OPTIMIZER: &str = "optimizer/";

/// How the names of second sets of weights begin in a [`StateDict`]: `shadow/{slot}/`.
pub const SHADOW: &str = "shadow/";

/// How the names of a [`GradScaler`](crate::scaler::GradScaler) begin in a [`StateDict`].
pub const SCALER: &str = "scaler/";

/// All that a learner is, by name: parameters and buffers under [`MODEL`], the optimizer's tensors and numbers under
/// [`OPTIMIZER`].
#[derive(Clone, Default)]
pub struct StateDict {
    /// Tensors by name.
    pub tensors: BTreeMap<String, SavedTensor>,
    /// Numbers by name.
    pub numbers: BTreeMap<String, Number>,
    /// What it is in PyTorch's words.
    pub layout: Arc<Layout>,
}

impl StateDict {
    /// Parameters and buffers by their names in the model.
    pub fn model(&self) -> impl Iterator<Item = (&str, &SavedTensor)> {
        self.tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(MODEL)?, tensor)))
    }
}

/// How a state dict reads in PyTorch: the order, names and layouts that a `torch.nn.Module` of the same architecture and
/// its `torch.optim` optimizer have. An engine that gives none has its names taken as they are.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Layout {
    /// Parameters and buffers, in the model's order, which is that of `Module.parameters()`.
    pub tensors: Vec<TensorLayout>,
    /// The optimizer, if its hyperparameters are known.
    pub optimizer: Option<OptimizerLayout>,
}

/// A parameter or buffer in PyTorch's words.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TensorLayout {
    /// Its name in the state dict, without `model/`: `head.gamma`.
    pub name: String,
    /// Its key in a PyTorch `state_dict`: `head.weight`.
    pub torch: String,
    /// Whether it is a parameter; buffers (running statistics) are not.
    pub parameter: bool,
    /// Whether PyTorch has it, and its moments, with its two dimensions exchanged.
    pub transposed: bool,
    /// The index of its parameter group.
    pub group: usize,
}

/// An optimizer in PyTorch's words.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct OptimizerLayout {
    /// The class in `torch.optim`: `AdamW`.
    pub class: String,
    /// For the state of a parameter, the field's name (in `optimizer/head.weight/momentum.moment_1` what follows the last
    /// `/`) and PyTorch's: `exp_avg`. Fields that PyTorch does not have are left out.
    pub fields: BTreeMap<String, String>,
    /// Hyperparameters of each group by PyTorch's names, the learning rate apart: `betas` has two numbers, most have one.
    pub groups: Vec<BTreeMap<String, Vec<Number>>>,
    /// The factor of each group on the schedule's learning rate.
    pub rates: Vec<f64>,
}
