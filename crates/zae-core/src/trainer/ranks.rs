//! [`Ranks`]: what the processes of a run tell each other, so that all of them do the same.
//!
//! Before ranks do something together they exchange a [`Word`] each. A rank that has failed says so in its next word,
//! whatever the others are about to do, and so each of them returns that error: nobody waits for a rank that is not coming. What
//! depends on a clock, a signal or a server is known to one rank first, and holds from the word on that tells of it.

use std::{sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Trainer,
    hooks::{ask, caught},
    tree::Tree,
};
use crate::{
    add_on::{AddOn, Phase},
    data::Shard,
    error::{Error, Fallible, Stage},
    learner::Learner,
    metrics::{Pending, Shared},
    process_group::{Parallel, ProcessGroup, Reduction},
    state::State,
    task::Task,
    watch::Doing,
};

/// The processes of a run; there may be just this one.
#[derive(Default)]
pub(super) struct Ranks {
    /// What an add-on has brought, once all were asked.
    parallel: Option<Parallel>,
    /// What all ranks know: the signal that ends the run, why it stops, and that its time is over.
    signal: Option<&'static str>,
    stopped: Option<String>,
    pub(super) out_of_time: bool,
    pub(super) time: Option<Duration>,
    /// All ranks know the error that this call fails with.
    told: bool,
    /// The group has failed: there is nobody to talk to.
    lost: bool,
    /// Rank 0's weights are those of all.
    pub(super) replicated: bool,
    /// The learner sums gradients while it computes them.
    pub(super) overlaps: bool,
    /// Layers of the model exchange something within a micro-batch.
    pub(super) in_step: bool,
    /// Memory for gradients on their way, if the group needs any.
    pub(super) flat: Vec<f32>,
    pub(super) tree: Tree,
}

/// What ranks are about to do together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Resume,
    Meet,
    Settings,
    Start,
    Gradients,
    StepEnd,
    Snapshot,
    Rows,
    Pass,
    Buffers,
    Weights,
    End,
}

/// What a rank says; numbers are summed over ranks.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Word {
    /// The weights of its micro-batches.
    pub(super) weight: f64,
    /// It has a loss that is not finite.
    pub(super) bad: f64,
    /// It wants what is decided here: at the end of a step a snapshot, where ranks meet the weights of rank 0.
    pub(super) wants: f64,
    /// How many batches it has drawn of what is shared here. Not summed: it has to be the same on each rank.
    pub(super) batches: u64,
}

const SIGNALS: [&str; 2] = ["SIGINT", "SIGTERM"];

