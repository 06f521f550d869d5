//! Numbers of micro-batches per step that change from epoch to epoch.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::{Arc, Mutex};

use support::{ranks::*, *};
use zae_core::{
    add_ons::on_epoch_start,
    data::from_fn,
    learner::Clip,
    process_group::Reduction,
    schedule::Cosine,
    task::Mode,
    testing::{Architecture, Recorder, Samples},
    trainer::{Accumulation, Every, Outcome, Trainer, Until},
};

const RISING: [(u64, u64); 3] = [(0, 1), (1, 3), (3, 2)];

/// In which step each micro-batch was, by epochs of five.
fn steps_of(set_up: impl Fn(Trainer<Own>) -> Trainer<Own>, until: Until) -> (Vec<Vec<u64>>, Vec<(u64, u64)>) {
    let (seen, planned) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (to, plans) = (seen.clone(), planned.clone());
    let task = Own::new(move |model, batch, at| {
        if at.mode == Mode::Train {
            to.lock().unwrap().push((at.cursor.epoch as usize, at.step));
        }
        step(model, batch)
    });
    let tell = on_epoch_start(move |cx| {
        plans.lock().unwrap().push((cx.progress.steps_per_epoch().unwrap(), cx.progress.total_steps().unwrap()));
        Ok(())
    });
    let run = set_up(trainer(task)).add_on(tell).run(until, train_data(), valid_data()).unwrap();
    assert_eq!(run.outcome, Outcome::Complete);
    let mut epochs = vec![Vec::new(); 5];
    seen.lock().unwrap().iter().for_each(|(epoch, step)| epochs[*epoch].push(*step));
    let planned = planned.lock().unwrap().clone();
    (epochs, planned)
}

#[test]
fn each_epoch_has_its_number_and_the_run_knows_its_steps() {
    let expected = [
        vec![0, 1, 2, 3, 4],
        vec![5, 5, 5, 6, 6],
        vec![7, 7, 7, 8, 8],
        vec![9, 9, 10, 10, 11],
        vec![12, 12, 13, 13, 14],
    ];
    let planned: Vec<_> = [5, 2, 2, 3, 3].map(|steps| (steps, 15)).to_vec();
    let five = Until::epochs(5);
    assert_eq!(steps_of(|t| t.accumulate(RISING), five), (expected.to_vec(), planned.clone()));
    assert_eq!(steps_of(|t| t.micro_batches(RISING.to_vec()), five), (expected.to_vec(), planned));
    let (epochs, planned) = steps_of(|t| t.accumulate([(0, 2), (1, 5)]), Until::steps(5));
    assert_eq!(epochs[..3], [vec![0, 0, 1, 1, 2], vec![3; 5], vec![4; 5]]);
    assert_eq!(planned, [(3, 5), (1, 5), (1, 5)]);
}

#[test]
fn a_schedule_ends_with_the_run() {
    let recorder = Recorder::new();
    let cosine = Cosine::new(0.02);
    let mut trainer = trainer(plain()).scheduler(cosine).accumulate(RISING).add_on(recorder.clone());
    trainer.run(5, train_data(), ()).unwrap();
    let at = |step| zae_core::schedule::ScheduleAt::new(step, Some(15), 0, None);
    let expected: Vec<f64> = (0..15).map(|step| zae_core::schedule::Schedule::lr(&cosine, &at(step))).collect();
    assert_eq!(column(&recorder, "lr"), expected);
}

/// The same data, put together by hand where the steps take several micro-batches.
#[test]
fn the_gradients_are_those_of_larger_batches() {
    let samples = Samples::random(24, 6, 3, 5);
    let batches = |rows: usize| samples.batches(&vec![rows; 24 / rows]).into_iter().map(batch).collect::<Vec<_>>();
    let end = |mut trainer: Trainer<Own>, by_hand: bool| {
        let rows = move |epoch: u64| if !by_hand || epoch == 0 { 2 } else { 6 };
        trainer.run(4, from_fn(move |epoch| batches(rows(epoch)).into_iter().map(Ok)), ()).unwrap();
        assert_eq!(trainer.progress().step(), 12 + 3 * 4);
        parameters(&mut trainer)
    };
    let new = || with_learner(plain(), learner(Architecture::Plain)).gradient_clip(Clip::Norm(0.5));
    let (found, expected) = (end(new().accumulate([(0, 1), (1, 3)]), false), end(new(), true));
    assert!(close(&found, &expected));
    assert!(!close(&expected, &parameters(&mut new())));
}

