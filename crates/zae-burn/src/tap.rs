//! Optimizers whose state can be copied out without a second owner.
//!
//! Burn gives an optimizer's state out as a record: each tensor is copied into fresh memory, and once more into the bytes
//! of the record. A [`Tap`] around the optimizer takes part in the making of that record instead. The state gives its
//! tensors away, they are copied into the buffers of a [`Pool`], and the state gets them back.

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use burn::{
    optim::{
        AdaGrad, Adafactor, Adam, AdamState, AdamW, AdamWState, Adan, AdanState, AdaptiveMomentumState, Lamb,
        LambState, LearningRate, Lion, LionState, Muon, Optimizer, RecordState, RmsProp, Sgd, StateSink, StateSource,
    },
    prelude::*,
};
use burn_pack::Scalar;
use zae_core::{
    error::{BoxError, Fallible},
    learner::SavedTensor,
    pool::Pool,
};

use crate::{lend, saved};

/// An optimizer for one parameter whose state can be copied out. Without a `lend` of its own the tensors are copied once,
/// into fresh memory: some states of Burn keep theirs to themselves.
pub(crate) trait Tapped: Optimizer {
    fn lend<const D: usize>(state: Self::State<D>, out: &mut Lent<'_>) -> Self::State<D> {
        out.flatten(&state);
        state
    }
}

impl Tapped for AdamW {
    fn lend<const D: usize>(state: AdamWState<D>, out: &mut Lent<'_>) -> AdamWState<D> {
        AdamWState { momentum: adaptive(state.momentum, out) }
    }
}

impl Tapped for Adam {
    fn lend<const D: usize>(state: AdamState<D>, out: &mut Lent<'_>) -> AdamState<D> {
        AdamState { momentum: adaptive(state.momentum, out) }
    }
}

fn adaptive<const D: usize>(mut state: AdaptiveMomentumState<D>, out: &mut Lent<'_>) -> AdaptiveMomentumState<D> {
    out.number("momentum.time", state.time);
    state.moment_1 = out.tensor("momentum.moment_1", state.moment_1);
    state.moment_2 = out.tensor("momentum.moment_2", state.moment_2);
    state.max_moment_2 = state.max_moment_2.map(|tensor| out.tensor("momentum.max_moment_2", tensor));
    state
}

impl Tapped for Lamb {
    fn lend<const D: usize>(mut state: LambState<D>, out: &mut Lent<'_>) -> LambState<D> {
        out.number("time", state.time);
        state.moment_1 = out.tensor("moment_1", state.moment_1);
        state.moment_2 = out.tensor("moment_2", state.moment_2);
        state
    }
}

impl Tapped for Lion {
    fn lend<const D: usize>(state: LionState<D>, out: &mut Lent<'_>) -> LionState<D> {
        LionState { momentum: out.tensor("momentum", state.momentum) }
    }
}

impl Tapped for Adan {
    fn lend<const D: usize>(state: AdanState<D>, out: &mut Lent<'_>) -> AdanState<D> {
        let mut momentum = state.momentum;
        out.number("momentum.time", momentum.time);
        momentum.exp_avg = out.tensor("momentum.exp_avg", momentum.exp_avg);
        momentum.exp_avg_sq = out.tensor("momentum.exp_avg_sq", momentum.exp_avg_sq);
        momentum.exp_avg_diff = out.tensor("momentum.exp_avg_diff", momentum.exp_avg_diff);
        momentum.neg_pre_grad = out.tensor("momentum.neg_pre_grad", momentum.neg_pre_grad);
        AdanState { momentum }
    }
}

impl Tapped for AdaGrad {}
impl Tapped for Adafactor {}
impl Tapped for Muon {}
impl Tapped for RmsProp {}
impl Tapped for Sgd {}

/// The same optimizer, with states in [`Slot`]s.
#[derive(Clone)]
pub(crate) struct Tap<O>(pub(crate) O);

impl<O: Tapped> Optimizer for Tap<O> {
    type State<const D: usize> = Slot<O, D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Slot<O, D>>,
    ) -> (Tensor<D>, Option<Slot<O, D>>) {
        let (tensor, state) = self.0.step(lr, tensor, grad, state.and_then(Slot::into_state));
        (tensor, state.map(Slot::new))
    }

    fn to_device<const D: usize>(state: Slot<O, D>, device: &Device) -> Slot<O, D> {
        Slot(Mutex::new(state.into_state().map(|state| O::to_device(state, device))))
    }
}

/// The state of one parameter. Burn shows it only behind a shared reference, from behind which it is taken and put back.
pub(crate) struct Slot<O: Tapped, const D: usize>(Mutex<Option<O::State<D>>>);

impl<O: Tapped, const D: usize> Slot<O, D> {
    fn new(state: O::State<D>) -> Self {
        Self(Mutex::new(Some(state)))
    }

    fn into_state(self) -> Option<O::State<D>> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Option<O::State<D>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O: Tapped, const D: usize> Clone for Slot<O, D> {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.lock().clone()))
    }
}

impl<O: Tapped, const D: usize> RecordState for Slot<O, D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        let mut slot = self.lock();
        let Some(state) = slot.take() else { return };
        *slot = Some(COPIES.with_borrow_mut(|copies| match copies {
            Some(copies) => O::lend(state, &mut Lent { prefix, copies }),
            None => {
                state.state_flatten(prefix, out);
                state
            }
        }));
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, device: &Device) -> Option<Self> {
        let given = GIVEN.with_borrow_mut(|given| given.remove(prefix)).unwrap_or_default();
        given.into_iter().for_each(|(key, data)| source.insert_tensor(key, data));
        O::State::<D>::state_unflatten(prefix, source, device).map(Self::new)
    }
}

