//! Lending tensors to visitors as `&mut [f32]`. On Flex nothing is copied: a tensor with one owner gives its memory
//! away and gets it back.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
    prelude::*,
    tensor::{DType, GradientCheckpointingStrategy},
};
use zae_core::{
    engine::{ParamInfo, Visit},
    error::{BoxError, Fallible},
    learner::SavedTensor,
    pool::Pool,
};

use crate::{
    device::is_synchronous,
    saved,
    visit::{Path, walk},
};

/// A visitor whose failure waits until every tensor is back in its place.
struct Guarded<'a> {
    visit: Visit<'a>,
    error: Option<BoxError>,
    panic: Option<Box<dyn Any + Send>>,
}

impl<'a> Guarded<'a> {
    fn new(visit: Visit<'a>) -> Self {
        Self { visit, error: None, panic: None }
    }

    fn failed(&self) -> bool {
        self.error.is_some() || self.panic.is_some()
    }

    fn finish(self) -> Fallible {
        if let Some(panic) = self.panic {
            resume_unwind(panic);
        }
        self.error.map_or(Ok(()), Err)
    }

    fn accepts(&mut self, name: &str, dtype: DType) -> bool {
        if dtype != DType::F32 && !self.failed() {
            self.error = Some(format!("`{name}` is {dtype:?}: only f32 can be lent").into());
        }
        !self.failed()
    }

    fn call(&mut self, info: &ParamInfo<'_>, data: &mut TensorData) {
        match data.as_mut_slice::<f32>() {
            Err(error) => self.error = Some(error.to_string().into()),
            Ok(values) => match catch_unwind(AssertUnwindSafe(|| (self.visit)(info, values))) {
                Ok(result) => self.error = result.err(),
                Err(panic) => self.panic = Some(panic),
            },
        }
    }

    /// Lends a tensor without autodiff context.
    fn lend<const D: usize>(&mut self, name: &str, trainable: bool, tensor: Tensor<D>) -> Tensor<D> {
        if !self.accepts(name, tensor.dtype()) {
            return tensor;
        }
        let (device, shape) = (tensor.device(), tensor.dims());
        // Where reading can fail the tensor is kept until it has worked; elsewhere a second owner would cost a copy.
        let kept = (!is_synchronous(&device)).then(|| tensor.clone());
        let mut data = match (tensor.try_into_data(), kept) {
            (Ok(data), _) => data,
            (Err(error), kept) => {
                self.error = Some(error.to_string().into());
                return kept.unwrap_or_else(|| Tensor::zeros(shape, &device));
            }
        };
        self.call(&ParamInfo::new(name, &shape, trainable), &mut data);
        Tensor::from_data(data, (&device, DType::F32))
    }
}

/// Lends the gradient of every trainable parameter.
///
/// A parameter that took no part in the window has none. It is lent one of `-0.0`, the number that changes no sum, and
/// gets a gradient only if something else is in it afterwards: looking at gradients changes nothing, and ranks that sum
/// their gradients agree on which there are.
pub(crate) fn gradients<M: Module>(model: &M, gradients: &mut GradientsParams, visit: Visit<'_>) -> Fallible {
    let mut lend = LendGradients { path: Path::default(), gradients, visit: Guarded::new(visit) };
    model.visit(&mut lend);
    lend.visit.finish()
}

struct LendGradients<'a> {
    path: Path,
    gradients: &'a mut GradientsParams,
    visit: Guarded<'a>,
}

impl ModuleVisitor for LendGradients<'_> {
    walk!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.as_str();
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let gradient = self.visit.lend(name, true, gradient);
            self.gradients.register(param.id, gradient);
            return;
        }
        if !param.is_require_grad() || !self.visit.accepts(name, param.dtype()) {
            return;
        }
        let shape = param.dims();
        let mut data = TensorData::full(shape, -0.0f32);
        self.visit.call(&ParamInfo::new(name, &shape, true), &mut data);
        let written =
            data.as_slice::<f32>().is_ok_and(|values| values.iter().any(|v| v.to_bits() != (-0.0f32).to_bits()));
        if written {
            let device = param.device().without_autodiff();
            self.gradients.register(param.id, Tensor::<D>::from_data(data, (&device, DType::F32)));
        }
    }
}

/// Lends every floating-point parameter and buffer. The model comes back even if the visitor fails or panics, which
/// [`Outcome::finish`] passes on.
pub(crate) fn parameters<M: Module>(model: M, visit: Visit<'_>) -> (M, Outcome<'_>) {
    // Updates of running statistics that wait to be added would replace what the visitor writes: `valid` adds them.
    drop(model.valid());
    let mut lend = LendParameters { path: Path::default(), visit: Guarded::new(visit) };
    let model = model.map(&mut lend);
    (model, Outcome(lend.visit))
}

/// How lending went.
pub(crate) struct Outcome<'a>(Guarded<'a>);

impl Outcome<'_> {
    pub(crate) fn finish(self) -> Fallible {
        self.0.finish()
    }
}

