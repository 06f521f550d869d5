//! [`Trainer::trial`]: steps for what they show, of which nothing stays.

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Every, NonFinite, Trainer, Until,
    ranks::{Place, Word, gather},
};
use crate::{
    add_on::AddOn,
    data::Loader,
    error::{Error, Stage},
    learner::Learner,
    outcome::Outcome,
    schedule::Schedule,
    snapshot::RunState,
    task::Task,
};

impl<T: Task> Trainer<T> {
    /// Trains so many steps from here with another schedule, and then is what it was before. Of the add-ons, only `watch` is told:
    /// nothing is logged or saved. Losses may be what they like.
    ///
    /// What the task itself has and does not give as its state stays changed.
    pub(crate) fn trial<D: Loader<T::Batch>>(
        &mut self,
        steps: u64,
        schedule: impl Schedule + 'static,
        watch: impl AddOn,
        train: D,
    ) -> Result<(), Error> {
        // With all add-ons: one of them may connect the ranks.
        self.open()?;
        self.signals = None;
        let saved = self.guard(|t| t.at(Stage::Snapshot, |t| Ok((t.learner.snapshot()?, t.task.state()?))));
        let (learner, task) = self.told(saved)?;
        let RunState { window, world_size, seed, .. } = self.state;
        let fresh = RunState { window, world_size, seed, ..RunState::default() };
        let state = std::mem::replace(&mut self.state, fresh);
        self.pending.forget_slots();
        let settings = self.settings.clone();
        self.settings.run_dir = None;
        self.settings.fresh = true;
        self.settings.validate = Every::Never;
        self.settings.non_finite = NonFinite::Ignore;
        let add_ons = std::mem::take(&mut self.add_ons);
        self.add_ons.install(watch);
        let schedule = self.schedule.replace(Box::new(schedule));
        let flags = (self.resumed, std::mem::take(&mut self.restored), self.spoiled);
        let outcome = self.run(Until::steps(steps), train, ());
        (self.resumed, self.restored, self.spoiled) = flags;
        (self.schedule, self.add_ons, self.settings, self.state) = (schedule, add_ons, settings, state);
        self.pending.discard();
        self.pending.clear_ready();
        self.pending.forget_slots();
        self.ranks.replicated = false;
        let back = self.guard(|t| {
            t.at(Stage::Snapshot, |t| {
                t.learner.load(&learner)?;
                task.map_or(Ok(()), |state| t.task.restore(&state))
            })
        });
        // A learner that cannot be what it was is worse than a trial that has failed.
        self.told(back)?;
        match outcome?.outcome {
            Outcome::Interrupted { signal } => Err(Error::Interrupted { signal }),
            _ => Ok(()),
        }
    }

    /// What each process has seen, by rank, so that all come to the same conclusion.
    pub(crate) fn of_all<V: Serialize + DeserializeOwned>(&mut self, own: V) -> Result<Vec<V>, Error> {
        let Some(group) = self.ranks.group().cloned() else { return Ok(vec![own]) };
        self.agree(Place::Settings, Word::default())?;
        self.together(|_| gather(&*group, &own))
    }

    /// The other ranks are told of an error.
    fn told<R>(&mut self, result: Result<R, Error>) -> Result<R, Error> {
        result.map_err(|error| self.tell_ranks(error))
    }
}
