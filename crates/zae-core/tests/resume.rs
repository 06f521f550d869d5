//! A program that is started again, perhaps set up otherwise: what is refused, and what people are told.

#![allow(clippy::unwrap_used)]

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use zae_core::{
    add_on::{AddOn, Context, Notice},
    data::{DataLoader, Dataset},
    error::Fallible,
    learner::Clip,
    schedule::Cosine,
    snapshot::Snapshot,
    testing::null::{Echo, Null},
    trainer::{Outcome, Trainer},
};

/// Keeps a snapshot, and what people were told. It claims the run before it is asked for the snapshot.
#[derive(Clone, Default)]
struct Keeps {
    kept: Option<Arc<Snapshot>>,
    claimed: bool,
    told: Arc<Mutex<Vec<Notice>>>,
}

impl Keeps {
    fn told(&self) -> Vec<Notice> {
        self.told.lock().unwrap().clone()
    }
}

impl AddOn for Keeps {
    fn name(&self) -> &'static str {
        "keeps"
    }
    fn claim(&mut self, _: Option<&Path>) -> Fallible {
        self.claimed = true;
        Ok(())
    }
    fn latest(&mut self, _: Option<&Path>) -> Fallible<Option<Arc<Snapshot>>> {
        assert!(self.claimed);
        Ok(self.kept.clone())
    }
    fn on_run_start(&mut self, _: &mut Context<'_>) -> Fallible {
        assert!(self.claimed);
        Ok(())
    }
    fn on_notice(&mut self, notice: &Notice, _: &mut Context<'_>) -> Fallible {
        self.told.lock().unwrap().push(notice.clone());
        Ok(())
    }
}

fn data(batch_size: usize) -> impl zae_core::data::Loader<f64> {
    DataLoader::new((0..20u32).collect::<Vec<_>>().collate(|all| Ok(all.len() as f64)), batch_size)
}

fn trainer(keeps: &Keeps) -> Trainer<Echo> {
    let schedule = Cosine::new(0.1).over(15);
    Trainer::new(Echo, Null::default()).scheduler(schedule).handle_signals(false).add_on(keeps.clone())
}

/// What a process of two epochs leaves to the next one.
fn two_epochs() -> Keeps {
    let mut first = trainer(&Keeps::default());
    first.run(2, data(4), ()).unwrap();
    Keeps { kept: Some(first.snapshot().unwrap()), ..Keeps::default() }
}

#[test]
fn a_loop_of_the_programs_own_trains_as_many_epochs_as_an_undisturbed_one() {
    let keeps = two_epochs();
    let mut again = trainer(&keeps);
    assert_eq!(again.progress().epoch(), 0);
    again.resume().unwrap();
    assert_eq!((again.progress().epoch(), again.progress().step()), (2, 10));
    while again.progress().epoch() < 3 {
        again.run_epoch(data(4)).unwrap();
    }
    assert_eq!(again.progress().step(), 15);
    again.resume().unwrap();
    assert_eq!(again.progress().step(), 15, "it does not go back again");
    assert_eq!(again.run(3, data(4), ()).unwrap().outcome, Outcome::AlreadyComplete);
    let mut fresh = trainer(&keeps).fresh();
    fresh.resume().unwrap();
    assert_eq!(fresh.progress().step(), 0);
}

#[test]
fn all_that_differs_is_refused_at_once_with_one_way_out() {
    let keeps = two_epochs();
    let changed = || trainer(&keeps).gradient_clip(Clip::Norm(1.0));
    let error = changed().run(3, data(5), ()).unwrap_err().to_string();
    for words in [
        "`batch_size` 4, this one 5; `gradient_clip` None, this one Norm(1.0)",
        "`.accept_change(\"batch_size\").accept_change(\"gradient_clip\")`",
    ] {
        assert!(error.contains(words), "{error}");
    }
    let mut accepted = changed().accept_change("batch_size").accept_change("gradient_clip");
    accepted.run(3, data(5), ()).unwrap();
    let text = "the saved run goes on otherwise, as was accepted: `batch_size` is 5 and was 4, `gradient_clip` is \
                Norm(1.0) and was None";
    assert_eq!(keeps.told(), [Notice::Info(text.to_owned())]);
}

#[test]
fn a_change_that_nothing_can_have_is_a_slip() {
    let keeps = two_epochs();
    let error = trainer(&keeps).accept_change("batchsize").run(3, data(4), ()).unwrap_err().to_string();
    assert!(error.contains("`.accept_change(\"batchsize\")` names no setting"), "{error}");
    assert!(error.contains("`batch_size`, ") && error.contains("`optimizer`"), "{error}");
}

#[test]
fn a_change_that_comes_too_late_is_told() {
    let keeps = two_epochs();
    assert_eq!(trainer(&keeps).run(2, data(5), ()).unwrap().outcome, Outcome::AlreadyComplete);
    let text =
        "the run was complete already, so it makes no difference that `batch_size` is 5 now: `.fresh()` starts over";
    assert_eq!(keeps.told(), [Notice::Warning(text.to_owned())]);
    // A phase before the one that was saved is set up otherwise with good reason.
    let keeps = two_epochs();
    trainer(&keeps).run(1, data(5), ()).unwrap();
    assert_eq!(keeps.told(), []);
}
