//! [`ProgressBar`]: how far a run is, on the console.

mod live;
mod painter;
mod text;

use std::{io::Write, sync::Arc};

use live::{Live, News, Pass as LivePass};
use painter::{Painter, Target};

use crate::{
    add_on::{AddOn, Context, Notice, Pass, Phase},
    error::{Error, Fallible},
    metrics::{EpochSummary, Evaluation, Rows},
    trainer::Run,
};

/// Shows on standard error how far a run is: epoch, batch, speed, losses and metrics, learning rate, time left. A second
/// line shows validations.
///
/// On a terminal it is a bar, drawn at most 10 times a second by a thread of its own, without colours, with a line above it
/// for each epoch that is done; the bar is removed at the end. Elsewhere (a file, a pipe, `TERM=dumb`) it is plain lines: one at the start, one for each epoch, in between at
/// most one every 10 s, and one at the end. Epochs are counted from 1, as people count; files and errors count from 0.
///
/// Outside of a run it shows [`Trainer::evaluate`](crate::trainer::Trainer::evaluate) and `inference` on data of known
/// length. A program that calls `run_batch` keeps the console to itself. Trouble with the console never fails a run.
///
/// ```
/// use zae_core::add_ons::ProgressBar;
/// let bar = ProgressBar::new();
/// let none = ProgressBar::new().off();
/// let log = ProgressBar::new().to(std::io::stdout());
/// ```
pub struct ProgressBar {
    enabled: bool,
    target: Target,
    live: Arc<Live>,
    /// While something is shown.
    painter: Option<Painter>,
    in_run: bool,
}

impl Default for ProgressBar {
    fn default() -> Self {
        Self::new()
    }
}

impl ProgressBar {
    /// Shows progress on standard error.
    #[must_use]
    pub fn new() -> Self {
        Self { enabled: true, target: Target::stderr(), live: Arc::default(), painter: None, in_run: false }
    }

    /// Shows nothing.
    #[must_use]
    pub fn off(self) -> Self {
        self.enabled(false)
    }

    /// Whether anything is shown.
    #[must_use]
    pub fn enabled(mut self, on: bool) -> Self {
        self.enabled = on;
        self
    }

    /// Writes plain lines to something else.
    #[must_use]
    pub fn to(mut self, out: impl Write + Send + 'static) -> Self {
        self.target = Target::lines_to(out);
        self
    }

    fn show(&mut self) {
        if self.enabled && self.painter.is_none() {
            self.painter = Painter::start(&self.target, &self.live);
        }
    }

    /// Takes the bar off the console: when this returns, the next output starts on a line of its own.
    fn hide(&mut self) {
        self.painter = None;
        self.live.change(|now| *now = live::Now::default());
    }

    fn say(&self, line: &str) {
        if self.enabled {
            self.target.line(line);
        }
    }
}

impl AddOn for ProgressBar {
    fn name(&self) -> &'static str {
        "progress-bar"
    }

    fn phase(&self) -> Phase {
        Phase::Report
    }

    fn leaves_traces(&self) -> bool {
        false
    }

    fn on_run_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.in_run = true;
        // A run that is complete already is told of at its end.
        let is_complete = cx.progress.total_steps().is_some_and(|steps| cx.progress.step() >= steps);
        if self.enabled && self.target.is_lines() && !is_complete {
            self.live.say(text::start(cx.progress));
        }
        self.show();
        Ok(())
    }

    fn on_epoch_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.live.change(|now| now.enter_epoch(cx));
        Ok(())
    }

    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.live.tell(News::Step, |now| now.step_done(cx));
        Ok(())
    }

    fn on_rows(&mut self, rows: &Rows<'_>, _: &mut Context<'_>) -> Fallible {
        self.live.tell(News::Row, |now| now.set_row(rows));
        Ok(())
    }

    fn on_pass(&mut self, pass: &Pass<'_>, cx: &mut Context<'_>) -> Fallible {
        let Pass { set, done, total } = *pass;
        if done == 0 {
            self.live.change(|now| {
                now.pass = Some(LivePass { set: set.to_owned(), done, total });
                if self.in_run {
                    now.step_done(cx);
                }
            });
            // Outside of a run nobody says when a pass of unknown length has ended.
            if total.is_some_and(|batches| batches > 0) {
                self.show();
            }
        } else if !self.in_run && total == Some(done) {
            self.hide();
        } else {
            self.live.tell(News::Pass, |now| now.pass.iter_mut().for_each(|pass| pass.done = done));
        }
        Ok(())
    }

    fn on_evaluation_end(&mut self, _: &Evaluation, cx: &mut Context<'_>) -> Fallible {
        if self.in_run {
            self.live.change(|now| {
                now.pass = None;
                // Training goes on from here: the pause does not count for its speed.
                now.step_done(cx);
            });
        } else {
            self.hide();
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, epoch: &EpochSummary, cx: &mut Context<'_>) -> Fallible {
        if self.in_run && self.enabled {
            // Written by the thread that draws: the console may be slow.
            self.live.say(text::epoch(epoch, cx.progress, cx.history));
        }
        Ok(())
    }

    fn on_notice(&mut self, notice: &Notice, _: &mut Context<'_>) -> Fallible {
        let line = match notice {
            Notice::Info(text) => text.clone(),
            Notice::Warning(text) => format!("WARNING: {text}"),
        };
        if self.painter.is_some() {
            self.live.say(line);
        } else {
            self.say(&line);
        }
        Ok(())
    }

    fn on_run_end(&mut self, run: &Run, cx: &mut Context<'_>) -> Fallible {
        self.in_run = false;
        self.hide();
        self.say(&text::end(&run.outcome, cx.progress));
        Ok(())
    }

    /// The program shows the error.
    fn on_error(&mut self, _: &Error, _: &mut Context<'_>) -> Fallible {
        self.in_run = false;
        self.hide();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
