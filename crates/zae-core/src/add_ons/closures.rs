//! [`Closure`]: a closure as an add-on.

use std::panic::Location;

use crate::{
    add_on::{AddOn, Context, Phase},
    error::{Error, Fallible},
    metrics::{EpochSummary, Evaluation, Rows},
    trainer::Run,
};

/// A closure that is called in one hook: [`on_epoch_end`], [`on_step_end`] and their like make it.
///
/// Its name is that of the hook and the place in the program, `on_epoch_end at src/main.rs:12:17`, and its phase
/// [`Phase::Observe`]. Of several processes, each calls its own; what only one of them should do (print, write files) has the
/// phase [`Phase::Report`]. What it remembers does not survive a resume: for that, write an [`AddOn`] with a state.
///
/// ```
/// # use zae_core::{task::Task, trainer::Trainer};
/// use zae_core::{add_on::Phase, add_ons::{on_epoch_end, on_step_end}};
/// # fn with<T: Task>(trainer: Trainer<T>) -> Trainer<T> {
/// trainer
///     .add_on(on_step_end(|cx| {
///         if cx.progress.samples() >= 1e6 {
///             cx.requests.stop("a million samples are enough");
///         }
///         Ok(())
///     }))
///     .add_on(on_epoch_end(|epoch, _| Ok(println!("{:?}", epoch.metrics))).phase(Phase::Report).named("print"))
/// # }
/// ```
pub struct Closure {
    name: String,
    phase: Phase,
    hook: Hook,
}

impl Closure {
    fn new(hook: Hook, place: &Location<'_>) -> Self {
        Self { name: format!("{} at {place}", hook.name()), phase: Phase::Observe, hook }
    }

    /// Gives it a name of its own: no other add-on of the run may have it.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// When, among all add-ons, it is called.
    #[must_use]
    pub fn phase(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }
}

macro_rules! hooks {
    ($($variant:ident $hook:ident ($($about:ident: $type:ty),*) $doc:literal)*) => {
        enum Hook {
            $($variant(Box<dyn FnMut($($type,)* &mut Context<'_>) -> Fallible + Send>),)*
        }

        impl Hook {
            fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($hook),)*
                }
            }
        }

        $(
            #[doc = $doc]
            #[doc = ""]
            #[doc = concat!("See [`AddOn::", stringify!($hook), "`] and [`Closure`].")]
            #[track_caller]
            pub fn $hook(closure: impl FnMut($($type,)* &mut Context<'_>) -> Fallible + Send + 'static) -> Closure {
                Closure::new(Hook::$variant(Box::new(closure)), Location::caller())
            }
        )*

        impl AddOn for Closure {
            fn name(&self) -> &str {
                &self.name
            }
            fn phase(&self) -> Phase {
                self.phase
            }
            $(
                fn $hook(&mut self, $($about: $type,)* cx: &mut Context<'_>) -> Fallible {
                    if let Hook::$variant(closure) = &mut self.hook { closure($($about,)* cx) } else { Ok(()) }
                }
            )*
        }
    };
}

hooks! {
    RunStart on_run_start () "Calls a closure when a run begins, or goes on."
    EpochStart on_epoch_start () "Calls a closure when an epoch begins, or goes on."
    Gradients on_gradients () "Calls a closure with the gradients of each step, before they are used."
    StepEnd on_step_end () "Calls a closure after each optimizer step."
    Rows on_rows (rows: &Rows<'_>) "Calls a closure with losses and metrics of one or more steps."
    Evaluation on_evaluation_end (evaluation: &Evaluation) "Calls a closure after each evaluation."
    Epoch on_epoch_end (epoch: &EpochSummary) "Calls a closure after each epoch and its validation."
    RunEnd on_run_end (run: &Run) "Calls a closure when a run has ended without an error."
    Error on_error (error: &Error) "Calls a closure when a run has failed. Its own errors are only logged."
}
