//! Running statistics of batch norms, measured anew.

use std::collections::HashSet;

use super::Trainer;
use crate::{
    data::{Draw, Loader, Shard},
    engine::Engine,
    error::{Error, Fallible, Stage},
    learner::Learner,
    progress::Cursor,
    task::{At, Mode, Task},
};

impl<T: Task> Trainer<T> {
    /// Measures the running statistics of batch norms anew: the mean over all batches of `data`, for the weights that the model
    /// is evaluated with. Averaged weights ([`Swa`](crate::add_ons::Swa)) need it, for nobody has trained with them.
    ///
    /// Each batch goes once through `train_step` in training mode (the first one twice), without gradients: nothing else changes.
    /// The result is that of `torch.optim.swa_utils.update_bn`, to rounding. (What a batch tells of itself is the model's: variances
    /// of a batch norm of Burn are biased, PyTorch's are not.) Of several processes, each takes all batches. Nothing
    /// happens to a model without buffers.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`]; then statistics are not what they were. Also when the engine does not tell buffers from
    /// parameters.
    pub fn update_bn<D: Loader<T::Batch>>(&mut self, data: D) -> Result<(), Error> {
        self.open()?;
        let result = self.guard(|t| {
            t.meet()?;
            let data = t.few(data);
            t.on_average(|t| t.measure_statistics(&data))
        });
        self.close(result)
    }

    /// A running statistic goes from r to r' = k r + (1 - k) b, with b the batch's own and a k that only the model knows. The
    /// first batch, seen twice from r0, tells it: r2 - r1 = k (r1 - r0). With that, what the sum of all r owes to where they
    /// began is taken out of it: sum b = sum r + k / (1 - k) (last r - first r).
    fn measure_statistics<D: Loader<T::Batch>>(&mut self, data: &D) -> Result<(), Error> {
        let layout = self.at(Stage::Average, |t| t.learner.layout())?;
        if layout.tensors.is_empty() {
            let engine = self.learner.name().to_owned();
            let untold = format!("the engine `{engine}` does not tell which tensors are running statistics");
            return self.at(Stage::Average, |_| Err(untold.into()));
        }
        let names: HashSet<&str> =
            layout.tensors.iter().filter(|own| !own.parameter).map(|own| own.name.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        self.share_buffers()?;
        let before = self.at(Stage::Average, |t| read(&mut t.learner, &names))?;
        self.see_first(data)?;
        let first = self.at(Stage::Average, |t| read(&mut t.learner, &names))?;
        let (mut second, mut last) = (None, first.clone());
        let mut sums: Vec<Vec<f64>> = first.iter().map(|values| vec![0.0; values.len()]).collect();
        let batches = self.pass("update_bn", Mode::Train, data, Shard::WHOLE, |t, batch: Option<T::Batch>, at| {
            let Some(batch) = batch else { return Ok(()) };
            t.see(batch, at)?;
            last = t.at(Stage::Average, |t| read(&mut t.learner, &names))?;
            for (sum, value) in sums.iter_mut().flatten().zip(last.iter().flatten()) {
                *sum += f64::from(*value);
            }
            second.get_or_insert_with(|| last.clone());
            Ok(())
        })?;
        let second = second.unwrap_or_else(|| first.clone());
        let mut means = Vec::with_capacity(sums.len());
        for (i, sums) in sums.iter().enumerate() {
            let kept = kept(&before[i], &first[i], &second[i]);
            let mean = |j: usize| {
                let owed = kept / (1.0 - kept) * (f64::from(last[i][j]) - f64::from(first[i][j]));
                ((sums[j] + owed) / batches as f64) as f32
            };
            // A buffer that a batch does not change is no statistic.
            let changes = before[i] != first[i] || first[i] != last[i];
            means.push(changes.then(|| (0..sums.len()).map(mean).collect::<Vec<_>>()));
        }
        let mut next = means.into_iter();
        self.at(Stage::Average, |t| {
            t.learner.parameters(&mut |info, values| {
                if names.contains(info.name)
                    && let Some(mean) = next.next().flatten()
                {
                    values.copy_from_slice(&mean);
                }
                Ok(())
            })
        })
    }

    /// Lets the model see the first batch, as the pass that follows will.
    fn see_first<D: Loader<T::Batch>>(&mut self, data: &D) -> Result<(), Error> {
        let cursor = Cursor::default();
        let at = At {
            mode: Mode::Train,
            cursor,
            step: self.state.progress.step,
            total_steps: self.state.progress.plan.total_steps,
            seed: self.state.seed,
        };
        let first = self.at(Stage::PassData, |_| {
            data.shard(&Draw::new(at.seed, cursor), Shard::WHOLE)?.next().transpose().map(Option::flatten)
        })?;
        first.map_or(Ok(()), |batch| self.see(batch, &at))
    }

    fn see(&mut self, batch: T::Batch, at: &At) -> Result<(), Error> {
        self.at(Stage::TrainStep, |t| {
            t.learner.seed(at.engine_seed());
            let batch = t.learner.place(batch, Mode::Train);
            t.learner.train(|model| t.task.train_step(model, batch, at))?.map(|_| ())
        })
    }
}

/// Buffers of these names, in the model's order.
fn read(learner: &mut impl Engine, names: &HashSet<&str>) -> Fallible<Vec<Vec<f32>>> {
    let mut all = Vec::with_capacity(names.len());
    learner.parameters(&mut |info, values| {
        if names.contains(info.name) {
            all.push(values.to_vec());
        }
        Ok(())
    })?;
    Ok(all)
}

/// The k of second - first = k (first - before), by least squares. Where the first batch moves hardly anything but roundings,
/// none is needed.
fn kept(before: &[f32], first: &[f32], second: &[f32]) -> f64 {
    let (mut products, mut squares, mut size) = (0.0, 0.0, 0.0);
    for ((before, first), second) in before.iter().zip(first).zip(second) {
        let [before, first, second] = [before, first, second].map(|x| f64::from(*x));
        products += (second - first) * (first - before);
        squares += (first - before) * (first - before);
        size += first * first;
    }
    if squares > 1e-10 * size { (products / squares).clamp(0.0, 0.9999) } else { 0.0 }
}
