//! The reference engine: a small network in plain Rust that shows what a [`Learner`] has to do, and on which the trainer
//! itself is tested. Every scalar read and every graph kept alive is counted, and it can play an asynchronous device.

mod adamw;
mod fixture;
mod layout;
mod net;
mod overlap;
mod scalar;
mod shadow;

use std::{rc::Rc, sync::Arc};

pub use fixture::Reference;
pub use net::{Batch, Net, ReferenceDevice};
pub use scalar::{Counters, Counts, LazyScalar};

use crate::{
    engine::{Engine, ParamInfo, Shadow, Visit},
    error::Fallible,
    learner::{
        Clip, Dtype, Layout, Learner, Number, Readout, SHADOW, SavedTensor, StateDict, Stepped, Update, in_part,
        no_such_part,
    },
    place::Place,
    process_group::ProcessGroup,
    rng::{Stream, generator},
    task::Mode,
};
use adamw::AdamW;
use overlap::Overlap;
use shadow::Shadows;

/// A [`Learner`] in plain Rust, with AdamW.
pub struct ReferenceLearner {
    net: Net,
    optimizer: Option<AdamW>,
    gradients: Option<Vec<Option<Vec<f32>>>>,
    shadows: Shadows,
    overlap: Option<Overlap>,
}

impl ReferenceLearner {
    /// Trains `net` with AdamW.
    #[must_use]
    pub fn new(net: Net) -> Self {
        let optimizer = Some(AdamW::new(net.params.len()));
        Self { net, optimizer, gradients: None, shadows: Shadows::default(), overlap: None }
    }

    /// Only evaluates and predicts.
    #[must_use]
    pub fn without_optimizer(net: Net) -> Self {
        Self { net, optimizer: None, gradients: None, shadows: Shadows::default(), overlap: None }
    }

    /// Plays a device that works ahead of the host: its numbers are there only after a `read`.
    #[must_use]
    pub fn asynchronous(self) -> Self {
        self.net.stream.set_asynchronous();
        self
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters(Rc::clone(&self.net.stream))
    }

    fn gradients_mut(&mut self) -> Fallible<&mut Vec<Option<Vec<f32>>>> {
        self.gradients.as_mut().ok_or_else(|| "there are no gradients: call `backward` first".into())
    }

    /// Adds the gradients of a loss with regard to some of the parameters.
    fn add_gradients(&mut self, loss: &LazyScalar, weight: f64, of: impl Fn(&str) -> bool) -> Fallible<LazyScalar> {
        let graph = loss.graph.as_ref().ok_or("the loss does not depend on the model's parameters")?;
        let mut new = self.net.gradients(graph, weight);
        for (gradient, param) in new.iter_mut().zip(&self.net.params) {
            if !of(param.name) {
                *gradient = None;
            }
        }
        match &mut self.gradients {
            None => self.gradients = Some(new),
            Some(sums) => {
                for (sum, new) in sums.iter_mut().zip(new) {
                    match (sum.as_mut(), new) {
                        (Some(sum), Some(new)) => sum.iter_mut().zip(new).for_each(|(sum, x)| *sum += x),
                        (None, new) => *sum = new,
                        (Some(_), None) => {}
                    }
                }
            }
        }
        Ok(loss.detached())
    }

    /// Everything saved, by name, as mutable slices.
    fn tensors(&mut self, mut visit: impl FnMut(String, &[usize], &mut [f32])) {
        for (i, param) in self.net.params.iter_mut().enumerate() {
            visit(format!("model/{}", param.name), &param.shape, &mut param.value);
            if let Some(optimizer) = &mut self.optimizer
                && let Some(moments) = &mut optimizer.moments[i]
            {
                visit(format!("optimizer/{}/moment_1", param.name), &param.shape, &mut moments[0]);
                visit(format!("optimizer/{}/moment_2", param.name), &param.shape, &mut moments[1]);
            }
        }
        if self.net.has_norm() {
            let [mean, var] = self.net.running.get_mut();
            let shape = [mean.len()];
            visit("model/norm.running_mean".to_owned(), &shape, mean);
            visit("model/norm.running_var".to_owned(), &shape, var);
        }
        let names = self.net.names();
        for (slot, all) in &mut self.shadows.0 {
            for ((name, shape), values) in names.iter().zip(all) {
                visit(format!("{SHADOW}{slot}/{name}"), shape, values);
            }
        }
    }
}