/// What a rank adds to the number of those that say yes.
pub(super) fn vote(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

impl Ranks {
    pub(super) fn group(&self) -> Option<&Arc<dyn ProcessGroup>> {
        self.parallel.as_ref()?.group.as_ref()
    }

    /// Whether there is only this process.
    pub(super) fn is_one(&self) -> bool {
        self.group().is_none()
    }

    pub(super) fn rank(&self) -> usize {
        self.group().map_or(0, |group| group.rank())
    }

    pub(super) fn world_size(&self) -> usize {
        self.group().map_or(1, |group| group.world_size())
    }

    pub(super) fn reduction(&self) -> Reduction {
        self.parallel.as_ref().map_or(Reduction::Fast, |parallel| parallel.reduction)
    }

    #[inline]
    pub(super) fn check_every(&self) -> u64 {
        self.parallel.as_ref().map_or(0, |parallel| parallel.check_every)
    }

    /// This rank's part of windows of so many micro-batches.
    pub(super) fn shard(&self, window: u64) -> Shard {
        Shard::new(self.rank(), self.world_size(), window)
    }

    /// After a failure within the group: nobody is to wait for this rank.
    pub(super) fn give_up(&mut self, reason: &str) {
        let already = std::mem::replace(&mut self.lost, true);
        if let (false, Some(group)) = (already, self.group()) {
            group.abort(reason);
        }
    }
}

impl<T: Task> Trainer<T> {
    /// Before anything else, the processes that train together are connected, once.
    pub(super) fn join(&mut self) -> Result<(), Error> {
        self.ranks.told = false;
        if self.ranks.parallel.is_none() {
            self.connect()?;
        }
        if self.ranks.rank() > 0 {
            let is_rank_0s = |add_on: &dyn AddOn| matches!(add_on.phase(), Phase::Persist | Phase::Report);
            self.add_ons.lay_off(is_rank_0s);
        }
        Ok(())
    }

    fn connect(&mut self) -> Result<(), Error> {
        let mut found: Option<(String, Parallel)> = None;
        let Self { add_ons, learner, .. } = self;
        for add_on in add_ons.iter_mut() {
            let name = add_on.name().to_owned();
            let parallel = ask(&name, || add_on.parallel(learner)).map_err(|e| Error::Misuse(e.to_string()))?;
            let Some(parallel) = parallel else { continue };
            if let Some((first, _)) = &found {
                return Err(Error::Misuse(format!(
                    "`{first}` and `{name}` both connect the processes of the run: install one of them"
                )));
            }
            found = Some((name, parallel));
        }
        let Some((name, parallel)) = found else {
            self.ranks.parallel = Some(Parallel::new(None));
            return Ok(());
        };
        self.ranks.parallel = Some(parallel);
        self.add_ons.lay_off(|add_on| add_on.name() == name);
        Ok(())
    }

    /// The signal that ends the run, as all ranks know it.
    pub(super) fn signal(&self) -> Option<&'static str> {
        if self.ranks.is_one() { self.own_signal() } else { self.ranks.signal }
    }

    /// Exchanges words. With one process, the word is its own.
    pub(super) fn agree(&mut self, place: Place, word: Word) -> Result<Word, Error> {
        match self.ranks.group().cloned() {
            Some(group) => self.agree_with(&group, place, word),
            None => Ok(word),
        }
    }

    fn agree_with(&mut self, group: &Arc<dyn ProcessGroup>, place: Place, word: Word) -> Result<Word, Error> {
        let signal = self.own_signal();
        // A reason that was taken back may be given again, and is news then.
        if self.state.stopped.is_none() {
            self.ranks.stopped = None;
        }
        let stops = self.state.stopped.is_some() && self.state.stopped != self.ranks.stopped;
        let late = self.ranks.time.is_some_and(|time| self.state.progress.elapsed() >= time);
        // A resume goes to another step in any case, and may have failed before on some ranks.
        let step = if place == Place::Resume { 0 } else { self.state.progress.step };
        // Below 2^18: the squares of a hundred thousand ranks have an exact sum.
        let here = (place as u64 + 16 * (step % 1024 + 1024 * (word.batches % 16))) as f64;
        let [interrupts, terminates] = SIGNALS.map(|name| vote(signal == Some(name)));
        let Word { weight, bad, wants, batches } = word;
        let mut all = [0.0, weight, bad, wants, vote(stops), interrupts, terminates, vote(late), here, here * here];
        self.sum(&**group, &mut all)?;
        let [failed, weight, bad, wants, stops, interrupts, terminates, late, places, squares] = all;
        if failed > 0.0 {
            return Err(self.part(None));
        }
        let world = group.world_size() as f64;
        if places != world * here || squares != world * here * here {
            return Err(self.fail(format!(
                "rank {} is at `{place:?}` of step {}, and another rank is not: let every rank make the same calls with the \
                 same settings and data; if one has failed within a step that the others have made, build new trainers",
                group.rank(),
                self.state.progress.step
            )));
        }
        let known = [interrupts, terminates].into_iter().zip(SIGNALS).find(|(count, _)| *count > 0.0);
        self.ranks.signal = known.map(|(_, name)| name);
        self.ranks.out_of_time = late > 0.0;
        if stops > 0.0 {
            self.state.stopped = self.first_reason(&**group)?;
            self.ranks.stopped.clone_from(&self.state.stopped);
        }
        Ok(Word { weight, bad, wants, batches })
    }

    /// Why the run stops: what the first rank says that stops it.
    fn first_reason(&mut self, group: &dyn ProcessGroup) -> Result<Option<String>, Error> {
        self.together(|t| {
            let own = t.state.stopped.clone().unwrap_or_default();
            let reasons = group.all_gather(own.as_bytes())?;
            let first = reasons.iter().find(|reason| !reason.is_empty());
            Ok(first.map(|reason| String::from_utf8_lossy(reason).into_owned()))
        })
    }

    fn sum(&mut self, group: &dyn ProcessGroup, all: &mut [f64; 10]) -> Result<(), Error> {
        if self.ranks.lost {
            return Err(self.fail("the other ranks were lost before: build a new trainer in new processes"));
        }
        self.together(|_| group.sum(all))
    }

    /// What cannot fail on one rank alone: if it does, the others are not left waiting.
    pub(super) fn together<R>(&mut self, work: impl FnOnce(&mut Self) -> Fallible<R>) -> Result<R, Error> {
        let before = Doing::Stage(self.site.stage);
        self.add_ons.turn(Doing::Exchange, &self.site);
        let result = caught(|| work(self)).map_err(|source| self.fail(source));
        self.add_ons.turn(before, &self.site);
        if let Err(error) = &result {
            let reason = error.to_string();
            self.ranks.give_up(&reason);
            self.learner.leave_layers();
        }
        result
    }

    /// Tells the other ranks of an error that only this one knows. Returns what this rank's call fails with: that of another rank, if
    /// this one's is no more than that the other has left a micro-batch.
    pub(super) fn tell_ranks(&mut self, error: Error) -> Error {
        let known = matches!(error, Error::Remote { .. } | Error::Interrupted { .. });
        if known || self.ranks.told || self.ranks.lost {
            return error;
        }
        let Some(group) = self.ranks.group().cloned() else { return error };
        // First: others may wait in their layers.
        let left = self.learner.leave_layers();
        let mut all = [0.0; 10];
        all[0] = 1.0;
        let told = self.guard(|t| t.sum(&*group, &mut all));
        let others = match told {
            Ok(()) => self.part(Some((error.to_string(), left))),
            Err(second) => {
                tracing::error!(error = %second, "the other ranks could not be told of an error");
                second
            }
        };
        if left { others } else { error }
    }

    /// All ranks know that one has failed: they hand each other what was read until then, and learn why. `own` is this rank's
    /// reason, and whether it comes of another's.
    fn part(&mut self, own: Option<(String, bool)>) -> Error {
        self.ranks.told = true;
        let Some(group) = self.ranks.group().cloned() else { return self.fail("there are no other ranks") };
        self.learner.leave_layers();
        let read = self.guard(|t| t.at(Stage::Read, |t| t.pending.read(&t.learner)));
        let rows = if read.is_ok() { self.pending.shared() } else { Shared::default() };
        // Some may have begun to sum the gradients of a window that others will not come to.
        let begun = self.learner.sums_begun();
        let told = self.together(|t| {
            let told = gather(&*group, &(own, rows, begun))?;
            t.learner.finish_sums(told.iter().map(|(.., begun)| *begun).max().unwrap_or(0))?;
            Ok(told)
        });
        match told {
            Ok(told) => {
                let (reasons, rows): (Vec<_>, Vec<_>) =
                    told.into_iter().map(|(reason, rows, _)| (reason, rows)).unzip();
                self.pending.take_all(Shared::common(rows));
                let all = reasons.into_iter().enumerate().filter_map(|(rank, reason)| Some((rank, reason?)));
                let first = all.min_by_key(|(rank, (_, follows))| (*follows, *rank));
                let unknown = || (0, "it has failed, and does not say how".to_owned());
                let (rank, message) = first.map_or_else(unknown, |(rank, (message, _))| (rank, message));
                Error::Remote { rank, message }
            }
            Err(error) => {
                self.pending.discard();
                error
            }
        }
    }

    /// No rank goes its own way before all have ended.
    pub(super) fn part_well(&mut self) -> Result<(), Error> {
        self.agree(Place::End, Word::default()).map(|_| ())
    }

    /// Whether all ranks know what this call fails with.
    pub(super) fn has_parted(&self) -> bool {
        self.ranks.told
    }

    /// Has every rank take what all have read; with one process, there is nothing to take.
    pub(super) fn exchange_rows(&mut self) -> Result<(), Error> {
        let Some(group) = self.ranks.group().cloned() else { return Ok(()) };
        self.agree(Place::Rows, Word::default())?;
        self.together(|t| take_rows(&*group, &mut t.pending))
    }
}

/// Exchanges what each rank has read.
pub(super) fn take_rows<S>(group: &dyn ProcessGroup, pending: &mut Pending<S>) -> Fallible {
    pending.take_all(gather(group, &pending.shared())?);
    Ok(())
}

/// A value of each rank, by rank.
pub(super) fn gather<V: Serialize + DeserializeOwned>(group: &dyn ProcessGroup, own: &V) -> Fallible<Vec<V>> {
    let all = group.all_gather(&State::encode(own)?.0)?;
    all.into_iter().map(|bytes| State(bytes).decode()).collect()
}