struct LendParameters<'a> {
    path: Path,
    visit: Guarded<'a>,
}

impl ModuleMapper for LendParameters<'_> {
    walk!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let trainable = tensor.is_require_grad();
        let strategy = tensor.gradient_checkpointing_strategy();
        let tensor = self.visit.lend(self.path.as_str(), trainable, tensor.inner());
        Param::from_mapped_value(id, tracked(tensor, trainable, strategy), mapper)
    }
}

/// The model with every floating-point parameter and buffer that is on Flex row-major in memory of its own. Nothing is
/// copied of those that are.
///
/// Flex sums a view, such as a transposed tensor, in another order. The first optimizer step makes tensors of views, and
/// lending does. Loading makes them too, but of a `Linear` in column layout a view. So with views a run that was
/// interrupted would end with other bits.
pub(crate) fn row_major<M: Module>(model: M) -> M {
    model.map(&mut RowMajor)
}

struct RowMajor;

impl ModuleMapper for RowMajor {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let (trainable, strategy) = (tensor.is_require_grad(), tensor.gradient_checkpointing_strategy());
        let tensor = dense(tensor.inner());
        Param::from_mapped_value(id, tracked(tensor, trainable, strategy), mapper)
    }
}

/// A tensor without autodiff context, row-major in memory of its own if it is on Flex: see [`row_major`].
pub(crate) fn dense<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if lendable(&tensor) { look(tensor, |_| ()).0 } else { tensor }
}

/// A tensor without autodiff context, and a copy of it: on Flex in a buffer of the pool.
pub(crate) fn copied<const D: usize>(
    tensor: Tensor<D>,
    name: &str,
    pool: &Arc<Pool>,
) -> (Tensor<D>, Fallible<SavedTensor>) {
    let (true, Ok(dtype)) = (lendable(&tensor), saved::dtype(tensor.dtype())) else {
        let copy = tensor.clone().try_into_data().map_err(Into::into).and_then(saved::save);
        return (tensor, copy);
    };
    look(tensor, |data| pool.copy(name, dtype, data.shape(), data.as_bytes()))
}

/// Tensors without autodiff context: the first, and slot + weight x (first - slot). On Flex that is one pass over their memory.
pub(crate) fn lerped<const D: usize>(from: Tensor<D>, slot: Tensor<D>, weight: f64) -> (Tensor<D>, Tensor<D>) {
    let is_f32 = |tensor: &Tensor<D>| tensor.dtype() == DType::F32 && lendable(tensor);
    if !(is_f32(&from) && is_f32(&slot)) {
        let step = from.clone().sub(slot.clone()).mul_scalar(weight);
        return (from, slot.add(step));
    }
    let weight = weight as f32;
    let device = slot.device();
    let mut kept = slot.into_data();
    let (from, _) = look(from, |new| {
        let (Ok(kept), Ok(new)) = (kept.as_mut_slice::<f32>(), new.as_slice::<f32>()) else { return };
        kept.iter_mut().zip(new).for_each(|(kept, new)| *kept += weight * (new - *kept));
    });
    (from, Tensor::from_data(kept, (&device, DType::F32)))
}

/// A tensor, and its type and shape without its bytes.
pub(crate) fn described<const D: usize>(tensor: Tensor<D>) -> (Tensor<D>, Fallible<SavedTensor>) {
    let saved = |dtype| SavedTensor { dtype, shape: tensor.dims().to_vec(), data: Arc::new(Vec::new()) };
    let described = saved::dtype(tensor.dtype()).map(saved);
    (tensor, described)
}

/// Whether a tensor's memory comes out and goes in again as it is.
fn lendable<const D: usize>(tensor: &Tensor<D>) -> bool {
    matches!(tensor.dtype(), DType::F64 | DType::F32 | DType::F16 | DType::BF16) && is_synchronous(&tensor.device())
}

/// Shows a lendable tensor's data to `read`.
fn look<const D: usize, R>(tensor: Tensor<D>, read: impl FnOnce(&TensorData) -> R) -> (Tensor<D>, Fallible<R>) {
    let (device, dtype, shape) = (tensor.device(), tensor.dtype(), tensor.dims());
    match tensor.try_into_data() {
        Ok(data) => {
            let result = read(&data);
            (Tensor::from_data(data, (&device, dtype)), Ok(result))
        }
        // Flex hands over what it holds: there is no device that could fail.
        Err(error) => (Tensor::zeros(shape, (&device, dtype)), Err(error.to_string().into())),
    }
}

/// A tensor as a parameter's value: a leaf in the context the parameter had.
pub(crate) fn tracked<const D: usize>(
    tensor: Tensor<D>,
    trainable: bool,
    strategy: Option<GradientCheckpointingStrategy>,
) -> Tensor<D> {
    match strategy {
        Some(strategy) => tensor.autodiff().with_gradient_checkpointing_strategy(strategy).set_require_grad(trainable),
        None => tensor,
    }
}