impl Engine for ReferenceLearner {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn gradients(&mut self, visit: Visit<'_>) -> Fallible {
        let Self { net, gradients, .. } = self;
        let gradients = gradients.as_mut().ok_or("there are no gradients: call `backward` first")?;
        for (param, gradient) in net.params.iter().zip(gradients) {
            if !param.trainable {
                continue;
            }
            let info = ParamInfo::new(param.name, &param.shape, true);
            if let Some(gradient) = gradient {
                visit(&info, gradient)?;
            } else {
                // Looking at it must not turn a parameter that took no part into one that did.
                let mut nothing = vec![-0.0f32; param.value.len()];
                visit(&info, &mut nothing)?;
                *gradient = nothing.iter().any(|x| x.to_bits() != (-0.0f32).to_bits()).then_some(nothing);
            }
        }
        Ok(())
    }

    fn parameters(&mut self, visit: Visit<'_>) -> Fallible {
        for param in &mut self.net.params {
            visit(&ParamInfo::new(param.name, &param.shape, param.trainable), &mut param.value)?;
        }
        if self.net.has_norm() {
            let [mean, var] = self.net.running.get_mut();
            let shape = [mean.len()];
            visit(&ParamInfo::new("norm.running_mean", &shape, false), mean)?;
            visit(&ParamInfo::new("norm.running_var", &shape, false), var)?;
        }
        Ok(())
    }

    fn shadow(&mut self, slot: &str, op: Shadow) -> Fallible {
        self.shadows.apply(&mut self.net.weights(), slot, op)
    }

    fn has_shadow(&self, slot: &str) -> Fallible<bool> {
        Ok(self.shadows.0.contains_key(slot))
    }
}

impl Learner for ReferenceLearner {
    type Model = Net;
    type Scalar = LazyScalar;
    type Device = ReferenceDevice;

    fn init(&mut self, seed: u64) -> Fallible {
        self.net.init(seed);
        Ok(())
    }

    fn device(&self, mode: Mode) -> ReferenceDevice {
        ReferenceDevice { tracked: mode == Mode::Train, ..self.net.device.get() }
    }

    fn to_device(&mut self, device: &ReferenceDevice) -> Fallible {
        if device.index > 1 {
            return Err(format!("there is no device {}: there are 0 and 1", device.index).into());
        }
        self.net.device.set(*device);
        Ok(())
    }

    fn is_asynchronous(&self) -> bool {
        self.net.stream.is_asynchronous()
    }

    fn has_optimizer(&self) -> bool {
        self.optimizer.is_some()
    }

    fn seed(&mut self, seed: u64) {
        *self.net.rng.get_mut() = generator(seed, Stream::Train, 0, 0);
    }

    fn train<R>(&mut self, f: impl FnOnce(&Net) -> R) -> Fallible<R> {
        self.net.device.set(self.device(Mode::Train));
        Ok(f(&self.net))
    }

    fn eval<R>(&mut self, f: impl FnOnce(&Net) -> R) -> Fallible<R> {
        Ok(f(self.model()?))
    }

    fn backward(&mut self, loss: LazyScalar, weight: f64, last: bool) -> Fallible<LazyScalar> {
        let loss = self.add_gradients(&loss, weight, |_| true)?;
        if let (true, Some(overlap), Some(gradients)) = (last, &mut self.overlap, &self.gradients) {
            overlap.begin(&self.net.params, gradients)?;
        }
        Ok(loss)
    }

    fn backward_part(&mut self, part: &str, loss: LazyScalar, weight: f64, _last: bool) -> Fallible<LazyScalar> {
        let mut trainable = self.net.params.iter().filter(|param| param.trainable).map(|param| param.name);
        if !trainable.clone().any(|name| in_part(name, part)) {
            return Err(no_such_part(part, &mut trainable));
        }
        self.add_gradients(&loss, weight, |name| in_part(name, part))
    }

    fn detach(&self, value: LazyScalar) -> LazyScalar {
        value.detached()
    }

    fn read(&self, lazy: &[LazyScalar], out: &mut Readout) -> Fallible {
        self.net.stream.read(lazy, out);
        Ok(())
    }

    fn clip(&mut self, scale: f64, clip: &Clip) -> Fallible<Option<LazyScalar>> {
        let gradients = self.gradients_mut()?;
        let all = || gradients.iter().flatten().flatten();
        let norm = match clip {
            Clip::Norm(_) => {
                let squares: f64 = all().map(|x| f64::from(*x) * f64::from(*x)).sum();
                Some(squares.sqrt() * scale)
            }
            Clip::Value(_) | Clip::None => None,
        };
        let factor = match (clip, norm) {
            (Clip::Norm(max), Some(norm)) => scale * (max / (norm + 1e-6)).min(1.0),
            _ => scale,
        };
        for x in gradients.iter_mut().flatten().flatten() {
            if factor != 1.0 {
                *x *= factor as f32;
            }
            if let Clip::Value(max) = clip {
                *x = x.clamp(-max as f32, *max as f32);
            }
        }
        Ok(norm.map(|norm| self.net.stream.scalar(&[norm], None)))
    }

