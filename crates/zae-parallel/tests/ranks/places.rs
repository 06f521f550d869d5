//! Ranks that train, of which some do something else while the others wait for them.

use std::sync::Arc;

use zae_core::{
    add_on::{AddOn, Context},
    data::from_fn,
    error::Fallible,
    process_group::ProcessGroup,
    testing::{Architecture, Fixture, FixtureTask, Samples, reference::Reference},
    trainer::Trainer,
};
use zae_parallel::{DataParallel, MpiGroup};

use super::{raise, touch, wait_for};

const ENGINE: Reference = Reference { asynchronous: false };
/// Added to a rank's number, for the mark that it has failed.
const FAILED: usize = 100;

/// What a rank does at one place of its run.
#[derive(Clone)]
struct Stay {
    rank: usize,
    place: String,
    then: String,
}

impl Stay {
    /// The others of three ranks do not go on to where they wait before rank 1 is there: so it is there for as long as they wait.
    fn at(&self, now: &str) -> Fallible {
        if now != self.place {
            return Ok(());
        }
        if self.rank != 1 {
            wait_for(&[1])?;
            return touch(self.rank);
        }
        touch(1)?;
        match &*self.then {
            "comes" => wait_for(&[0, 2]),
            "comes too late" => wait_for(&[FAILED, FAILED + 2]),
            "stops" => {
                raise(libc::SIGSTOP);
                Ok(())
            }
            _ => loop {
                std::thread::park();
            },
        }
    }
}

struct Hooked(Stay);

impl AddOn for Hooked {
    fn name(&self) -> &'static str {
        "hooked"
    }
    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.0.at(&format!("hook {}", cx.progress.step()))
    }
}

/// Trains twice with nine micro-batches, three in each step.
pub(super) fn train(group: MpiGroup, spec: &str) -> Fallible {
    let (place, then) = spec.split_once(": ").ok_or("it does nothing")?;
    let rank = group.rank();
    let stay = Stay { rank, place: place.to_owned(), then: then.to_owned() };
    let (in_data, in_step, in_hook) = (stay.clone(), stay.clone(), Hooked(stay));
    let task = FixtureTask::new(&ENGINE).before(move |at| in_step.at(&format!("step {}", at.step)));
    let sizes = ENGINE.sizes(Architecture::Plain);
    let batches = Samples::random(9 * sizes.rows, sizes.features, sizes.classes, 1).batches(&[sizes.rows; 9]);
    let loader = from_fn(|epoch| {
        let stay = in_data.clone();
        batches.clone().into_iter().enumerate().map(move |(i, samples)| {
            stay.at(&format!("data {epoch} {i}"))?;
            Ok(ENGINE.batch(&samples))
        })
    });
    let mut trainer = Trainer::new(task, ENGINE.learner(Architecture::Plain)).scheduler(0.01).handle_signals(false);
    trainer = trainer.add_on((DataParallel::with(Arc::new(group)), in_hook));
    let done = trainer.run(2, loader, ());
    if done.is_err() {
        touch(FAILED + rank)?;
    }
    Ok(done.map(drop)?)
}
