//! Several passes over each batch, each of which trains a part of the model.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;

use support::{data, valid_data, written};
use zae_core::{
    data::Loader,
    error::Error,
    learner::{Learner, Update},
    process_group::{ProcessGroup, Reduction},
    rng,
    step::Step,
    task::{At, Mode, StepResult, Task},
    testing::{
        Architecture, Connect, Fixture, Recorder,
        reference::{Batch, Net, Reference, ReferenceLearner},
        thread_ranks,
    },
    trainer::Trainer,
};

const PARTS: [&str; 2] = ["fc1", "fc2"];
const LR: f64 = 0.05;

/// Trains one layer in each pass.
struct Turns([&'static str; 2]);

impl Task for Turns {
    type Learner = ReferenceLearner;
    type Batch = (usize, Batch);

    fn train_step(&self, model: &Net, (pass, batch): Self::Batch, _: &At) -> StepResult<Self> {
        let (loss, _) = model.loss(&batch)?;
        Ok(Step::new(loss, batch.labels.len()).only(self.0[pass]))
    }
    fn test_step(&self, model: &Net, (_, batch): Self::Batch, _: &At) -> StepResult<Self> {
        Ok(Step::new(model.loss(&batch)?.0, batch.labels.len()))
    }
}

fn batches() -> Vec<Batch> {
    data(&[5, 3, 4, 5], 1)
}

fn learner() -> ReferenceLearner {
    Reference::default().learner(Architecture::Plain)
}

fn trainer() -> Trainer<Turns> {
    Trainer::new(Turns(PARTS), learner()).seed(3).scheduler(LR).handle_signals(false)
}

fn weights(learner: &mut ReferenceLearner) -> Vec<Vec<u8>> {
    learner.snapshot().unwrap().tensors.values().map(|tensor| tensor.data.bytes().unwrap().into_owned()).collect()
}

#[test]
fn the_parts_of_a_model_take_turns_as_in_the_hand_written_loop() {
    let mut trainer = trainer();
    let (train, valid) = (batches(), valid_data().passes(1));
    let run = trainer.run(2, (&train).passes(2), &valid).unwrap();
    assert_eq!(trainer.progress().step(), 4 * train.len() as u64);
    assert!(run.history.epochs[1].metrics["valid/loss"] < run.history.epochs[0].metrics["valid/loss"]);
    let mut by_hand = learner();
    by_hand.init(rng::init_seed(3)).unwrap();
    for epoch in 0..2 {
        let mut micro_batch = 0;
        for batch in &train {
            for part in PARTS {
                by_hand.seed(rng::seed_for(3, epoch, micro_batch));
                let batch = by_hand.place(batch.clone(), Mode::Train);
                let (loss, _) = by_hand.train(|model| model.loss(&batch)).unwrap().unwrap();
                by_hand.backward_part(part, loss, 1.0, true).unwrap();
                by_hand.step(&Update::new(LR)).unwrap();
                micro_batch += 1;
            }
        }
    }
    assert!(weights(&mut trainer.into_learner()) == weights(&mut by_hand));
}

#[test]
fn a_run_that_was_cut_anywhere_goes_on_with_the_pass_that_was_next() {
    for accumulate in [1, 2] {
        let train = batches().passes(2).over(accumulate);
        let recorder = Recorder::new().with_snapshots();
        let mut whole = trainer().accumulate(accumulate).add_on(recorder.clone());
        whole.run(2, &train, ()).unwrap();
        let end = weights(&mut whole.into_learner());
        let snapshots = recorder.get().snapshots.clone();
        assert!(snapshots.len() > 8);
        for (moment, snapshot) in snapshots {
            let mut rest = trainer().accumulate(accumulate);
            rest.restore(&written(&snapshot)).unwrap();
            rest.run(2, &train, ()).unwrap();
            assert!(
                weights(&mut rest.into_learner()) == end,
                "cut at {moment:?}, step {}",
                snapshot.run.progress.step()
            );
        }
    }
}

#[test]
fn steps_may_take_more_from_some_epoch_on() {
    let rising = [(0, 1), (1, 2)];
    let train = batches().passes(2).over(rising);
    let recorder = Recorder::new().with_snapshots();
    let new = || trainer().accumulate(rising);
    let mut whole = new().add_on(recorder.clone());
    whole.run(3, &train, ()).unwrap();
    assert_eq!(whole.progress().step(), 8 + 4 + 4);
    let end = weights(&mut whole.into_learner());
    for (moment, snapshot) in recorder.get().snapshots.clone() {
        let mut rest = new();
        rest.restore(&written(&snapshot)).unwrap();
        rest.run(3, &train, ()).unwrap();
        assert!(weights(&mut rest.into_learner()) == end, "cut at {moment:?}, step {}", snapshot.run.progress.step());
    }
    // That the second epoch has no passes of two is said before the first.
    let mut mixed = new();
    let error = mixed.run(3, batches().passes(2), ()).unwrap_err();
    assert!(matches!(error, Error::Misuse(_)) && mixed.progress().step() == 0, "{error}");
    assert!(error.to_string().contains("`.passes(2).over([.., (1, 2)])`"), "{error}");
    let mut short = new();
    short.run(1, batches().passes(2).limit(8), ()).unwrap();
    assert_eq!(short.progress().step(), 8, "a run that does not come so far is none the worse");
}

#[test]
fn ranks_make_the_steps_of_one_process() {
    let run = |group: Option<Arc<dyn ProcessGroup>>| {
        let connect = Connect::new(group, Reduction::Reproducible, 2);
        let mut trainer = trainer().micro_batches(2).add_on(connect);
        trainer.run(2, batches().passes(2).over(2), ()).unwrap();
        weights(&mut trainer.into_learner())
    };
    let one = run(None);
    let groups = thread_ranks(2, std::time::Duration::from_secs(60));
    std::thread::scope(|scope| {
        let ranks: Vec<_> = groups.into_iter().map(|group| scope.spawn(|| run(Some(group)))).collect();
        for rank in ranks {
            assert!(rank.join().unwrap() == one);
        }
    });
}

#[test]
fn what_does_not_fit_is_said_with_its_mend() {
    let mut mixed = trainer().accumulate(2);
    let error = mixed.run(1, batches().passes(2), ()).unwrap_err();
    assert!(error.to_string().contains("`.passes(2).over(2)`"), "{error}");
    let mut lost = Trainer::new(Turns(["fc1", "generator"]), learner()).scheduler(LR).handle_signals(false);
    let error = lost.run(1, batches().passes(2), ()).unwrap_err();
    assert!(matches!(error, Error::Step { .. }));
    assert!(error.to_string().contains("`.only(\"generator\")`") && error.to_string().contains("`fc2`"), "{error}");
}
