//! A run that was cut anywhere and gone on with is the run that was never cut.

use std::{cell::Cell, rc::Rc, sync::Arc};

use super::ensure;
use crate::{
    add_on::Moment,
    add_ons::{EarlyStopping, Ema},
    error::Fallible,
    learner::Clip,
    schedule::{Cosine, ReduceOnPlateau, Schedule},
    snapshot::Snapshot,
    state::State,
    testing::{
        Architecture, Fixture, FixtureTask, Recorder,
        run::{batches, same_run, same_state},
    },
    trainer::{Outcome, Run, Trainer},
};

const EPOCHS: u64 = 3;

/// Everything that has state, in one run: accumulation with a short last window, clipping, warm-up and cosine under a
/// plateau that reduces at each validation, early stopping that stops at the last one, an average of weights that is validated.
struct Setup<F: Fixture> {
    fixture: F,
    architecture: Architecture,
    train: Vec<F::Batch>,
    valid: Vec<F::Batch>,
}

/// Where a trainer got to.
struct Ended {
    run: Run,
    snapshot: Arc<Snapshot>,
}

impl<F: Fixture> Setup<F> {
    fn new(fixture: &F, architecture: Architecture, train: usize) -> Self {
        let train = batches(fixture, architecture, train, 1);
        Self { fixture: fixture.clone(), architecture, train, valid: batches(fixture, architecture, 3, 2) }
    }

    fn trainer(&self, task: FixtureTask<F>, recorder: &Recorder) -> Trainer<FixtureTask<F>> {
        let schedule = ReduceOnPlateau::new(Cosine::new(0.02).warmup(3)).factor(0.5).patience(0).threshold(0.9);
        Trainer::new(task, self.fixture.learner(self.architecture))
            .seed(11)
            .handle_signals(false)
            .scheduler(schedule)
            .accumulate(2)
            .gradient_clip(Clip::Norm(0.5))
            .log_every(3)
            .add_on((recorder.clone(), EarlyStopping::new("valid/loss").patience(2).min_delta(100.0)))
            .add_on(Ema::new(0.9).from_step(2))
    }

    fn end(&self, trainer: &mut Trainer<FixtureTask<F>>) -> Fallible<Ended> {
        let run = trainer.run(EPOCHS, &self.train, &self.valid)?;
        Ok(Ended { run, snapshot: trainer.snapshot()? })
    }

    fn whole(&self, recorder: &Recorder) -> Fallible<Ended> {
        self.end(&mut self.trainer(FixtureTask::new(&self.fixture), recorder))
    }

    /// Goes on from a snapshot that has been through its serialised form, with everything built anew.
    fn resumed(&self, from: &Snapshot, recorder: &Recorder) -> Fallible<Ended> {
        let run = State::encode(&from.run)?.decode()?;
        let mut trainer = self.trainer(FixtureTask::new(&self.fixture), recorder);
        trainer.restore(&Snapshot::new(run, from.learner.clone()))?;
        self.end(&mut trainer)
    }

    /// Goes on from `from` and compares everything with the run that was never cut.
    fn compare(&self, from: &Snapshot, whole: &Ended, rows: &Recorder, at: &str) -> Fallible {
        let recorder = Recorder::new();
        let ended = self.resumed(from, &recorder)?;
        let step = from.run.progress.step();
        let compare = || -> Fallible {
            same_run(&whole.snapshot.run, &ended.snapshot.run)?;
            same_state(&whole.snapshot.learner, &ended.snapshot.learner)?;
            let (a, b) = (&whole.run, &ended.run);
            ensure!(a.history.without_clock() == b.history.without_clock(), "the histories differ");
            let (all, tail) = (&rows.get().rows, &recorder.get().rows);
            let expected: Vec<_> = all.iter().filter(|row| row.0 >= step).collect();
            ensure!(
                expected == tail.iter().collect::<Vec<_>>(),
                "rows after the cut differ: {expected:?} and {tail:?}"
            );
            let already = from.run.stopped.is_some();
            ensure!(already || a.outcome == b.outcome, "the outcomes are {:?} and {:?}", a.outcome, b.outcome);
            Ok(())
        };
        compare().map_err(|e| format!("cut {at} after step {step}: {e}").into())
    }
}

fn check<F: Fixture>(setup: &Setup<F>, every: usize) -> Fallible {
    let rows = Recorder::new();
    let whole = setup.whole(&rows)?;
    ensure!(matches!(whole.run.outcome, Outcome::Stopped(_)), "early stopping did not stop: {:?}", whole.run.outcome);
    let observed = Recorder::new().with_snapshots();
    let seen = setup.whole(&observed)?;
    same_run(&whole.snapshot.run, &seen.snapshot.run).map_err(|e| format!("taking snapshots changed the run: {e}"))?;
    same_state(&whole.snapshot.learner, &seen.snapshot.learner)?;
    let snapshots = std::mem::take(&mut observed.get().snapshots);
    let steps = snapshots.iter().filter(|(moment, _)| *moment == Moment::Step).count() as u64;
    ensure!(steps == whole.snapshot.run.progress.step(), "{steps} snapshots were taken after steps");
    let others = snapshots.iter().filter(|(moment, _)| matches!(moment, Moment::Evaluation | Moment::Epoch)).count();
    ensure!(others as u64 == 2 * EPOCHS, "{others} snapshots were taken after validations and epochs");
    for (moment, snapshot) in snapshots.iter().step_by(every) {
        setup.compare(snapshot, &whole, &rows, &format!("at {moment:?}"))?;
    }
    Ok(())
}

pub(super) fn everywhere<F: Fixture>(fixture: &F) -> Fallible {
    check(&Setup::new(fixture, Architecture::Full, 7), 1)
}

pub(super) fn large<F: Fixture>(fixture: &F) -> Fallible {
    check(&Setup::new(fixture, Architecture::Large, 4), 4)
}

/// The process dies in a validation: it goes on from the last snapshot before, which owes that validation.
pub(super) fn in_validation<F: Fixture>(fixture: &F) -> Fallible {
    let setup = Setup::new(fixture, Architecture::Full, 5);
    let rows = Recorder::new();
    let whole = setup.whole(&rows)?;
    for dies_at in 0..EPOCHS as usize * setup.valid.len() {
        let seen = Rc::new(Cell::new(0));
        let task = FixtureTask::new(fixture).before(move |at| {
            if at.mode == crate::task::Mode::Evaluate {
                ensure!(seen.replace(seen.get() + 1) < dies_at, "on purpose");
            }
            Ok(())
        });
        let recorder = Recorder::new().with_snapshots();
        let error = setup.end(&mut setup.trainer(task, &recorder)).err().ok_or("the error got lost")?;
        ensure!(error.to_string().contains("on purpose"), "another error: {error}");
        let last = recorder.get().snapshots.last().cloned().ok_or("no snapshot was taken")?.1;
        ensure!(last.run.due.evaluation, "the last snapshot before a validation does not owe it");
        setup.compare(&last, &whole, &rows, "in a validation")?;
    }
    Ok(())
}
