//! What a logger does when.

use std::sync::Arc;

use zae_core::{
    add_on::{AddOn, Context, Durable, Phase},
    error::{Error, Fallible},
    metrics::{EpochSummary, Evaluation, Metrics, Rows},
    state::State,
    trainer::{Outcome, Run},
};

use super::Logger;
use crate::{Kind, Sink, Status, entry::Head, worker::Worker};

impl<S: Sink> AddOn for Logger<S> {
    fn name(&self) -> &str {
        self.sink.name()
    }

    fn phase(&self) -> Phase {
        Phase::Report
    }

    fn claim(&mut self, _: Option<&std::path::Path>) -> Fallible {
        if let Some(misuse) = self.config.misuse() {
            return Err(misuse.into());
        }
        self.sink.check()
    }

    fn on_run_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.off = false;
        self.open(cx);
        self.tell(cx);
        Ok(())
    }

    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        // The step is counted already.
        self.collect(cx.progress.epoch(), cx.progress.step().saturating_sub(1), cx);
        self.tell(cx);
        Ok(())
    }

    fn on_rows(&mut self, rows: &Rows<'_>, cx: &mut Context<'_>) -> Fallible {
        self.open(cx);
        if self.shown.is_empty() {
            self.push_rows(*rows, cx.progress);
        } else {
            self.push_and_show(*rows, cx.progress);
        }
        Ok(())
    }

    fn on_evaluation_end(&mut self, evaluation: &Evaluation, cx: &mut Context<'_>) -> Fallible {
        let outside = self.worker.is_none();
        self.open(cx);
        self.show_rest(evaluation.epoch, evaluation.step, cx);
        let head = Head {
            kind: Kind::Evaluation,
            epoch: evaluation.epoch,
            step: evaluation.step,
            seconds: cx.progress.elapsed().as_secs_f64(),
            ..Head::default()
        };
        let metrics = evaluation.metrics.iter().map(|(name, value)| (Arc::from(name.as_str()), *value)).collect();
        self.push_metrics(head, metrics, cx.progress);
        if outside {
            self.close(self.status.clone());
        }
        self.tell(cx);
        Ok(())
    }

    fn on_epoch_end(&mut self, epoch: &EpochSummary, cx: &mut Context<'_>) -> Fallible {
        self.show_rest(epoch.epoch, epoch.step, cx);
        let head =
            Head { kind: Kind::Epoch, epoch: epoch.epoch, step: epoch.step, seconds: epoch.seconds, ..Head::default() };
        self.push_metrics(head, of_training(&epoch.metrics), cx.progress);
        self.tell(cx);
        Ok(())
    }

    fn on_run_end(&mut self, run: &Run, cx: &mut Context<'_>) -> Fallible {
        self.show_rest(cx.progress.epoch(), cx.progress.step(), cx);
        let status = match &run.outcome {
            Outcome::Interrupted { signal } => Status::Interrupted(signal),
            _ => Status::Finished,
        };
        self.end(status, cx);
        Ok(())
    }

    fn on_error(&mut self, error: &Error, cx: &mut Context<'_>) -> Fallible {
        // No run is opened to tell of its end.
        if self.worker.is_some() {
            self.show_rest(cx.progress.epoch(), cx.progress.step(), cx);
        }
        self.end(Status::Failed(error.to_string()), cx);
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.wait();
        self.tell(cx);
        Ok(())
    }

    fn state(&self) -> Fallible<Option<State>> {
        Ok(Some(State::encode(&self.saved)?))
    }

    fn restore(&mut self, state: &State) -> Fallible {
        self.saved = state.decode()?;
        Ok(())
    }

    fn durable(&self) -> Option<Durable> {
        self.worker.as_ref().map(Worker::durable)
    }
}

/// An epoch's own metrics, by the names that other trainers give them. Those of its validation were logged as such.
fn of_training(metrics: &Metrics) -> Vec<(Arc<str>, f64)> {
    let own = metrics.iter().filter(|(name, _)| name.starts_with("train/"));
    own.map(|(name, value)| (format!("{name}_epoch").into(), *value)).collect()
}
