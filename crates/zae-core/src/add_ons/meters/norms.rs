//! [`GradNorms`] and [`WeightNorms`]: how long gradients and weights are.

use std::sync::Arc;

use super::{EVERY, check_every};
use crate::{
    add_on::{AddOn, Context},
    engine::ParamInfo,
    error::Fallible,
};

/// What has a norm of its own, besides the total.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Each {
    #[default]
    None,
    Layer,
    Parameter,
}

/// L2 norms, `sqrt(sum of squares)`, taken in f64 in the model's order: so they are the same bits on all processes, and again
/// after a resume.
#[derive(Clone, Debug)]
struct Norms {
    prefix: &'static str,
    each: Each,
    every: u64,
    /// Names and sums of squares, the total first. Kept, so that names are made once.
    sums: Vec<(Arc<str>, f64)>,
    /// For each tensor that is visited, its name and the place of its sum.
    places: Vec<(String, usize)>,
}

impl Norms {
    fn new(prefix: &'static str) -> Self {
        let total = (format!("{prefix}/total").into(), 0.0);
        Self { prefix, each: Each::None, every: EVERY, sums: vec![total], places: Vec::new() }
    }

    /// Whether it is time after this many steps.
    fn is_due(&self, steps: u64) -> bool {
        steps.is_multiple_of(self.every)
    }

    fn clear(&mut self) {
        self.sums.iter_mut().for_each(|(_, sum)| *sum = 0.0);
    }

    /// Adds the `i`th tensor.
    fn add(&mut self, i: usize, name: &str, values: &[f32]) {
        let squares: f64 = values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
        self.sums[0].1 += squares;
        if self.each != Each::None {
            let place = self.place(i, name);
            self.sums[place].1 += squares;
        }
    }

    fn place(&mut self, i: usize, name: &str) -> usize {
        if let Some((_, place)) = self.places.get(i).filter(|(known, _)| known == name) {
            return *place;
        }
        let own = match (self.each, name.rsplit_once('.')) {
            (Each::Layer, Some((layer, _))) => layer,
            _ => name,
        };
        let full = format!("{}/{own}", self.prefix);
        let known = self.sums.iter().skip(1).position(|(name, _)| **name == *full).map(|place| place + 1);
        let place = known.unwrap_or(self.sums.len());
        if known.is_none() {
            self.sums.push((full.into(), 0.0));
        }
        self.places.truncate(i);
        self.places.push((name.to_owned(), place));
        place
    }

    fn log(&self, cx: &mut Context<'_>) -> Fallible {
        self.sums.iter().try_for_each(|(name, sum)| cx.log(name.clone(), sum.sqrt()))
    }
}

macro_rules! settings {
    () => {
        /// Also one norm for each layer: for what has the same path but for its last part, as `conv1.weight` and `conv1.bias`.
        #[must_use]
        pub fn per_layer(mut self) -> Self {
            self.norms.each = Each::Layer;
            self
        }

        /// Also one norm for each parameter.
        #[must_use]
        pub fn per_parameter(mut self) -> Self {
            self.norms.each = Each::Parameter;
            self
        }

        /// After how many steps they are taken; 50 by default. Each time the values are copied to the host once.
        #[must_use]
        pub fn every(mut self, steps: u64) -> Self {
            self.norms.every = steps;
            self
        }
    };
}

/// Logs the L2 norm of the gradients, as the optimizer gets them: summed over micro-batches and processes, and clipped. (What they
/// were before clipping by norm is in the rows in any case, as `train/grad_norm`.)
///
/// `grad_norm/total` is that of all together, `grad_norm/conv1` that of a layer, `grad_norm/conv1.weight` that of a parameter.
///
/// ```
/// use zae_core::add_ons::GradNorms;
/// let norms = GradNorms::new().per_layer().every(100);
/// ```
#[derive(Clone, Debug)]
pub struct GradNorms {
    norms: Norms,
}

impl GradNorms {
    /// The norm of all gradients together, every 50 steps.
    #[must_use]
    pub fn new() -> Self {
        Self { norms: Norms::new("grad_norm") }
    }

    settings!();
}

impl Default for GradNorms {
    fn default() -> Self {
        Self::new()
    }
}

impl AddOn for GradNorms {
    fn name(&self) -> &'static str {
        "grad-norms"
    }

    fn on_run_start(&mut self, _: &mut Context<'_>) -> Fallible {
        check_every(self.norms.every)
    }

    fn on_gradients(&mut self, cx: &mut Context<'_>) -> Fallible {
        let norms = &mut self.norms;
        // The step that is being made is not counted yet.
        if !norms.is_due(cx.progress.step() + 1) {
            return Ok(());
        }
        norms.clear();
        let mut i = 0;
        cx.engine.gradients(&mut |info, values| {
            norms.add(i, info.name, values);
            i += 1;
            Ok(())
        })?;
        norms.log(cx)
    }
}

/// Logs the L2 norm of the weights after a step: of all that the optimizer moves, not of frozen parameters and running
/// statistics.
///
/// `weight_norm/total` is that of all together, `weight_norm/conv1` that of a layer, `weight_norm/conv1.weight` that of a parameter.
///
/// ```
/// use zae_core::add_ons::WeightNorms;
/// let norms = WeightNorms::new().per_parameter().every(100);
/// ```
#[derive(Clone, Debug)]
pub struct WeightNorms {
    norms: Norms,
}

impl WeightNorms {
    /// The norm of all weights together, every 50 steps.
    #[must_use]
    pub fn new() -> Self {
        Self { norms: Norms::new("weight_norm") }
    }

    settings!();
}

impl Default for WeightNorms {
    fn default() -> Self {
        Self::new()
    }
}

impl AddOn for WeightNorms {
    fn name(&self) -> &'static str {
        "weight-norms"
    }

    fn on_run_start(&mut self, _: &mut Context<'_>) -> Fallible {
        check_every(self.norms.every)
    }

    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        let norms = &mut self.norms;
        if !norms.is_due(cx.progress.step()) {
            return Ok(());
        }
        norms.clear();
        let mut i = 0;
        cx.engine.parameters(&mut |info: &ParamInfo<'_>, values| {
            if info.trainable {
                norms.add(i, info.name, values);
                i += 1;
            }
            Ok(())
        })?;
        norms.log(cx)
    }
}
