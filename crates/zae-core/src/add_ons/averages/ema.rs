//! [`Ema`]: an exponential moving average of the weights.

use super::{Average, Begin, Count, Each};
use crate::{
    add_on::{AddOn, Context},
    error::Fallible,
    state::State,
};

/// Keeps an exponential moving average of the weights (Polyak averaging), which stands for the model wherever it is not trained.
///
/// After each step, average = d x average + (1 - d) x weights; the first average is the weights after the first step. Running
/// statistics are averaged like parameters, as Lightning's `WeightAveraging` and timm's `ModelEmaV3` do. Training itself does not
/// change by a bit.
///
/// The decay d warms up, so that the first weights, which are hardly trained, do not stay in the average for long: with n
/// weights in the average, d = min(decay, (1 + n) / (10 + n)), as `tf.train.ExponentialMovingAverage` with `num_updates` and the
/// `EMAModel` of diffusers have it. [`Ema::warmup_power`] and [`Ema::constant`] are other ways.
///
/// Validation, `evaluate` and `inference` take the average, and so `keep_best` looks for the best average; `model()`, `weights()` and
/// `save_weights` hand it out. [`Trainer::use_average`](crate::trainer::Trainer::use_average) switches to the weights as they
/// are trained. Checkpoints hold both; a resumed run goes on with the same bits. A run that goes on from a checkpoint without
/// an average begins one there.
///
/// ```
/// use zae_core::add_ons::Ema;
/// let ema = Ema::new(0.999);
/// let slow = Ema::new(0.9999).named("slow").from_epoch(5).every(10).evaluate(false);
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct Ema {
    decay: Decay,
    average: Average,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Decay {
    last: f64,
    warmup: Warmup,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Warmup {
    None,
    Ratio,
    Power(f64),
}

impl Decay {
    /// Of an average of `n` weights.
    fn at(self, n: u64) -> f64 {
        let n = n as f64;
        match self.warmup {
            Warmup::None => self.last,
            Warmup::Ratio => self.last.min((1.0 + n) / (10.0 + n)),
            Warmup::Power(power) => self.last.min(1.0 - (1.0 + n).powf(-power)),
        }
    }
}

impl Ema {
    /// An average in which weights lose the factor `decay` with each update: 0.999 remembers about a thousand, 0.9999 ten
    /// thousand.
    #[must_use]
    pub fn new(decay: f64) -> Self {
        let decay = Decay { last: decay, warmup: Warmup::Ratio };
        Self { decay, average: Average::new("ema", Begin::Step(0), Each::Steps(1)) }
    }

    /// No warm-up: the decay is the same from the first update on, as with `get_ema_multi_avg_fn` of `torch.optim.swa_utils`.
    #[must_use]
    pub fn constant(mut self) -> Self {
        self.decay.warmup = Warmup::None;
        self
    }

    /// Warms the decay up as min(decay, 1 - (1 + n)^-power), with n weights in the average: 2/3 reaches 0.999 after 31 thousand
    /// updates and suits runs of a million, 3/4 reaches it after 10 thousand (`use_ema_warmup` of diffusers and timm).
    #[must_use]
    pub fn warmup_power(mut self, power: f64) -> Self {
        self.decay.warmup = Warmup::Power(power);
        self
    }

    /// Updates the average after each n-th step only. The decay is that of one update.
    #[must_use]
    pub fn every(mut self, steps: u64) -> Self {
        self.average.each = Each::Steps(steps);
        self
    }

    /// The first weights in the average are those after this many steps. In place of [`Ema::from_epoch`].
    #[must_use]
    pub fn from_step(mut self, step: u64) -> Self {
        self.average.from = Begin::Step(step);
        self
    }

    /// The first weights in the average are those after the first step of this epoch, counted from 0.
    #[must_use]
    pub fn from_epoch(mut self, epoch: u64) -> Self {
        self.average.from = Begin::Epoch(epoch);
        self
    }

    /// Whether the average stands for the model where it is not trained (yes by default). One that does not is only kept, beside
    /// another for example: it is in checkpoints, from where it is loaded by its name.
    #[must_use]
    pub fn evaluate(mut self, yes: bool) -> Self {
        self.average.evaluate = yes;
        self
    }

    /// The name of the add-on and of the average in checkpoints: `ema` by default. Two of them need two names.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.average.name = name.into();
        self
    }

    /// How many weights are in the average.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.average.count.updates
    }
}

impl AddOn for Ema {
    fn name(&self) -> &str {
        &self.average.name
    }

    fn average(&self) -> Option<&str> {
        self.average.shown()
    }

    fn on_run_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        let Decay { last, warmup } = self.decay;
        if !(0.0..1.0).contains(&last) {
            return Err(format!("`Ema::new({last})`: the decay is 0 or more and less than 1, such as 0.999").into());
        }
        if let Warmup::Power(power) = warmup
            && !(power > 0.0 && power.is_finite())
        {
            return Err(format!("`.warmup_power({power})`: give a number above 0, such as 2.0 / 3.0").into());
        }
        self.average.start(cx)
    }

    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.average.update(cx, |n| self.decay.at(n))
    }

    fn state(&self) -> Fallible<Option<State>> {
        Ok(Some(State::encode(&self.average.count)?))
    }

    fn restore(&mut self, state: &State) -> Fallible {
        self.average.count = state.decode::<Count>()?;
        Ok(())
    }
}
