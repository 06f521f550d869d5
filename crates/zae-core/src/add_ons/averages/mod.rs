//! Averages of weights, kept beside the model as one of the engine's second sets.

mod ema;
mod swa;

pub use ema::Ema;
pub use swa::Swa;

use serde::{Deserialize, Serialize};

use crate::{
    add_on::{Context, Notice},
    engine::Shadow,
    error::Fallible,
    progress::ProgressChecker,
};

/// From when on weights are averaged.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Begin {
    Step(u64),
    Epoch(u64),
}

/// After which steps weights are averaged.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Each {
    Steps(u64),
    Epoch,
}

/// What both averages are.
#[derive(Clone, PartialEq, Debug)]
struct Average {
    /// The add-on's name and the engine's slot.
    name: String,
    from: Begin,
    each: Each,
    evaluate: bool,
    count: Count,
}

/// What has to be saved.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
struct Count {
    /// How many weights are in the average.
    updates: u64,
    /// The last step it was asked about. If the run is at another one, it has missed some.
    step: u64,
}

impl Average {
    fn new(name: &str, from: Begin, each: Each) -> Self {
        Self { name: name.to_owned(), from, each, evaluate: true, count: Count::default() }
    }

    fn shown(&self) -> Option<&str> {
        self.evaluate.then_some(&self.name)
    }

    /// What cannot work is said before the first step.
    fn start(&mut self, cx: &mut Context<'_>) -> Fallible {
        if self.name.is_empty() || self.name.contains('/') {
            return Err(format!("`.named({:?})`: give a name without `/`", self.name).into());
        }
        if self.each == Each::Steps(0) {
            return Err("`.every(0)`: give at least 1 step".into());
        }
        let is_there = cx.engine.has_shadow(&self.name)?;
        let step = cx.progress.step();
        if is_there && self.count.updates > 0 && self.count.step != step {
            cx.requests.notice(Notice::Warning(format!(
                "the run went on from step {} to step {step} without the average `{}`, which begins anew",
                self.count.step, self.name
            )));
            self.count = Count::default();
        }
        // Of an add-on of this name whose count was not saved.
        if is_there && self.count.updates == 0 {
            cx.engine.shadow(&self.name, Shadow::Drop)?;
        }
        self.count.step = step;
        Ok(())
    }

    /// Takes the weights into the average, if it is time: with `decay(n)` as the part that is kept of an average of `n` weights.
    fn update(&mut self, cx: &mut Context<'_>, decay: impl FnOnce(u64) -> f64) -> Fallible {
        self.count.step = cx.progress.step();
        if !self.is_due(cx.progress) {
            return Ok(());
        }
        // The program may have loaded other weights meanwhile: no average of earlier ones is left then.
        let count = if cx.engine.has_shadow(&self.name)? { self.count.updates } else { 0 };
        let op = if count == 0 { Shadow::Create } else { Shadow::Lerp { decay: decay(count) } };
        cx.engine.shadow(&self.name, op)?;
        self.count.updates = count + 1;
        Ok(())
    }

    fn is_due(&self, progress: &ProgressChecker) -> bool {
        let (step, ends_epoch) = (progress.step(), progress.micro_batch() == 0);
        // After the last step of an epoch the cursor is at the next one.
        let epoch = progress.epoch() - u64::from(ends_epoch && progress.epoch() > 0);
        let begun = match self.from {
            Begin::Step(from) => step >= from,
            Begin::Epoch(from) => epoch >= from,
        };
        let now = match self.each {
            Each::Steps(n) => step.is_multiple_of(n),
            Each::Epoch => ends_epoch,
        };
        begun && now
    }
}