thread_local! {
    /// Where the states that Burn makes a record of on this thread put their copies.
    static COPIES: RefCell<Option<Copies>> = const { RefCell::new(None) };
    /// Tensors for the states that Burn makes of a record on this thread.
    static GIVEN: RefCell<Given> = RefCell::default();
}

/// Tensors under Burn's keys, by the parameter's id: `17`, `17.momentum.moment_1`.
pub(crate) type Given = HashMap<String, Vec<(String, TensorData)>>;

/// What was copied out, by Burn's keys: `17.momentum.moment_1`.
pub(crate) struct Copies {
    pool: Option<Arc<Pool>>,
    pub(crate) tensors: Vec<(String, SavedTensor)>,
    pub(crate) numbers: Vec<(String, Scalar)>,
    error: Option<BoxError>,
}

/// Runs `record`, which makes a record of an optimizer, and returns what tapped states copied out instead of giving it to
/// the record. Without a pool lent tensors are not copied, and come without their bytes.
pub(crate) fn copy_out<R>(pool: Option<&Arc<Pool>>, record: impl FnOnce() -> R) -> Fallible<(R, Copies)> {
    /// Also when `record` panics, later records are whole again.
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            COPIES.set(None);
        }
    }
    COPIES.set(Some(Copies { pool: pool.cloned(), tensors: Vec::new(), numbers: Vec::new(), error: None }));
    let reset = Reset;
    let record = record();
    let copies = COPIES.take();
    drop(reset);
    let mut copies = copies.ok_or("an optimizer made a record of another optimizer within its own")?;
    copies.error.take().map_or(Ok((record, copies)), Err)
}

/// Runs `load`, which makes an optimizer of a record without tensors, and gives these to tapped states. Returns what none
/// has taken: all of it, if the optimizer is not tapped.
pub(crate) fn give<R>(tensors: Given, load: impl FnOnce() -> R) -> (R, Given) {
    /// Also when `load` panics, nothing is kept for another optimizer.
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            GIVEN.take();
        }
    }
    GIVEN.set(tensors);
    let _reset = Reset;
    let loaded = load();
    (loaded, GIVEN.take())
}

/// What the state of one parameter is lent to.
pub(crate) struct Lent<'a> {
    prefix: &'a str,
    copies: &'a mut Copies,
}

impl Lent<'_> {
    fn tensor<const D: usize>(&mut self, field: &str, tensor: Tensor<D>) -> Tensor<D> {
        let key = format!("{}.{field}", self.prefix);
        let (tensor, copy) = match &self.copies.pool {
            Some(pool) => lend::copied(tensor, &key, pool),
            None => lend::described(tensor),
        };
        self.put(key, copy);
        tensor
    }

    fn number(&mut self, field: &str, value: impl Into<Scalar>) {
        self.copies.numbers.push((format!("{}.{field}", self.prefix), value.into()));
    }

    fn flatten(&mut self, state: &impl RecordState) {
        let mut sink = StateSink::default();
        state.state_flatten(self.prefix, &mut sink);
        self.copies.numbers.extend(sink.scalars);
        for (key, data) in sink.tensors {
            self.put(key, saved::save(data));
        }
    }

    fn put(&mut self, key: String, copy: Fallible<SavedTensor>) {
        match copy {
            Ok(copy) => self.copies.tensors.push((key, copy)),
            Err(error) => self.copies.error = Some(format!("{key}: {error}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn tensor(value: f32) -> (Tensor<1>, *const u8) {
        let data = TensorData::full([100], value);
        let address = data.as_bytes().as_ptr();
        (Tensor::from_data(data, &Device::flex()), address)
    }

    #[test]
    fn moments_are_lent_and_not_copied() {
        let ((first, first_at), (second, second_at)) = (tensor(1.0), tensor(2.0));
        let state = AdamWState { momentum: AdaptiveMomentumState::new(3, first, second) };
        let slot = Slot::<AdamW, 1>::new(state);
        let pool = Arc::default();
        let mut sink = StateSink::default();
        let ((), copies) = copy_out(Some(&pool), || slot.state_flatten("17", &mut sink)).unwrap();
        assert!(sink.tensors.is_empty() && sink.scalars.is_empty());
        let keys: Vec<_> = copies.tensors.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["17.momentum.moment_1", "17.momentum.moment_2"]);
        assert_eq!(copies.numbers, [("17.momentum.time".to_owned(), Scalar::UInt(3))]);
        let momentum = slot.into_state().unwrap().momentum;
        let [first, second] = [momentum.moment_1, momentum.moment_2].map(Tensor::into_data);
        assert_eq!([first.as_bytes().as_ptr(), second.as_bytes().as_ptr()], [first_at, second_at]);
        assert_eq!(second.as_slice::<f32>().unwrap(), [2.0; 100]);
    }

    #[test]
    fn outside_of_a_snapshot_the_record_is_whole() {
        let slot = Slot::<Lion, 1>::new(LionState { momentum: tensor(1.0).0 });
        let caught = std::panic::catch_unwind(|| copy_out(None, || std::panic::resume_unwind(Box::new(()))));
        assert!(caught.is_err());
        let mut sink = StateSink::default();
        slot.clone().state_flatten("17", &mut sink);
        assert_eq!(sink.tensors[0].0, "17.momentum");
        let mut source = StateSource::default();
        sink.tensors.into_iter().for_each(|(key, data)| source.insert_tensor(key, data));
        assert!(Slot::<Lion, 1>::state_unflatten("17", &mut source, &Device::flex()).is_some());
    }
}
