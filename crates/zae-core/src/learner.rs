//! [`Learner`]: what the trainer drives. Implementing it (and [`Engine`]) plugs in a tensor engine.

mod part;
mod readout;
mod state_dict;

use std::sync::Arc;

pub use part::{in_part, no_such_part};
pub use readout::Readout;
pub use state_dict::{
    Dtype, Layout, MODEL, Number, OPTIMIZER, OptimizerLayout, SCALER, SHADOW, SavedTensor, StateDict, TensorBytes,
    TensorLayout,
};

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
