//! An engine whose learners are the ranks of one run.

use std::{collections::BTreeMap, sync::Arc, thread, time::Duration};

use super::ensure;
use crate::{
    add_ons::Ema,
    error::{Fallible, Panicked},
    learner::{Learner, StateDict},
    process_group::Reduction,
    testing::{
        Architecture, Fixture,
        ranks::{Connect, ThreadRank, thread_ranks},
        run::{batches, trainer},
    },
};

/// What a rank ends with: all tensors, and what it has measured.
struct End {
    tensors: BTreeMap<String, Vec<u8>>,
    measured: String,
}

impl End {
    /// The first tensor that the other has not or has otherwise.
    fn differs_in(&self, other: &Self) -> Option<&str> {
        self.tensors
            .iter()
            .find(|(name, bytes)| other.tensors.get(*name) != Some(*bytes))
            .map(|(name, _)| name.as_str())
    }
}

/// The first weights: an engine whose generator is one per process cannot draw the same ones on two threads at once.
fn first<F: Fixture>(fixture: &F, architecture: Architecture) -> Fallible<StateDict> {
    Ok(trainer(fixture, architecture).state_dict()?)
}

fn train<F: Fixture>(
    fixture: &F,
    architecture: Architecture,
    from: &StateDict,
    average: bool,
    rank: Option<Arc<ThreadRank>>,
) -> Fallible<End> {
    // One process sums as they do.
    let connect = Connect::new(rank.map(|rank| rank as _), Reduction::Reproducible, 1);
    let mut trainer = trainer(fixture, architecture).micro_batches(4).add_on(connect);
    if average {
        trainer = trainer.add_on(Ema::new(0.5));
    }
    trainer.load_state_dict(from)?;
    let run = trainer.run(2, batches(fixture, architecture, 7, 1), batches(fixture, architecture, 5, 2))?;
    let evaluation = trainer.evaluate(batches(fixture, architecture, 5, 3))?;
    let StateDict { tensors, .. } = trainer.into_learner().snapshot()?;
    let tensors = tensors.into_iter().map(|(name, tensor)| Ok((name, tensor.data.bytes()?.into_owned())));
    let measured = format!("{:?} {:?}", run.history.without_clock(), evaluation.metrics);
    Ok(End { tensors: tensors.collect::<Fallible<_>>()?, measured })
}

/// The same on two ranks.
fn train_on_two<F: Fixture>(
    make: &(impl Fn() -> F + Sync),
    architecture: Architecture,
    from: &StateDict,
    average: bool,
) -> Fallible<[End; 2]> {
    let [first, second] = &thread_ranks(2, Duration::from_secs(60))[..] else { return Err("not two ranks".into()) };
    thread::scope(|scope| {
        let start = |rank: &Arc<ThreadRank>| {
            let rank = rank.clone();
            scope.spawn(move || train(&make(), architecture, from, average, Some(rank)))
        };
        let threads = [start(first), start(second)];
        let [first, second] = threads.map(|thread| thread.join().unwrap_or_else(|e| Err(Panicked::new(&*e).into())));
        Ok([first?, second?])
    })
}

/// Two ranks end with the bits of one process.
pub(super) fn exact<F: Fixture>(make: &(impl Fn() -> F + Sync)) -> Fallible {
    for architecture in [Architecture::Plain, Architecture::Unused, Architecture::Frozen] {
        let from = first(&make(), architecture)?;
        let one = train(&make(), architecture, &from, false, None)?;
        for (rank, end) in train_on_two(make, architecture, &from, false)?.into_iter().enumerate() {
            let name = one.differs_in(&end);
            ensure!(name.is_none(), "{architecture:?}: rank {rank} of 2 ends with another {name:?} than one process");
            ensure!(end.measured == one.measured, "{architecture:?}: rank {rank} of 2 has measured something else");
        }
    }
    Ok(())
}

/// Dropout is each rank's own, and so are running statistics, until the model is evaluated.
pub(super) fn together<F: Fixture>(make: &(impl Fn() -> F + Sync)) -> Fallible {
    let from = first(&make(), Architecture::Full)?;
    let [first, second] = train_on_two(make, Architecture::Full, &from, false)?;
    let name = first.differs_in(&second);
    ensure!(name.is_none(), "with batch norm, two ranks end with a different {name:?}");
    ensure!(first.measured == second.measured, "with batch norm, two ranks measure something different");
    Ok(())
}

/// Two ranks measure and keep the average of one process; with batch norm, that of rank 0's statistics. The statistics that go
/// with the weights themselves stay each rank's own, for nobody has evaluated them.
pub(super) fn averages<F: Fixture>(make: &(impl Fn() -> F + Sync)) -> Fallible {
    let from = first(&make(), Architecture::Plain)?;
    let one = train(&make(), Architecture::Plain, &from, true, None)?;
    ensure!(one.tensors.keys().any(|name| name.starts_with("shadow/ema/")), "there is no average");
    for (rank, end) in train_on_two(make, Architecture::Plain, &from, true)?.into_iter().enumerate() {
        let name = one.differs_in(&end);
        ensure!(name.is_none(), "rank {rank} of 2 ends with another {name:?} than one process");
        ensure!(end.measured == one.measured, "rank {rank} of 2 has measured something else");
    }
    let from = first(&make(), Architecture::Full)?;
    let [mut first, second] = train_on_two(make, Architecture::Full, &from, true)?;
    first.tensors.retain(|name, _| !name.starts_with("model/") || !name.contains("running"));
    let name = first.differs_in(&second);
    ensure!(name.is_none(), "with batch norm, two ranks end with a different {name:?}");
    ensure!(first.measured == second.measured, "with batch norm, two ranks measure something different");
    Ok(())
}
