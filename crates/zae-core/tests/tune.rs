//! Looking for the learning rate and the batch size: what is found, and that nothing of it stays.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::{Arc, Mutex};

use support::{ranks::*, *};
use zae_core::{
    data::{DataLoader, Dataset},
    error::Error,
    learner::Clip,
    process_group::Reduction,
    testing::Recorder,
    trainer::Trainer,
    tune::{BatchSizeFinder, LrFinder},
};

fn unscheduled(task: Own) -> Trainer<Own> {
    Trainer::new(task, learner(ARCHITECTURE)).seed(11).handle_signals(false).gradient_clip(Clip::Norm(1.0))
}

#[test]
fn a_range_test_finds_where_the_loss_falls_and_ends_where_it_diverges() {
    let mut found = unscheduled(plain());
    let finder = LrFinder::new().range(1e-6, 1e3).steps(120);
    let curve = found.lr_find(&finder, train_data()).unwrap();
    let rates: Vec<f64> = curve.points.iter().map(|point| point.lr).collect();
    assert!(rates.len() > 60 && rates.len() < 120, "{} points", rates.len());
    assert_eq!(rates[0], 1e-6);
    let factor = 1e9f64.powf(1.0 / 119.0);
    assert!(rates.windows(2).all(|pair| (pair[1] / pair[0] / factor - 1.0).abs() < 1e-9));
    let suggestion = curve.suggestion().unwrap();
    assert!((1e-4..1.0).contains(&suggestion), "{suggestion}");
    // To the end, if that is wanted.
    let all = found.lr_find(&finder.range(1e-6, 1e-3).stop_at(f64::INFINITY), train_data()).unwrap();
    assert_eq!(all.points.len(), 120);
}

#[test]
fn nothing_of_it_stays() {
    let run = |look: bool| {
        let recorder = Recorder::new();
        let mut trainer = unscheduled(plain()).accumulate(2).add_on(recorder.clone());
        if look {
            trainer.lr_find(&LrFinder::new().steps(7), train_data()).unwrap();
            let sizes = BatchSizeFinder::new().range(1, 2).steps(3);
            trainer.scale_batch_size(&sizes, |size| train_data().into_iter().take(size).collect::<Vec<_>>()).unwrap();
            assert_eq!((recorder.get().hooks.len(), trainer.progress().step()), (0, 0));
        }
        let mut trainer = trainer.scheduler(0.01);
        trainer.run(2, train_data(), valid_data()).unwrap();
        if look {
            // In the middle of a run too.
            trainer.lr_find(&LrFinder::new().steps(7), train_data()).unwrap();
        }
        trainer.run(4, train_data(), valid_data()).unwrap();
        let rows = recorder.get().rows.clone();
        (bits_of(&mut trainer), rows)
    };
    assert!(run(true) == run(false));
}

#[test]
fn steps_are_those_of_the_run_that_is_gone_on_with() {
    let mut first = unscheduled(plain()).scheduler(0.01).accumulate(2);
    first.run(1, train_data(), ()).unwrap();
    let seen = Arc::new(Mutex::new(0));
    let count = seen.clone();
    let task = Own::new(move |model, batch, _| {
        *count.lock().unwrap() += 1;
        step(model, batch)
    });
    let mut second = unscheduled(task);
    second.restore(&written(&first.snapshot().unwrap())).unwrap();
    second.lr_find(&LrFinder::new().steps(3), train_data()).unwrap();
    assert_eq!(*seen.lock().unwrap(), 5, "two, two, and the last one of the epoch");
}

#[test]
fn ranks_find_the_same() {
    let look = |connected: &Connected| {
        let mut trainer = connected.with(unscheduled(plain())).micro_batches(2);
        let curve = trainer.lr_find(&LrFinder::new().steps(9), train_data()).unwrap();
        let run = trainer.scheduler(0.01).run(2, train_data(), ()).unwrap();
        (curve.points.len(), format!("{curve:?} {:?}", run.history.without_clock()))
    };
    let one = look(&alone(Reduction::Reproducible));
    assert_eq!(one.0, 9);
    assert!(on_ranks(2, Reduction::Reproducible, |_, connected| look(&connected)).iter().all(|rank| *rank == one));
}

