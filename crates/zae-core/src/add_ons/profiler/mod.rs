//! [`Profiler`]: a trace of some steps, for Perfetto.

mod chrome;
mod tape;

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use super::meters::Clock;
use crate::{
    add_on::{AddOn, Context, Notice, Phase},
    error::{Error, Fallible, Panicked},
    trainer::Run,
    watch::Watch,
};
use tape::{Recorded, Tape};

/// A trace takes no more memory than so many spans, some 64 bytes each.
const MOST_SPANS: usize = 500_000;

/// Records what the training thread does in a window of steps, and writes it as a trace in Chrome's format: open it in
/// <https://ui.perfetto.dev> or `chrome://tracing`.
///
/// Nothing is sampled: there is a span for each thing that the thread does (drawing a batch, placing it, the forward and the
/// backward pass, the update, reading losses, each hook of each add-on, evaluations, snapshots), and one around those of a step.
/// They are the time of the host; on an asynchronous device (a GPU) the host only asks for the passes, and waits where losses are
/// read. A window of 50 steps ([`Trainer::log_every`](crate::trainer::Trainer::log_every)) or more shows that.
///
/// The file is `trace-100-110.json` in the run folder, for the steps from 100 up to 110. It is there, whole, soon after step 110, at the
/// latest when the run ends, well or not; a resumed run that has these steps behind it leaves it alone. Rank 0 writes it, of what it
/// does itself. Of more than 500,000 spans the rest is left out, and people are told.
///
/// ```
/// use zae_core::add_ons::Profiler;
/// let profiler = Profiler::steps(100..110);
/// let elsewhere = Profiler::steps(0..50).to("trace.json");
/// ```
pub struct Profiler {
    steps: Range<u64>,
    path: Option<PathBuf>,
    tape: Arc<Tape>,
    /// Where the trace goes.
    file: Option<PathBuf>,
    writing: Option<JoinHandle<Fallible>>,
}

impl Profiler {
    /// Records these steps, counted from 0: `100..110` are ten, the first one after 100 steps.
    #[must_use]
    pub fn steps(steps: Range<u64>) -> Self {
        let tape = Arc::new(Tape::new(steps.clone(), MOST_SPANS, Clock::default()));
        Self { steps, path: None, tape, file: None, writing: None }
    }

    /// Writes to this file.
    #[must_use]
    pub fn to(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Reads the time from this clock. For tests.
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.tape = Arc::new(Tape::new(self.steps.clone(), MOST_SPANS, Clock::new(now)));
        self
    }

    fn place(&self, run_dir: Option<&Path>) -> Fallible<PathBuf> {
        let Range { start, end } = self.steps;
        match (&self.path, run_dir) {
            (Some(path), _) => Ok(path.clone()),
            (None, Some(dir)) => Ok(dir.join(format!("trace-{start}-{end}.json"))),
            (None, None) => Err("it has no folder to write to: give the trainer a `.run_dir(..)`, or say \
                                 `Profiler::steps(..).to(path)`"
                .into()),
        }
    }

    /// Writes what was recorded, on a thread of its own.
    fn write(&mut self, recorded: Recorded, cx: &mut Context<'_>) {
        if recorded.left_out > 0 {
            cx.requests.notice(Notice::Warning(format!(
                "the trace holds {MOST_SPANS} spans, and {} more are left out: profile fewer steps",
                recorded.left_out
            )));
        }
        let Some(path) = self.file.clone() else { return };
        let rank = cx.rank;
        let thread = std::thread::Builder::new().name("zae-trace".to_owned());
        match thread.spawn(move || chrome::write(&path, &recorded, rank)) {
            Ok(thread) => self.writing = Some(thread),
            Err(error) => self.warn(&error.to_string(), cx),
        }
    }

    /// No trace is worth a training.
    fn warn(&self, error: &str, cx: &mut Context<'_>) {
        let path = self.file.as_deref().unwrap_or(Path::new("")).display();
        cx.requests.notice(Notice::Warning(format!("the trace `{path}` was not written: {error}")));
    }

    /// The run ends, perhaps within the window.
    fn end(&mut self, cx: &mut Context<'_>) {
        if let Some(recorded) = self.tape.end() {
            self.write(recorded, cx);
        }
    }
}

impl AddOn for Profiler {
    fn name(&self) -> &'static str {
        "profiler"
    }

    fn phase(&self) -> Phase {
        Phase::Report
    }

    fn watch(&mut self) -> Option<Arc<dyn Watch>> {
        if self.tape.is_over() { None } else { Some(self.tape.clone()) }
    }

    fn on_run_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        if self.steps.is_empty() {
            let Range { start, end } = self.steps;
            return Err(format!(
                "`Profiler::steps({start}..{end})` has no step: give the first one and the one after the last, for example \
                 `{start}..{}`",
                start.saturating_add(10)
            )
            .into());
        }
        self.file = Some(self.place(cx.run_dir)?);
        Ok(())
    }

    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        if let Some(recorded) = self.tape.take_if_over() {
            self.write(recorded, cx);
        }
        Ok(())
    }

    fn on_run_end(&mut self, _: &Run, cx: &mut Context<'_>) -> Fallible {
        if !self.tape.has_begun() && cx.progress.step() <= self.steps.start {
            let (step, Range { start, end }) = (cx.progress.step(), &self.steps);
            cx.requests.notice(Notice::Warning(format!(
                "there is no trace of the steps {start}..{end}: the run ended after {step}"
            )));
        }
        self.end(cx);
        Ok(())
    }

    fn on_error(&mut self, _: &Error, cx: &mut Context<'_>) -> Fallible {
        self.end(cx);
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Fallible {
        if let Some(thread) = self.writing.take() {
            let written = thread.join().unwrap_or_else(|panic| Err(Panicked::new(&*panic).into()));
            if let Err(error) = written {
                self.warn(&error.to_string(), cx);
            }
        }
        Ok(())
    }
}
