//! Calling add-ons, and keeping what goes wrong in user code from taking the process down.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use super::{
    Trainer,
    ranks::{Place, Ranks, Word, vote},
};
use crate::{
    add_on::{AddOn, AddOns, Context, Moment, Notice, Phase, Requests},
    engine::Engine,
    error::{BoxError, Error, Fallible, Panicked, Site, Stage},
    learner::Learner,
    metrics::{EpochSummary, Evaluation, Metrics},
    process_group::ProcessGroup,
    progress::ProgressChecker,
    snapshot::RunState,
    task::Task,
    watch::{Doing, Turn, Watch},
};

/// The add-ons of a run, in canonical order.
#[derive(Default)]
pub(super) struct Installed {
    add_ons: Vec<Box<dyn AddOn>>,
    /// Those that are not called.
    idle: Vec<Box<dyn AddOn>>,
    requests: Requests,
    /// How many epochs and steps the run has at least.
    minimum: (u64, u64),
    watches: Vec<Arc<dyn Watch>>,
    /// The one that is asked whether it wants a snapshot.
    current: usize,
}

impl Installed {
    pub(super) fn install(&mut self, add_ons: impl AddOns) {
        self.add_ons.extend(add_ons.into_boxes());
        self.add_ons.sort_by(|a, b| (a.phase(), a.name()).cmp(&(b.phase(), b.name())));
    }