/// Each has a clock and a memory of its own, and would otherwise choose a size of its own.
#[test]
fn ranks_find_the_same_sizes() {
    let all = on_ranks(2, Reduction::Fast, |_, connected| {
        let mut trainer = connected.with(unscheduled(plain()));
        let sizes = BatchSizeFinder::new().range(2, 8).steps(4);
        trainer.scale_batch_size(&sizes, |size| eleven().into_iter().take(size).collect::<Vec<_>>()).unwrap()
    });
    assert_eq!(all[0].tried.len(), 3);
    assert!(all[0].tried.iter().all(|tried| tried.samples_per_second > 0.0));
    assert_eq!(all[0], all[1]);
}

#[test]
fn a_loss_that_is_no_number_ends_the_curve_and_an_error_ends_the_call() {
    let mut trainer = unscheduled(plain());
    let before = weights(&mut trainer);
    let finder = LrFinder::new().range(1.0, 1e38).steps(60).stop_at(f64::INFINITY);
    let curve = trainer.lr_find(&finder, train_data()).unwrap();
    assert!((1..60).contains(&curve.points.len()), "{} points", curve.points.len());
    assert!(curve.points.iter().all(|point| point.smoothed.is_finite()));
    assert!(weights(&mut trainer) == before);
    let task = Own::new(
        |model, batch, at| if at.step < 5 { step(model, batch) } else { Err("there is no such class".into()) },
    );
    let mut trainer = unscheduled(task);
    let error = trainer.lr_find(&LrFinder::new(), train_data()).unwrap_err();
    assert!(error.to_string().contains("there is no such class"), "{error}");
    assert!(weights(&mut trainer) == before);
}

#[test]
fn sizes_are_doubled_until_one_fails() {
    let data = || (0..64u32).collect::<Vec<_>>();
    let make = |size| {
        let samples = |all: Vec<u32>| Ok(batch(zae_core::testing::Samples::random(all.len(), 6, 3, 1)));
        DataLoader::new(data().collate(samples), size)
    };
    let task = Own::new(|model, batch, _| {
        if batch.labels.len() > 20 {
            return Err("out of memory".into());
        }
        step(model, batch)
    });
    let mut trainer = unscheduled(task);
    let found = trainer.scale_batch_size(&BatchSizeFinder::new().range(4, 64).steps(4), make).unwrap();
    let sizes: Vec<usize> = found.tried.iter().map(|tried| tried.batch_size).collect();
    assert_eq!((sizes, found.largest()), (vec![4, 8, 16], Some(16)));
    assert!(found.ended.contains("batches of 32 fail") && found.ended.contains("out of memory"), "{}", found.ended);
    assert!(found.tried.iter().all(|tried| tried.samples_per_second > 0.0));
    assert!(found.fastest().is_some());
    let error = trainer.scale_batch_size(&BatchSizeFinder::new().range(32, 64), make).unwrap_err();
    assert!(error.to_string().contains("out of memory"), "{error}");
    let all = unscheduled(plain()).scale_batch_size(&BatchSizeFinder::new().range(4, 9).steps(3), make).unwrap();
    assert_eq!((all.tried.len(), all.ended.as_str()), (2, "the sizes go up to 9"));
}

#[test]
fn what_cannot_work_is_said_with_its_mend() {
    let mut trainer = unscheduled(plain());
    for (finder, mend) in [
        (LrFinder::new().range(0.0, 1.0), "give two rates above 0"),
        (LrFinder::new().range(1.0, 1e-3), "the lower one first"),
        (LrFinder::new().range(1e-3, f64::NAN), "give two rates"),
        (LrFinder::new().steps(2), "give at least 3"),
        (LrFinder::new().stop_at(1.0), "give more than 1"),
    ] {
        let error = trainer.lr_find(&finder, train_data()).unwrap_err();
        assert!(matches!(&error, Error::Misuse(text) if text.contains(mend)), "{error}");
    }
    for (finder, mend) in
        [(BatchSizeFinder::new().range(0, 4), "at least 1"), (BatchSizeFinder::new().steps(2), "give at least 3")]
    {
        let error = trainer.scale_batch_size(&finder, |_| train_data()).unwrap_err();
        assert!(matches!(&error, Error::Misuse(text) if text.contains(mend)), "{error}");
    }
}