#[test]
fn a_run_that_is_cut_anywhere_ends_the_same() {
    let set_up = || {
        trainer(plain())
            .scheduler(Cosine::new(0.02))
            .gradient_clip(Clip::Norm(0.5))
            .accumulate(RISING)
            .validate(Every::Steps(4))
    };
    let recorder = Recorder::new().with_snapshots();
    let mut whole = set_up().add_on(recorder.clone());
    whole.run(5, train_data(), valid_data()).unwrap();
    let expected = bits_of(&mut whole);
    let snapshots = recorder.get().snapshots.clone();
    assert_eq!(snapshots.len(), 15 + 5 + 3 + 1);
    for (moment, snapshot) in &snapshots {
        assert_eq!(snapshot.run.window, 1, "it is the number of the first epoch that is kept");
        let mut resumed = set_up();
        resumed.restore(&written(snapshot)).unwrap();
        resumed.run(5, train_data(), valid_data()).unwrap();
        assert!(bits_of(&mut resumed) == expected, "{moment:?} after step {}", snapshot.run.progress.step());
    }
    let mut own = set_up().scheduler(Cosine::new(0.02).over(15)).validate(Every::Never);
    let mut run = set_up().scheduler(Cosine::new(0.02).over(15)).validate(Every::Never);
    (0..5).for_each(|_| drop(own.run_epoch(train_data()).unwrap()));
    run.run(5, train_data(), ()).unwrap();
    assert!(bits_of(&mut own) == bits_of(&mut run), "a loop of one's own over epochs");
}

#[test]
fn a_run_goes_on_only_with_the_numbers_it_began_with() {
    let mut first = trainer(plain()).accumulate(RISING);
    first.run(2, train_data(), ()).unwrap();
    let snapshot = first.snapshot().unwrap();
    let goes_on = |trainer: Trainer<Own>| {
        let mut trainer = trainer;
        trainer.restore(&snapshot)?;
        trainer.run(4, train_data(), ())?;
        Ok(trainer.progress().step())
    };
    assert_eq!(goes_on(trainer(plain()).accumulate(RISING)).unwrap(), 12);
    assert_eq!(goes_on(trainer(plain()).micro_batches(RISING)).unwrap(), 12, "the same, in other words");
    let other = || trainer(plain()).accumulate([(0, 1), (1, 3), (3, 5)]);
    let words = ["`accumulate` 3 from epoch 1, 2 from epoch 3, this one 3 from epoch 1, 5 from epoch 3"];
    fails(goes_on(other()), &words);
    assert_eq!(goes_on(other().accept_change("accumulate")).unwrap(), 10);
    fails(goes_on(trainer(plain())), &["`accumulate` 3 from epoch 1, 2 from epoch 3, this one constant"]);
    fails(goes_on(trainer(plain()).accumulate([(0, 2), (1, 3)])), &["`.accumulate(1)`", "`.accumulate(2)`"]);
}

#[test]
fn the_bits_of_one_process_come_out_of_two_and_four() {
    let run = |connected: &Connected| {
        let trainer = connected.trainer(plain(), Architecture::Full).micro_batches([(0, 4), (1, 8), (3, 4)]);
        let mut trainer = trainer.gradient_clip(Clip::Norm(0.5)).scheduler(Cosine::new(0.02));
        let run = trainer.run(4, eleven(), ()).unwrap();
        assert_eq!(trainer.progress().step(), 3 + 2 + 2 + 3);
        (parameters(&mut trainer), format!("{:?}", run.history.without_clock()))
    };
    let one = run(&alone(Reduction::Reproducible));
    for world_size in [2, 4] {
        for of_rank in on_ranks(world_size, Reduction::Reproducible, |_, connected| run(&connected)) {
            assert!(of_rank == one, "{world_size} ranks");
        }
    }
    // Per process, it is as many times more over all of them.
    let steps = on_ranks(2, Reduction::Fast, |_, connected| {
        let mut trainer = connected.trainer(plain(), Architecture::Plain).accumulate([(0, 1), (1, 3)]);
        trainer.run(2, eleven(), ()).unwrap();
        trainer.progress().step()
    });
    assert_eq!(steps, [6 + 2; 2]);
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let run = |accumulation: Accumulation| trainer(plain()).accumulate(accumulation).run(1, train_data(), ());
    let order = ["give the epochs from which on each number holds in order, from epoch 0 on", "`[(0, 1), (5, 4)]`"];
    fails(run([(5, 4)].into()), &order);
    fails(run([(0, 1), (5, 4), (5, 2)].into()), &order);
    fails(run([(0, 1), (5, 4), (2, 2)].into()), &order);
    fails(run(Vec::new().into()), &order);
    fails(run([(0, 1), (5, 0)].into()), &["at least 1 micro-batch"]);
    let all = on_ranks(2, Reduction::Fast, |_, connected| {
        connected.trainer(plain(), Architecture::Plain).micro_batches([(0, 2), (9, 1)]).run(1, eleven(), ())
    });
    for result in all {
        fails(result, &["2 processes are to share 1 micro-batches"]);
    }
}