    /// Calls no further hook of these.
    pub(super) fn lay_off(&mut self, which: impl Fn(&dyn AddOn) -> bool) {
        self.idle.extend(self.add_ons.extract_if(.., |add_on| which(&**add_on)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.add_ons.is_empty()
    }

    /// Also those that are not called.
    pub(super) fn all(&self) -> impl Iterator<Item = &dyn AddOn> {
        self.add_ons.iter().chain(&self.idle).map(|add_on| &**add_on)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn AddOn> {
        self.add_ons.iter().map(|add_on| &**add_on)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn AddOn>> {
        self.add_ons.iter_mut()
    }

    /// A name that two of them have.
    pub(super) fn twice(&self) -> Option<&str> {
        let mut names: Vec<_> = self.all().map(AddOn::name).collect();
        names.sort_unstable();
        names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }

    /// Before that, those that decide cannot end the run.
    pub(super) fn set_minimum(&mut self, epochs: u64, steps: u64) {
        self.minimum = (epochs, steps);
    }

    /// The second set of weights that stands for the model where it is not trained.
    pub(super) fn average(&self) -> Option<&str> {
        self.iter().find_map(AddOn::average)
    }

    /// Two add-ons that both have one.
    pub(super) fn two_averages(&self) -> Option<(&str, &str)> {
        let mut names = self.iter().filter(|add_on| add_on.average().is_some()).map(AddOn::name);
        Some((names.next()?, names.next()?))
    }

    /// Tells people something with the next hook.
    pub(super) fn notice(&mut self, notice: Notice) {
        self.requests.notice(notice);
    }

    /// Asks who is to be told of turns.
    pub(super) fn ask_for_watches(&mut self, group: Option<&Arc<dyn ProcessGroup>>) -> Fallible {
        self.watches.clear();
        self.watches.extend(group.and_then(|group| group.watch()));
        for add_on in &mut self.add_ons {
            let name = add_on.name().to_owned();
            self.watches.extend(ask(&name, || Ok(add_on.watch()))?);
        }
        Ok(())
    }

    /// Tells those who watch what this thread turns to.
    #[inline]
    pub(super) fn turn(&self, doing: Doing<'_>, site: &Site) {
        if !self.watches.is_empty() {
            tell(&self.watches, doing, site);
        }
    }

    fn wants_snapshot(&mut self, moment: Moment, progress: &ProgressChecker) -> bool {
        let mut wanted = std::mem::take(&mut self.requests.snapshot);
        for (i, add_on) in self.add_ons.iter().enumerate() {
            self.current = i;
            wanted |= add_on.wants_snapshot(moment, progress);
        }
        wanted
    }

    pub(super) fn name_of_current(&self) -> String {
        self.add_ons.get(self.current).map_or_else(String::new, |add_on| add_on.name().to_owned())
    }

    /// Calls one hook of every add-on, then hands out what they have to tell.
    fn call(
        &mut self,
        engine: &mut dyn Engine,
        state: &mut RunState,
        run_dir: Option<&Path>,
        ranks: &Ranks,
        site: &mut Site,
        hook: Hook<impl FnMut(&mut dyn AddOn, &mut Context<'_>) -> Fallible>,
    ) -> Result<(), Error> {
        let before = std::mem::replace(&mut site.stage, Stage::AddOn);
        let (epochs, steps) = self.minimum;
        self.requests.too_early = state.progress.cursor.epoch < epochs || state.progress.step < steps;
        let mut cx = Context {
            progress: &state.progress,
            lr: state.lr,
            run_dir,
            seed: state.seed,
            config: &state.config,
            history: &state.history,
            rank: ranks.rank(),
            world_size: ranks.world_size(),
            engine,
            requests: &mut self.requests,
        };
        let watches = &self.watches;
        let mut first = each(&mut self.add_ons[hook.of.clone()], &mut cx, *site, watches, hook);
        for notice in std::mem::take(&mut cx.requests.notices) {
            match &notice {
                Notice::Info(text) => tracing::info!("{text}"),
                Notice::Warning(text) => tracing::warn!("{text}"),
            }
            let call = |add_on: &mut dyn AddOn, cx: &mut Context<'_>| add_on.on_notice(&notice, cx);
            let told = Hook { name: "on_notice", of: 0..self.add_ons.len(), call };
            first = first.and(each(&mut self.add_ons, &mut cx, *site, watches, told));
        }
        site.stage = before;
        if let Some(reason) = self.requests.stop.take() {
            state.stopped.get_or_insert(reason);
        }
        first
    }
}

/// One hook of some add-ons.
struct Hook<F> {
    name: &'static str,
    /// Their places.
    of: Range<usize>,
    call: F,
}

/// Calls one hook of every add-on: also of those behind one that fails or panics, for they have not. The first error counts.
fn each(
    add_ons: &mut [Box<dyn AddOn>],
    cx: &mut Context<'_>,
    site: Site,
    watches: &[Arc<dyn Watch>],
    mut hook: Hook<impl FnMut(&mut dyn AddOn, &mut Context<'_>) -> Fallible>,
) -> Result<(), Error> {
    let mut first = Ok(());
    for add_on in add_ons {
        cx.requests.held = cx.requests.too_early && add_on.phase() == Phase::Decide;
        if !watches.is_empty() {
            tell(watches, Doing::Hook { add_on: add_on.name(), hook: hook.name }, &site);
        }
        let before = cx.requests.logged.len();
        let mut called = caught(|| (hook.call)(&mut **add_on, cx));
        if cx.requests.logged.len() > before {
            called = called.and(cx.requests.logged.check(before, add_on.phase()));
        }
        if let Err(source) = called {
            tracing::error!(add_on = add_on.name(), error = %source, "an add-on failed");
            first = first.and(Err(Error::AddOn { name: add_on.name().to_owned(), site, source }));
        }
    }
    first
}

#[cold]
#[inline(never)]
fn tell(watches: &[Arc<dyn Watch>], doing: Doing<'_>, site: &Site) {
    let turn = Turn::new(doing, site.step, site.cursor);
    watches.iter().for_each(|watch| watch.turn(&turn));
}

/// A panic becomes an error.
pub(super) fn caught<R>(work: impl FnOnce() -> Fallible<R>) -> Fallible<R> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(Panicked::new(&*payload).into()))
}

/// Asks an add-on for something outside of its hooks: what goes wrong bears its name.
pub(super) fn ask<R>(name: &str, work: impl FnOnce() -> Fallible<R>) -> Fallible<R> {
    caught(work).map_err(|e| format!("add-on `{name}`: {e}").into())
}

/// What has numbers of its own when it ends, to which add-ons may add.
pub(super) trait Ended {
    fn metrics(&mut self) -> &mut Metrics;
}

impl Ended for Evaluation {
    fn metrics(&mut self) -> &mut Metrics {
        &mut self.metrics
    }
}

impl Ended for EpochSummary {
    fn metrics(&mut self) -> &mut Metrics {
        &mut self.metrics
    }
}

impl<T: Task> Trainer<T> {
    /// Calls one hook of every add-on, in canonical order.
    pub(super) fn each(
        &mut self,
        name: &'static str,
        hook: impl FnMut(&mut dyn AddOn, &mut Context<'_>) -> Fallible,
    ) -> Result<(), Error> {
        self.some(Hook { name, of: 0..self.add_ons.add_ons.len(), call: hook })
    }

    fn some(&mut self, hook: Hook<impl FnMut(&mut dyn AddOn, &mut Context<'_>) -> Fallible>) -> Result<(), Error> {
        if hook.of.is_empty() {
            return Ok(());
        }
        let Self { add_ons, learner, state, settings, ranks, site, .. } = self;
        add_ons.call(learner, state, settings.run_dir.as_deref(), ranks, site, hook)
    }

    /// Calls a hook about a step: what add-ons log there is part of the step's row.
    pub(super) fn each_of_step(
        &mut self,
        name: &'static str,
        hook: impl FnMut(&mut dyn AddOn, &mut Context<'_>) -> Fallible,
    ) -> Result<(), Error> {
        if self.add_ons.is_empty() {
            return Ok(());
        }
        self.add_ons.requests.logged.open = true;
        let called = self.each(name, hook);
        self.add_ons.requests.logged.open = false;
        if self.add_ons.requests.logged.len() == 0 {
            return called;
        }
        let Self { add_ons, pending, .. } = self;
        let put = add_ons.requests.logged.take().try_for_each(|(name, value)| pending.log(name, value));
        called.and(put.map_err(|source| self.unfit(source)))
    }

    /// Calls a hook about an evaluation or an epoch that has ended: what add-ons log there is part of it for those of later
    /// phases. `keep` puts it where the history has it.
    pub(super) fn each_of_ended<E: Ended>(
        &mut self,
        name: &'static str,
        ended: &mut E,
        hook: fn(&mut dyn AddOn, &E, &mut Context<'_>) -> Fallible,
        keep: fn(&mut RunState, &E),
    ) -> Result<(), Error> {
        let (mut first, mut from) = (Ok(()), 0);
        for phase in [Phase::Observe, Phase::Decide, Phase::Report] {
            // They are in the order of their phases.
            let to = self.add_ons.add_ons.partition_point(|add_on| add_on.phase() <= phase);
            self.add_ons.requests.logged.open = phase <= Phase::Decide;
            let call = |add_on: &mut dyn AddOn, cx: &mut Context<'_>| hook(add_on, ended, cx);
            first = first.and(self.some(Hook { name, of: from..to, call }));
            self.add_ons.requests.logged.open = false;
            from = to;
            if self.add_ons.requests.logged.len() > 0 {
                let put = self.add_ons.requests.logged.put_in(ended.metrics());
                first = first.and(put.map_err(|source| self.unfit(source)));
                keep(&mut self.state, ended);
            }
        }
        first
    }

    /// The error for a number of an add-on that has no place among the metrics.
    fn unfit(&mut self, source: BoxError) -> Error {
        self.site.stage = Stage::Read;
        self.fail(source)
    }

    /// Reads what is still on the device and hands out the rows.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let waits = if self.ranks.is_one() { self.pending.waiting() } else { self.pending.open() };
        let bad = if waits > 0 { self.read()? } else { None };
        self.hand_out()?;
        bad.map_or(Ok(()), Err)
    }

    /// Hands out rows that have been read.
    pub(super) fn hand_out(&mut self) -> Result<(), Error> {
        let summed = self.settle_own_rows();
        if self.pending.none_ready() { summed } else { summed.and(self.hand_out_ready()) }
    }

    fn hand_out_ready(&mut self) -> Result<(), Error> {
        let Self { add_ons, learner, state, settings, ranks, site, pending, .. } = self;
        let mut first = Ok(());
        if !add_ons.is_empty() {
            let run_dir = settings.run_dir.as_deref();
            let of = 0..add_ons.add_ons.len();
            for rows in pending.ready() {
                let call = |add_on: &mut dyn AddOn, cx: &mut Context<'_>| add_on.on_rows(&rows, cx);
                let hook = Hook { name: "on_rows", of: of.clone(), call };
                first = first.and(add_ons.call(learner, state, run_dir, ranks, site, hook));
            }
        }
        pending.clear_ready();
        first
    }

    /// After an error: hands out every row that can still be read, and leaves nothing of the step that was not made.
    pub(super) fn abandon(&mut self) {
        let rest = |t: &mut Self| {
            if !t.has_parted() {
                return t.flush();
            }
            // The other ranks' rows are here already; one of them may have spoilt the weights.
            let read = t.fetch().and_then(|()| {
                t.judge();
                t.sum_rows()
            });
            t.hand_out().and(read)
        };
        if let Err(second) = self.guard(rest) {
            tracing::error!(error = %second, "failed while reading what was left");
        }
        self.pending.discard();
        self.pending.clear_ready();
        self.learner.zero_grad();
        self.ranks.tree.clear();
    }

    /// Takes a snapshot and hands it out, if somebody wants one.
    pub(super) fn snapshot_if_wanted(&mut self, moment: Moment) -> Result<(), Error> {
        if self.add_ons.is_empty() && self.ranks.is_one() {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.site.stage, Stage::AddOn);
        let wanted = self.add_ons.wants_snapshot(moment, &self.state.progress);
        self.site.stage = before;
        let word = Word { wants: vote(wanted), ..Word::default() };
        if self.agree(Place::StepEnd, word)?.wants == 0.0 {
            return Ok(());
        }
        if self.ranks.rank() == 0 {
            let snapshot = self.take_snapshot()?;
            self.each("on_snapshot", |add_on, cx| add_on.on_snapshot(&snapshot, cx))?;
        } else {
            // Rank 0 writes it; what has not been read yet is read by all.
            self.flush()?;
        }
        // Who has got it may have failed, or asked for a stop.
        self.agree(Place::Snapshot, Word::default()).map(|_| ())
    }

    /// Does `work`; a panic in it, be it of the task, the data, an add-on or the engine, becomes an error that says where.
    pub(super) fn guard<R>(&mut self, work: impl FnOnce(&mut Self) -> Result<R, Error>) -> Result<R, Error> {
        // Nothing of the trainer is left half-changed by a panic that later code would trust: the learner says itself
        // when it has lost its model, and a failed run only reports and ends.
        catch_unwind(AssertUnwindSafe(|| work(self))).unwrap_or_else(|payload| Err(self.fail(Panicked::new(&*payload))))
    }
}
