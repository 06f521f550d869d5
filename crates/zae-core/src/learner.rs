//! [`Learner`]: what the trainer drives. Implementing it (and [`Engine`]) plugs in a tensor engine.

mod part;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

pub use part::{in_part, no_such_part};

use crate::{engine::Engine, error::Fallible, mode::Mode, place::Place, process_group::ProcessGroup};

/// How gradients are clipped before an optimizer step.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Clip {
    /// Not at all.
    #[default]
    None,
    /// So that the L2 norm over all gradients together is at most this: gradients are multiplied by
    /// min(1, max / (norm + 1e-6)), as `torch.nn.utils.clip_grad_norm_` does. The norm before clipping becomes the
    /// metric `train/grad_norm`; `Norm(f64::INFINITY)` only measures it.
    Norm(f64),
    /// Each gradient to the range -v to v.
    Value(f64),
}

/// What an optimizer step needs to know.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct Update {
    /// The learning rate of this step.
    pub lr: f64,
}

impl Update {
    /// A step with this learning rate.
    #[must_use]
    pub fn new(lr: f64) -> Self {
        Self { lr }
    }
}

/// Whether an optimizer step changed the weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stepped {
    /// It did.
    Applied,
    /// The engine left the update out (a gradient scaler met an overflow).
    Skipped,
}

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

/// The numbers behind lazy scalars, in the order in which they were asked for.
#[derive(Clone, Debug, Default)]
pub struct Readout {
    values: Vec<f64>,
    ends: Vec<usize>,
}

impl Readout {
    /// Appends the number or numbers of the next scalar.
    #[inline]
    pub fn push(&mut self, values: &[f64]) {
        match values {
            // Of a single number no copy of bytes is made.
            [value] => self.values.push(*value),
            _ => self.values.extend_from_slice(values),
        }
        self.ends.push(self.values.len());
    }

    /// How many scalars were read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether none was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The numbers of scalar `index`; empty if there is no such scalar.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> &[f64] {
        let Some(&end) = self.ends.get(index) else { return &[] };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.values[start..end]
    }

    #[inline]
    pub(crate) fn all_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }

    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.ends.clear();
    }
}

/// A model with its optimizer on a device of one tensor engine: what the trainer drives, and only the trainer.
///
/// The conformance suite (feature `testing`) checks an implementation; its page says how to write one.
pub trait Learner: Engine {
    /// The user's model.
    type Model;
    /// A lazy number (or small vector of numbers) on the device: a loss, a metric.
    type Scalar;
    /// A device.
    type Device: Clone;

    /// Draws the first weights, if they are not there yet, under this seed. Called once before anything else.
    ///
    /// # Errors
    /// When the engine fails.
    fn init(&mut self, seed: u64) -> Fallible;

    /// The device on which a batch has to be for this mode.
    fn device(&self, mode: Mode) -> Self::Device;

    /// The batch where [`Learner::train`] and [`Learner::eval`] need it: what the trainer calls. An engine that computes in
    /// another type than the batch has converts it here.
    fn place<B: Place<Self>>(&self, batch: B, mode: Mode) -> B
    where
        Self: Sized,
    {
        batch.place(&self.device(mode))
    }

    /// Moves the model and the optimizer's state.
    ///
    /// # Errors
    /// When the device is not there.
    fn to_device(&mut self, device: &Self::Device) -> Fallible;

    /// Whether the device works ahead of the host, so that reading a scalar waits for it. The trainer reads lazy
    /// scalars of such a device in one transfer every `log_every` steps, and every step otherwise.
    fn is_asynchronous(&self) -> bool {
        false
    }

    /// Whether it can train. One that only evaluates and predicts says no, and a run with it is refused before anything
    /// has changed.
    fn has_optimizer(&self) -> bool {
        true
    }

    /// Seeds the engine's generator (dropout), before each micro-batch.
    fn seed(&mut self, seed: u64);

    /// Runs `f` on the model in training mode, recording for [`Learner::backward`].
    ///
    /// # Errors
    /// When the model was lost in an earlier panic.
    fn train<R>(&mut self, f: impl FnOnce(&Self::Model) -> R) -> Fallible<R>;

    /// Runs `f` on the model in evaluation mode, without gradients.
    ///
    /// # Errors
    /// When the model was lost in an earlier panic.
    fn eval<R>(&mut self, f: impl FnOnce(&Self::Model) -> R) -> Fallible<R>;

    /// Adds weight x gradient of `loss` to the gradients, and returns the loss without its graph. `last` says that this process
    /// has no further micro-batch in the window: if [`Learner::overlap`] has said yes, what is computed may go to the other
    /// processes. A weight of exactly 1 multiplies nothing.
    ///
    /// # Errors
    /// When the loss does not depend on the model.
    fn backward(&mut self, loss: Self::Scalar, weight: f64, last: bool) -> Fallible<Self::Scalar>;