    fn step(&mut self, update: &Update) -> Fallible<Stepped> {
        let optimizer =
            self.optimizer.as_mut().ok_or("the learner has no optimizer: it can only evaluate and predict")?;
        let gradients = self.gradients.take().ok_or("there are no gradients: call `backward` first")?;
        optimizer.step(&mut self.net.params, &gradients, update.lr);
        Ok(Stepped::Applied)
    }

    fn zero_grad(&mut self) {
        self.gradients = None;
    }

    fn expect_gradients(&mut self) -> Fallible {
        self.gradients.get_or_insert_with(|| vec![None; self.net.params.len()]);
        Ok(())
    }

    /// With [threads that are to play it](crate::testing::overlapping_thread_ranks).
    fn overlap(&mut self, group: &Arc<dyn ProcessGroup>) -> Fallible<bool> {
        if self.sums_begun() > 0 {
            return Err("gradients of the run before are still on their way".into());
        }
        self.overlap = Overlap::of(group);
        Ok(self.overlap.is_some())
    }

    fn sums_begun(&self) -> u64 {
        self.overlap.as_ref().map_or(0, |overlap| overlap.begun() as u64)
    }

    fn finish_sums(&mut self, pieces: u64) -> Fallible {
        self.expect_gradients()?;
        match (&mut self.overlap, &mut self.gradients) {
            (Some(overlap), Some(gradients)) => overlap.finish(pieces as usize, &self.net.params, gradients),
            _ => Ok(()),
        }
    }

    fn snapshot(&mut self) -> Fallible<StateDict> {
        let mut state = StateDict::default();
        self.tensors(|name, shape, values| {
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            let tensor = SavedTensor { dtype: Dtype::F32, shape: shape.to_vec(), data: Arc::new(bytes) };
            state.tensors.insert(name, tensor);
        });
        if let Some(optimizer) = &self.optimizer {
            state.numbers.insert("optimizer/time".to_owned(), Number::UInt(optimizer.time));
        }
        state.layout = self.layout()?;
        Ok(state)
    }

    fn layout(&mut self) -> Fallible<Arc<Layout>> {
        let mut layout = layout::layout(&self.net);
        layout.optimizer = layout.optimizer.filter(|_| self.optimizer.is_some());
        Ok(Arc::new(layout))
    }

    fn load(&mut self, state: &StateDict) -> Fallible {
        let moments_of = |name: &str| state.tensors.contains_key(&format!("optimizer/{name}/moment_1"));
        let optimizer = self.optimizer.as_ref().map(|_| {
            let mut optimizer = AdamW::new(self.net.params.len());
            for (moments, param) in optimizer.moments.iter_mut().zip(&self.net.params) {
                *moments = moments_of(param.name).then(|| AdamW::zeros(param));
            }
            optimizer
        });
        let shadows = Shadows::of(state, &self.net.weights());
        let before = (std::mem::replace(&mut self.optimizer, optimizer), std::mem::replace(&mut self.shadows, shadows));
        let (mut problems, mut used) = (Vec::new(), 0);
        self.tensors(|name, shape, _| match state.tensors.get(&name) {
            Some(saved) if saved.shape == shape && saved.dtype == Dtype::F32 => used += 1,
            Some(saved) => {
                problems.push(format!("`{name}` is {shape:?} here and {:?} in the saved state", saved.shape));
            }
            None => problems.push(format!("`{name}` is missing in the saved state")),
        });
        let ours = |name: &&String| before.0.is_some() || !name.starts_with("optimizer/");
        if used < state.tensors.keys().filter(ours).count() && problems.is_empty() {
            problems.push("the saved state has tensors that this model has not".to_owned());
        }
        if !problems.is_empty() {
            (self.optimizer, self.shadows) = before;
            problems.truncate(5);
            return Err(format!("the saved state does not fit the model: {}", problems.join("; ")).into());
        }
        let mut done = Ok(());
        self.tensors(|name, _, values| {
            let bytes = state.tensors[&name].data.bytes();
            match bytes {
                Ok(bytes) => values.iter_mut().zip(bytes.as_chunks().0).for_each(|(x, b)| *x = f32::from_le_bytes(*b)),
                Err(e) => done = Err(e),
            }
        });
        if let (Some(optimizer), Some(Number::UInt(time))) = (&mut self.optimizer, state.numbers.get("optimizer/time"))
        {
            optimizer.time = *time;
        }
        self.gradients = None;
        done
    }

    fn model(&mut self) -> Fallible<&Net> {
        self.net.device.set(self.device(Mode::Evaluate));
        Ok(&self.net)
    }

    fn into_model(mut self) -> Fallible<Net> {
        self.model()?;
        Ok(self.net)
    }
}

impl Place<ReferenceLearner> for Batch {
    fn place(mut self, device: &ReferenceDevice) -> Self {
        self.device = Some(*device);
        self
    }
}
