//! The trainer computes what a hand-written loop computes.

use super::ensure;
use crate::{
    error::Fallible,
    learner::Learner,
    testing::{
        Architecture, Fixture, HandWritten, Recorder,
        run::{batches, same_state, trainer},
    },
};

pub(super) fn hand_written<F: Fixture>(fixture: &F) -> Fallible {
    for architecture in [Architecture::Plain, Architecture::Full] {
        let order = HandWritten::new(architecture, batches(fixture, architecture, 4, 1));
        let (losses, mut by_hand) = fixture.hand_written(&order)?;
        let recorder = Recorder::new();
        let mut trainer = trainer(fixture, architecture).add_on(recorder.clone());
        trainer.run(order.epochs, &order.batches, ())?;
        let loss =
            |(_, row): &(u64, Vec<(String, u64)>)| row.iter().find(|(name, _)| name == "train/loss").map(|l| l.1);
        let trained: Vec<_> = recorder.get().rows.iter().filter_map(loss).map(f64::from_bits).collect();
        let bits = |losses: &[f64]| losses.iter().map(|l| l.to_bits()).collect::<Vec<_>>();
        ensure!(bits(&losses) == bits(&trained), "{architecture:?}: losses {losses:?} by hand, {trained:?} trained");
        if architecture == Architecture::Plain {
            let (first, last) = losses.split_at(order.batches.len());
            ensure!(last.iter().sum::<f64>() < first.iter().sum(), "nothing was learned: {losses:?}");
        }
        same_state(&by_hand.snapshot()?, &trainer.into_learner().snapshot()?)
            .map_err(|e| format!("{architecture:?}: {e}"))?;
    }
    Ok(())
}

pub(super) fn first_weights<F: Fixture>(fixture: &F) -> Fallible {
    let made = |seed| {
        let mut learner = fixture.learner(Architecture::Full);
        learner.init(seed)?;
        learner.snapshot()
    };
    let first = made(1)?;
    same_state(&first, &made(1)?)?;
    ensure!(same_state(&first, &made(2)?).is_err(), "two seeds drew the same weights");
    let mut again = fixture.learner(Architecture::Full);
    again.init(1)?;
    again.init(2)?;
    same_state(&first, &again.snapshot()?).map_err(|e| format!("a second `init` drew new weights: {e}").into())
}