    /// The same for one part of the model: the parameters that are [in it](in_part). The gradients of all others stay as they
    /// are, there or not.
    ///
    /// # Errors
    /// As [`Learner::backward`], when no trainable parameter is in that part, and when the engine cannot, which is the default.
    fn backward_part(&mut self, part: &str, loss: Self::Scalar, weight: f64, last: bool) -> Fallible<Self::Scalar> {
        let _ = (part, loss, weight, last);
        Err(format!("the engine `{}` cannot train parts of a model: leave out `.only(..)`", self.name()).into())
    }

    /// The same value without its graph, so that nothing lazy keeps activations alive.
    fn detach(&self, value: Self::Scalar) -> Self::Scalar;

    /// Brings scalars to the host in one transfer: one [`Readout::push`] for each, in order.
    ///
    /// # Errors
    /// When the device fails.
    fn read(&self, lazy: &[Self::Scalar], out: &mut Readout) -> Fallible;

    /// Multiplies the gradients by `scale` (nothing is multiplied for exactly 1) and clips them, in one pass. Returns
    /// the global norm after scaling and before clipping, still lazy, if the clipping needed it.
    ///
    /// # Errors
    /// When there are no gradients.
    fn clip(&mut self, scale: f64, clip: &Clip) -> Fallible<Option<Self::Scalar>>;

    /// Moves the weights along the gradients and forgets the gradients.
    ///
    /// # Errors
    /// When there are no gradients or no optimizer.
    fn step(&mut self, update: &Update) -> Fallible<Stepped>;

    /// Forgets the gradients.
    fn zero_grad(&mut self);

    /// From now on there are gradients, though no micro-batch has given any: those of other ranks are to be added. Until then
    /// each parameter has taken no part. Nothing happens if there are some.
    ///
    /// # Errors
    /// When the engine cannot train on several processes, which is the default.
    fn expect_gradients(&mut self) -> Fallible {
        Err(format!("the engine `{}` cannot take the gradients of other processes", self.name()).into())
    }

    /// From now on the learner sums gradients over these processes itself, while the `last` backward pass of a window computes
    /// others. All processes ask at the same time, before each run. `false`, the default: the trainer sums them when all are
    /// there.
    ///
    /// Gradients then travel in pieces, as many in each process. They go over connections of their own, for processes talk about
    /// other things while they are on their way.
    ///
    /// # Errors
    /// When connecting fails. The processes have lost each other then, as after each failure of [`Learner::finish_sums`].
    fn overlap(&mut self, group: &Arc<dyn ProcessGroup>) -> Fallible<bool> {
        let _ = group;
        Ok(false)
    }

    /// Whether layers of the model exchange something with the other processes while it is computed, as a synchronised batch norm
    /// does; they are connected for it then. All processes ask at the same time, before each run. `false`, the default: none does.
    ///
    /// # Errors
    /// When they cannot be connected. The processes have lost each other then.
    fn connect_layers(&mut self, group: &Arc<dyn ProcessGroup>) -> Fallible<bool> {
        let _ = group;
        Ok(false)
    }

    /// Whether all processes compute a micro-batch at the same time from now on, each its own, forward and backward: only then
    /// layers exchange something.
    fn in_step(&mut self, all: bool) {
        let _ = all;
    }

    /// This process does not go on with the micro-batch, and the others are not to wait for its layers: theirs fail. Returns whether
    /// they have left before: then it is their doing if this one has failed.
    fn leave_layers(&mut self) -> bool {
        false
    }

    /// How many pieces of the window's gradients are on their way.
    fn sums_begun(&self) -> u64 {
        0
    }

    /// Sends those of the first `pieces` that are not on their way (those of [`u64::MAX`] are all), and waits for what is. All
    /// processes say the same number, no less than any has begun. With all pieces, gradients are the sums from then on; a
    /// process without a micro-batch adds nothing.
    ///
    /// # Errors
    /// When a process is gone.
    fn finish_sums(&mut self, pieces: u64) -> Fallible {
        let _ = pieces;
        Ok(())
    }

    /// How its state dicts read in PyTorch: what is in each of its snapshots.
    ///
    /// # Errors
    /// When the model was lost in an earlier panic.
    fn layout(&mut self) -> Fallible<Arc<Layout>> {
        Ok(Arc::default())
    }

    /// A copy of everything the learner is. Later steps do not change it.
    ///
    /// # Errors
    /// When the engine fails.
    fn snapshot(&mut self) -> Fallible<StateDict>;

    /// Becomes what a snapshot says. All or nothing: a state that does not fit changes nothing. A learner without an
    /// optimizer leaves out what is under `optimizer/`. In which precision the state was made does not matter.
    ///
    /// # Errors
    /// When names, shapes or types do not fit; the message names the first ones.
    fn load(&mut self, state: &StateDict) -> Fallible;

    /// The model in evaluation mode.
    ///
    /// # Errors
    /// When the model was lost in an earlier panic.
    fn model(&mut self) -> Fallible<&Self::Model>;

    /// The model in evaluation mode, and nothing else.
    ///
    /// # Errors
    /// When the model was lost in an earlier panic.
    fn into_model(self) -> Fallible<Self::Model>
    where
        Self: Sized;
}
