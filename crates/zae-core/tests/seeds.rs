//! Everything random in a program comes from one seed.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use support::*;
use zae_core::{
    add_on::Phase,
    add_ons::on_run_start,
    data::{Batches, DataLoader, Dataset, Draw, Loader, Sample},
    error::Fallible,
    rng::{Rng, generator_for},
    task::Mode,
    testing::{Recorder, reference::Batch},
};

/// Rows that are looked up, with what an augmentation has drawn for each.
struct Rows(Vec<Batch>, Drawn);

/// What was drawn, by what drew it.
type Drawn = Arc<Mutex<BTreeMap<&'static str, Vec<u64>>>>;

fn draw(drawn: &Drawn, what: &'static str, number: u64) {
    drawn.lock().unwrap().entry(what).or_default().push(number);
}

impl Dataset for Rows {
    type Item = Batch;
    fn len(&self) -> usize {
        self.0.len()
    }
    fn item(&self, at: &Sample) -> Fallible<Batch> {
        draw(&self.1, "order", at.index as u64);
        draw(&self.1, "augmentation", at.rng().next_u64());
        Ok(self.0[at.index].clone())
    }
}

/// A loader of the program's own.
struct Own<L>(L, Drawn);

impl<L: Loader<Batch>> Loader<Batch> for Own<L> {
    fn micro_batches(&self, epoch: u64) -> Option<u64> {
        self.0.micro_batches(epoch)
    }
    fn epoch<'a>(&'a self, at: &Draw) -> Fallible<Batches<'a, Batch>> {
        draw(&self.1, "own loader", at.seed);
        self.0.epoch(at)
    }
}

/// Everything that a program with this seed draws, and what it ends with.
fn program(seed: u64) -> BTreeMap<&'static str, Vec<u64>> {
    let drawn = Drawn::default();
    let rows = Rows(data(&[1; 24], 3), drawn.clone());
    let [train, valid] = rows.random_split([16usize, 8], seed).unwrap();
    for i in 0..8 {
        let item = valid.item(&Sample::new(i)).unwrap();
        draw(&drawn, "split", u64::from(item.inputs[0].to_bits()));
    }
    drawn.lock().unwrap().retain(|what, _| *what == "split");
    draw(&drawn, "by a name", generator_for(seed, "label noise").next_u64());
    let one = |mut rows: Vec<Batch>| Ok(rows.remove(0));
    let train = Own(DataLoader::new(train.collate(one), 2).shuffle(true).workers(0), drawn.clone());
    let to = drawn.clone();
    let task = support::Own::new(move |model, batch, at| {
        let what = match at.mode {
            Mode::Train => "train_step",
            Mode::Evaluate => "test_step",
            Mode::Predict => "predict",
        };
        draw(&to, what, at.rng().next_u64());
        step(model, batch)
    });
    let (recorder, to) = (Recorder::new(), drawn.clone());
    let tell = on_run_start(move |cx| {
        draw(&to, "add-on", cx.seed);
        Ok(())
    });
    let mut trainer = trainer(task).seed(seed).add_on((recorder.clone(), tell.phase(Phase::Report)));
    for bytes in weights(&mut trainer).values().flat_map(|bytes| bytes.as_chunks::<4>().0.to_vec()).take(30) {
        draw(&drawn, "first weights", u64::from(u32::from_le_bytes(bytes)));
    }
    trainer.run(2, &train, valid_data()).unwrap();
    trainer.inference(valid_data()).unwrap();
    let mut drawn = drawn.lock().unwrap().clone();
    drawn.insert("losses", column(&recorder, "train/loss").iter().map(|loss| loss.to_bits()).collect());
    drawn
}

/// Losses of a network whose weights, data and order are the same for both seeds: what is left is dropout.
fn dropout(seed: u64) -> Vec<f64> {
    let mut first = trainer(plain());
    first.run(1, train_data(), ()).unwrap();
    let state = first.state_dict().unwrap();
    let recorder = Recorder::new();
    let mut second = trainer(plain()).seed(seed).add_on(recorder.clone());
    second.load_state_dict(&state).unwrap();
    second.run(1, train_data(), ()).unwrap();
    column(&recorder, "train/loss")
}

#[test]
fn programs_with_the_same_seed_agree_and_with_another_differ_in_everything() {
    let (one, same, other) = (program(42), program(42), program(43));
    let names = [
        "add-on",
        "augmentation",
        "by a name",
        "first weights",
        "losses",
        "order",
        "own loader",
        "predict",
        "split",
        "test_step",
        "train_step",
    ];
    assert_eq!(one.keys().copied().collect::<Vec<_>>(), names);
    assert_eq!(one, same);
    for name in names {
        assert_ne!(one[name], other[name], "{name}");
        assert!(one[name].len() == other[name].len() && !one[name].is_empty(), "{name}");
    }
    assert_eq!(one["augmentation"].len(), 32);
    assert_eq!(dropout(42), dropout(42));
    assert_ne!(dropout(42), dropout(43));
}

#[test]
fn no_two_things_draw_the_same_numbers() {
    let drawn = program(42);
    let streams = ["augmentation", "by a name", "predict", "test_step", "train_step"];
    let mut all: Vec<u64> = streams.iter().flat_map(|name| drawn[name].clone()).collect();
    // The evaluations of both epochs draw the same.
    all.sort_unstable();
    all.dedup();
    let evaluated = valid_data().len();
    assert_eq!(all.len(), streams.iter().map(|name| drawn[name].len()).sum::<usize>() - evaluated);
}
