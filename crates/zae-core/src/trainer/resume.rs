//! Taking snapshots, and starting from one.

use std::sync::Arc;

use super::{
    Trainer,
    config::OPTIMIZER,
    hooks::ask,
    ranks::{Place, Word},
};
use crate::{
    engine::Engine,
    error::{Error, Fallible, Stage},
    learner::{self, Layout, Learner, StateDict, TensorLayout},
    snapshot::Snapshot,
    task::Task,
};

impl<T: Task> Trainer<T> {
    /// The whole run as it stands. A new trainer that restores it and runs to the same end, with the same data and schedule,
    /// ends with the same bits. (A schedule takes its length from the run: a run that is cut by a lower `until` has another
    /// cosine. Cut it with an add-on, or give the schedule its length with `.over(n)`.)
    ///
    /// After a step that failed, it is the run before that step, but for what `train_step` has changed by itself: running
    /// statistics, the task's own state.
    ///
    /// # Errors
    /// When something pending turns out not to be finite, or the engine, the task or an add-on cannot give its state.
    pub fn snapshot(&mut self) -> Result<Arc<Snapshot>, Error> {
        self.ready()?;
        self.guard(Self::take_snapshot)
    }

    /// Becomes the run that a snapshot holds. The next [`Trainer::run`] goes on from there.
    ///
    /// # Errors
    /// When the snapshot does not fit the model, the optimizer or the settings; the message says what differs. Nothing
    /// has changed if the settings or the learner do not fit; if an add-on or the task refuses its state, build a new
    /// trainer.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        self.ready()?;
        self.ranks.replicated = false;
        self.guard(|t| t.at(Stage::Snapshot, |t| t.become_run(snapshot)))?;
        self.resumed = true;
        Ok(())
    }

    pub(super) fn take_snapshot(&mut self) -> Result<Arc<Snapshot>, Error> {
        self.flush()?;
        self.show_average(false)?;
        self.at(Stage::Snapshot, |t| {
            if t.spoiled {
                return Err(
                    "the weights were moved along a loss that was not finite: go on from an earlier snapshot".into()
                );
            }
            let mut run = t.state.clone();
            run.progress = t.state.progress.saved();
            run.config.entry("engine".to_owned()).or_insert_with(|| t.learner.name().to_owned());
            run.schedule = t.schedule.as_ref().map_or(Ok(None), |schedule| schedule.state())?;
            run.task = t.task.state()?;
            run.average = t.average()?;
            for add_on in t.add_ons.iter() {
                if let Some(state) = ask(add_on.name(), || add_on.state())? {
                    run.add_ons.insert(add_on.name().to_owned(), state);
                }
            }
            let mut durable = Vec::new();
            for add_on in t.add_ons.iter() {
                durable.extend(ask(add_on.name(), || Ok(add_on.durable()))?);
            }
            Ok(Arc::new(Snapshot { run, learner: t.learner.snapshot()?, durable, origin: None }))
        })
    }

    /// Goes back to the newest snapshot that an add-on has kept of this run, if there is one and it was not done yet, as
    /// [`Trainer::run`] and [`Trainer::run_epoch`] do by themselves. For programs that look at the progress first:
    ///
    /// ```
    /// # use zae_core::{data::Loader, error::Error, task::Task, trainer::Trainer};
    /// # fn train<T: Task>(trainer: &mut Trainer<T>, data: Vec<T::Batch>) -> Result<(), Error> where T::Batch: Clone {
    /// trainer.resume()?;
    /// while trainer.progress().epoch() < 10 {
    ///     trainer.run_epoch(&data)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As those of [`Trainer::run`] about a snapshot that is damaged, or of another run.
    pub fn resume(&mut self) -> Result<(), Error> {
        self.open()?;
        self.signals = None;
        self.guard(Self::resume_from_add_ons).map_err(|error| self.tell_ranks(error))
    }

    /// Asks the add-ons for the newest snapshot, until that has worked: a program that tries again must not start over.
    pub(super) fn resume_from_add_ons(&mut self) -> Result<(), Error> {
        let dir = self.settings.run_dir.clone();
        for add_on in self.add_ons.iter_mut() {
            let name = add_on.name().to_owned();
            ask(&name, || add_on.claim(dir.as_deref())).map_err(|e| Error::Misuse(e.to_string()))?;
        }
        if self.resumed || self.settings.fresh {
            return Ok(());
        }
        let newest = self.at(Stage::Snapshot, |t| {
            let mut newest: Option<Arc<Snapshot>> = None;
            for add_on in t.add_ons.iter_mut() {
                let name = add_on.name().to_owned();
                if let Some(found) = ask(&name, || add_on.latest(dir.as_deref()))?
                    && newest.as_ref().is_none_or(|n| n.run.progress.step < found.run.progress.step)
                {
                    newest = Some(found);
                }
            }
            Ok(newest)
        })?;
        if let Some(snapshot) = self.of_rank_0(newest)? {
            self.at(Stage::Snapshot, |t| t.become_run(&snapshot))?;
            // If one rank has refused it, all try again.
            self.agree(Place::Resume, Word::default())?;
            self.ranks.replicated = true;
        }
        self.resumed = true;
        Ok(())
    }

    fn become_run(&mut self, snapshot: &Snapshot) -> Fallible {
        (self.site.cursor, self.site.step) = (snapshot.run.progress.cursor(), snapshot.run.progress.step());
        let whole = self.take_over(snapshot);
        whole.map_err(|error| match &snapshot.origin {
            Some(origin) => format!("`{origin}`: {error}").into(),
            None => error,
        })
    }

    fn take_over(&mut self, snapshot: &Snapshot) -> Fallible {
        let run = &snapshot.run;
        if run.window == 0 || (run.due.epoch_end && run.progress.cursor.epoch == 0) {
            return Err("this is not the state of a run: build snapshots with `Trainer::snapshot`".into());
        }
        check("seed", self.settings.seed, run.seed)?;
        check("micro_batches", self.settings.micro_batches.as_ref().map(|all| all.at(0)), run.window)?;
        let accumulated = run.window / run.world_size.max(1);
        check("accumulate", self.settings.accumulate.as_ref().map(|own| own.at(0)), accumulated)?;
        self.check_window(run.window)?;
        self.check_layout(&snapshot.learner.layout)?;
        self.check_optimizer(&snapshot.learner.layout)?;
        self.load(&snapshot.learner)?;
        if let (Some(schedule), Some(state)) = (&mut self.schedule, &run.schedule) {
            schedule.restore(state)?;
        }
        if let Some(state) = &run.task {
            self.task.restore(state)?;
        }
        for add_on in self.add_ons.iter_mut() {
            if let Some(state) = run.add_ons.get(add_on.name()) {
                let name = add_on.name().to_owned();
                ask(&name, || add_on.restore(state))?;
            }
        }
        self.restored = true;
        self.spoiled = false;
        self.pending.discard();
        self.pending.clear_ready();
        self.pending.forget_slots();
        // States of add-ons that are not installed now stay in it, and so go into the next snapshot.
        self.state = run.clone();
        tracing::info!(step = run.progress.step, epoch = run.progress.cursor.epoch, "the run was restored");
        Ok(())
    }

    /// A square matrix of another engine, which has it the other way round, would fit.
    pub(super) fn check_layout(&mut self, saved: &Layout) -> Fallible {
        let own = self.learner.layout()?;
        let own = own.by_name();
        let is_turned =
            |saved: &&TensorLayout| own.get(saved.name.as_str()).is_some_and(|own| own.transposed != saved.transposed);
        match saved.tensors.iter().find(is_turned) {
            Some(turned) => Err(format!(
                "`{}` is the other way round there: another engine has saved it. A run goes on with the engine that it began \
                 with; its weights alone are taken over by `trainer.load_weights(..)`",
                turned.name
            )
            .into()),
            None => Ok(()),
        }
    }

    /// Loads the learner's state; without that of the optimizer if it is another one, and that was accepted.
    fn load(&mut self, saved: &StateDict) -> Fallible {
        let Err(refused) = self.learner.load(saved) else { return Ok(()) };
        if self.accepts(OPTIMIZER) {
            let mut rest = saved.clone();
            rest.tensors.retain(|name, _| !name.starts_with(learner::OPTIMIZER));
            rest.numbers.retain(|name, _| !name.starts_with(learner::OPTIMIZER));
            if self.learner.load(&rest).is_ok() {
                tracing::warn!(reason = %refused, "the optimizer starts afresh: it is not the saved one");
                return Ok(());
            }
        }
        Err(format!(
            "{refused}. Go on with the model and the optimizer of the saved run, with a new optimizer by \
             `.accept_change(\"{OPTIMIZER}\")`, or start over with `.fresh()`"
        )
        .into())
    }
}

fn check(name: &str, set: Option<u64>, saved: u64) -> Fallible {
    match set {
        Some(set) if set != saved => Err(format!(
            "the saved run has `.{name}({saved})`, this one `.{name}({set})`: use the same to go on; a new run, without the \
             snapshot (or `.fresh()`), starts over"
        )
        .into()),
        _ => Ok(()),
    }
}
