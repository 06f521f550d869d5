//! One value holds a run: every bit of it comes back, and nothing that follows changes it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use proptest::prelude::*;
use support::*;
use zae_core::{
    add_on::{AddOn, Context, Durable},
    add_ons::EarlyStopping,
    data::{DataLoader, Dataset, Loader, from_fn},
    error::Fallible,
    learner::Clip,
    metrics::{EpochSummary, Evaluation},
    schedule::{Cosine, ScheduleAt},
    snapshot::{RunState, Snapshot},
    state::State,
    testing::null::{Echo, Null},
    trainer::{Outcome, Trainer, Until},
};

/// Any 64 bits, and often those that other formats lose.
fn numbers() -> impl Strategy<Value = f64> {
    let special = [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MIN_POSITIVE / 4.0, f64::MAX];
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        prop::sample::select(special.to_vec()),
        // Not numbers, with a payload, quiet and signalling.
        (1u64..1 << 52, any::<bool>())
            .prop_map(|(payload, minus)| { f64::from_bits(0x7ff << 52 | payload | u64::from(minus) << 63) }),
    ]
}

fn bits_64(values: &[f64]) -> Vec<u64> {
    values.iter().map(|x| x.to_bits()).collect()
}

proptest! {
    #[test]
    fn every_number_comes_back_bit_for_bit(values in prop::collection::vec(numbers(), 6)) {
        let back: Vec<f64> = State::encode(&values).unwrap().decode().unwrap();
        prop_assert_eq!(bits_64(&back), bits_64(&values));

        let mut evaluation = Evaluation::default();
        evaluation.metrics.insert("valid/loss".to_owned(), values[0]);
        evaluation.counts.insert("valid/hits".to_owned(), values.clone());
        evaluation.samples = values[1];
        let mut epoch = EpochSummary::default();
        epoch.metrics.insert("train/loss".to_owned(), values[2]);
        epoch.lr = values[3];
        let mut run = RunState::default();
        run.unit = Some(values[4]);
        run.lr = values[5];
        run.history.evaluations.push(evaluation);
        run.history.epochs.push(epoch);
        run.add_ons.insert("a".to_owned(), State::encode(&(Some(values[0]), &values)).unwrap());
        run.schedule = Some(State::encode(&values[1]).unwrap());
        let back: RunState = State::encode(&run).unwrap().decode().unwrap();
        let (evaluation, epoch) = (&back.history.evaluations[0], &back.history.epochs[0]);
        let found = [
            evaluation.metrics["valid/loss"], evaluation.samples, epoch.metrics["train/loss"], epoch.lr,
            back.unit.unwrap(), back.lr,
        ];
        prop_assert_eq!(bits_64(&found), bits_64(&values));
        prop_assert_eq!(bits_64(&evaluation.counts["valid/hits"]), bits_64(&values));
        let (first, all): (Option<f64>, Vec<f64>) = back.add_ons["a"].decode().unwrap();
        prop_assert_eq!((first.unwrap().to_bits(), bits_64(&all)), (values[0].to_bits(), bits_64(&values)));
        prop_assert_eq!(back.schedule.unwrap().decode::<f64>().unwrap().to_bits(), values[1].to_bits());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Sums, counts, history and progress of a real run: cut in the middle of its second epoch, written and read, the run
    /// ends as if it had not been.
    #[test]
    fn a_run_with_any_metrics_goes_on_bit_for_bit(
        values in prop::collection::vec(numbers(), 5), weights in prop::collection::vec(0.001f64..1e9, 5), cut in 1u64..10,
    ) {
        let task = || {
            let (values, weights) = (values.clone(), weights.clone());
            Own::new(move |model, batch, at| {
                let i = at.cursor.micro_batch as usize;
                let (loss, _) = model.loss(&batch)?;
                let step = zae_core::step::Step::weighted(loss, weights[i]);
                Ok(step.number("x", values[i]).count("n", model.constant(&[values[i], 1.0])))
            })
        };
        let mut whole = trainer(task());
        whole.run(2, train_data(), valid_data()).unwrap();
        let mut first = trainer(task());
        first.run(Until::steps(cut), train_data(), valid_data()).unwrap();
        let snapshot = first.snapshot().unwrap();
        let read = written(&snapshot);
        prop_assert_eq!(State::encode(&read.run.totals).unwrap(), State::encode(&snapshot.run.totals).unwrap());
        prop_assert!(bits(&read) == bits(&snapshot));
        let mut second = trainer(task());
        second.restore(&read).unwrap();
        second.run(2, train_data(), valid_data()).unwrap();
        prop_assert_eq!(bits_of(&mut second).run, bits_of(&mut whole).run);
        prop_assert!(bits_of(&mut second) == bits_of(&mut whole));
    }
}

#[test]
fn later_training_does_not_change_a_snapshot() {
    let mut trainer = trainer(plain()).accumulate(2);
    let mut taken = Vec::new();
    for steps in [0, 1, 3, 4] {
        trainer.run(Until::steps(steps), train_data(), valid_data()).unwrap();
        let snapshot = trainer.snapshot().unwrap();
        taken.push((bits(&snapshot), snapshot));
    }
    trainer.run(4, train_data(), valid_data()).unwrap();
    let whole = bits_of(&mut trainer);
    for (before, snapshot) in &taken {
        assert_eq!(bits(snapshot), *before);
        // A run can be taken back, by the same trainer, to any of them.
        trainer.restore(snapshot).unwrap();
        assert_eq!(bits_of(&mut trainer), *before);
        trainer.run(4, train_data(), valid_data()).unwrap();
        assert_eq!(bits_of(&mut trainer), whole);
    }
}

#[test]
fn a_loader_without_a_length_is_gone_on_with_in_the_middle() {
    let train = || from_fn(|epoch| data(&[3, 2, 4, 2], epoch).into_iter().map(Ok));
    let mut whole = trainer(plain());
    whole.run(3, train(), ()).unwrap();
    for cut in [1, 4, 6, 11] {
        let mut first = trainer(plain());
        first.run(Until::steps(cut), train(), ()).unwrap();
        let mut second = trainer(plain());
        second.restore(&written(&first.snapshot().unwrap())).unwrap();
        second.run(3, train(), ()).unwrap();
        assert_eq!(bits_of(&mut second), bits_of(&mut whole), "cut after step {cut}");
    }
}

/// What happened to the add-ons called so, by name.
type Told = Arc<Mutex<BTreeMap<String, Vec<f64>>>>;

/// Sums learning rates, with a weight of its own, and tells what it was restored to.
struct Sums {
    name: &'static str,
    weight: f64,
    sum: f64,
    told: Told,
}

impl Sums {
    fn new(name: &'static str, weight: f64, told: &Told) -> Self {
        Self { name, weight, sum: 0.0, told: told.clone() }
    }
}

impl AddOn for Sums {
    fn name(&self) -> &str {
        self.name
    }
    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.sum += self.weight * cx.lr / (1 + cx.progress.step()) as f64;
        Ok(())
    }
    fn state(&self) -> Fallible<Option<State>> {
        Ok(Some(State::encode(&self.sum)?))
    }
    fn restore(&mut self, state: &State) -> Fallible {
        self.sum = state.decode()?;
        self.told.lock().unwrap().entry(self.name.to_owned()).or_default().push(self.sum);
        Ok(())
    }
    fn durable(&self) -> Option<Durable> {
        let (told, name) = (self.told.clone(), self.name);
        Some(Arc::new(move || {
            told.lock().unwrap().entry(name.to_owned()).or_default().push(-1.0);
            Ok(())
        }))
    }
}

fn sum(snapshot: &Snapshot, name: &str) -> f64 {
    snapshot.run.add_ons[name].decode().unwrap()
}

#[test]
fn states_of_add_ons_are_found_by_name() {
    let told = Told::default();
    let (a, b) = (|| Sums::new("a", 1.0, &told), || Sums::new("b", 10.0, &told));
    let stop = || EarlyStopping::new("valid/loss").patience(2).min_delta(100.0);
    let mut whole = trainer(plain()).add_on((a(), b(), stop()));
    let run = whole.run(9, train_data(), valid_data()).unwrap();
    assert!(matches!(&run.outcome, Outcome::Stopped(reason) if reason.contains("valid/loss")));
    assert_eq!(run.history.epochs.len(), 3);
    let mut first = trainer(plain()).add_on((a(), b(), stop()));
    first.run(Until::steps(7), train_data(), valid_data()).unwrap();
    let snapshot = first.snapshot().unwrap();
    assert!(told.lock().unwrap().is_empty(), "nobody was restored");
    // Installed in another order, with one more that has no state there.
    let mut second = trainer(plain()).add_on(Sums::new("c", 1.0, &told)).add_on((stop(), b(), a()));
    second.restore(&written(&snapshot)).unwrap();
    let expected = ["a", "b"].map(|name| (name.to_owned(), vec![sum(&snapshot, name)]));
    assert_eq!(*told.lock().unwrap(), BTreeMap::from(expected));
    assert_eq!(second.run(9, train_data(), valid_data()).unwrap().outcome, run.outcome);
    let (end, whole_end) = (second.snapshot().unwrap(), whole.snapshot().unwrap());
    assert_eq!(bits(&end).tensors, bits(&whole_end).tensors);
    for name in ["a", "b"] {
        assert_eq!(sum(&end, name).to_bits(), sum(&whole_end, name).to_bits());
    }
    assert!(sum(&end, "c") > 0.0 && sum(&end, "c") < sum(&end, "a"), "the new one began at the cut");
}

#[test]
fn states_of_add_ons_that_are_away_are_carried_on() {
    let told = Told::default();
    let mut first = trainer(plain()).add_on((Sums::new("a", 1.0, &told), Sums::new("b", 2.0, &told)));
    first.run(Until::steps(3), train_data(), ()).unwrap();
    let first = first.snapshot().unwrap();
    // `b` is away for a while.
    let mut second = trainer(plain()).add_on(Sums::new("a", 1.0, &told));
    second.restore(&written(&first)).unwrap();
    second.run(Until::steps(6), train_data(), ()).unwrap();
    let second = second.snapshot().unwrap();
    assert_eq!(second.run.add_ons["b"], first.run.add_ons["b"]);
    assert_ne!(second.run.add_ons["a"], first.run.add_ons["a"]);
    told.lock().unwrap().clear();
    let mut third = trainer(plain()).add_on(Sums::new("b", 2.0, &told));
    third.restore(&written(&second)).unwrap();
    assert_eq!(told.lock().unwrap()["b"], [sum(&first, "b")]);
    third.run(Until::steps(7), train_data(), ()).unwrap();
    let third = third.snapshot().unwrap();
    assert_eq!(third.run.add_ons["a"], second.run.add_ons["a"]);
    assert_ne!(third.run.add_ons["b"], second.run.add_ons["b"]);
}

#[test]
fn a_snapshot_brings_what_has_to_be_durable_before_it() {
    let told = Told::default();
    let mut trainer = trainer(plain()).add_on((Sums::new("a", 1.0, &told), stop_at(99), Sums::new("b", 1.0, &told)));
    trainer.run(Until::steps(3), train_data(), ()).unwrap();
    let snapshot = trainer.snapshot().unwrap();
    assert_eq!(snapshot.durable.len(), 2);
    snapshot.durable.iter().for_each(|durable| durable().unwrap());
    let expected = ["a", "b"].map(|name| (name.to_owned(), vec![-1.0]));
    assert_eq!(*told.lock().unwrap(), BTreeMap::from(expected));
}

#[test]
fn a_stopped_run_stays_stopped() {
    let mut first = trainer(plain()).add_on(stop_at(7));
    first.run(3, train_data(), ()).unwrap();
    let mut second = trainer(plain());
    second.restore(&written(&first.snapshot().unwrap())).unwrap();
    let outcome = second.run(3, train_data(), ()).unwrap().outcome;
    assert!(matches!(&outcome, Outcome::AlreadyStopped(reason) if !reason.is_empty()), "{outcome:?}");
    assert_eq!(second.progress().step(), 7);
    let mut second = second.continue_stopped();
    assert_eq!(second.run(3, train_data(), ()).unwrap().outcome, Outcome::Complete);
    assert_eq!(second.progress().step(), 15);
}

#[test]
fn time_is_counted_over_all_processes() {
    let mut first = trainer(plain());
    first.run(1, train_data(), ()).unwrap();
    let spent = first.progress().elapsed();
    assert!(!spent.is_zero());
    let mut second = trainer(plain());
    second.restore(&written(&first.snapshot().unwrap())).unwrap();
    assert_eq!(second.progress().elapsed(), spent);
    assert_eq!(second.run(Until::time(spent), train_data(), ()).unwrap().outcome, Outcome::OutOfTime);
    assert!(second.progress().elapsed() > spent);
    assert_eq!(second.progress().step(), 5);
}

/// A setting that decides where the run ends is compared with the saved run's, by name.
#[test]
fn a_resumed_run_that_is_set_up_otherwise_is_refused() {
    let data = |batch_size: usize| {
        DataLoader::new((0..20u32).collect::<Vec<_>>().collate(|all| Ok(all.len() as f64)), batch_size)
    };
    let trainer = |schedule: Cosine| {
        Trainer::new(Echo, Null::default()).scheduler(schedule).gradient_clip(Clip::Norm(1.0)).handle_signals(false)
    };
    let mut first = trainer(Cosine::new(0.1));
    first.run(2, data(4), ()).unwrap();
    let snapshot = first.snapshot().unwrap();
    let again = |trainer: Trainer<Echo>, batch_size: usize, epochs: u64| {
        let mut trainer = trainer;
        trainer.restore(&snapshot).unwrap();
        trainer.run(epochs, data(batch_size), ()).map(|_| trainer.progress().step()).map_err(|e| e.to_string())
    };
    let refused = |found: Result<u64, String>, words: &[&str]| {
        let message = found.unwrap_err();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    let cosine = Cosine::new(0.1);
    assert_eq!(again(trainer(cosine), 4, 2), Ok(10), "the same settings, and nothing left to do");
    assert_eq!(again(trainer(cosine.over(10)), 4, 3), Ok(15), "the length that the schedule had");
    refused(again(trainer(cosine), 4, 3), &["`total_steps` 10, this one 15", "`.over(10)`", "`.fresh()`"]);
    refused(again(trainer(Cosine::new(0.2)), 4, 3), &["`schedule`", "max: 0.1", "max: 0.2"]);
    refused(again(trainer(cosine.over(11)), 4, 3), &["`schedule`", "Some(10)", "Some(11)"]);
    refused(again(trainer(cosine.over(10)), 5, 3), &["`batch_size` 4, this one 5"]);
    refused(
        again(trainer(cosine.over(10)).gradient_clip(Clip::None), 4, 3),
        &["`gradient_clip` Norm(1.0), this one None"],
    );
    // What only one of them has is a change too.
    let told = |schedule: Cosine, snapshot: &Snapshot, limit: Option<u64>| {
        let mut trainer = trainer(schedule);
        trainer.restore(snapshot).unwrap();
        match limit {
            Some(limit) => trainer.run(3, Loader::<f64>::limit(data(4), limit), ()),
            None => trainer.run(3, data(4), ()),
        }
        .map(|_| trainer.progress().step())
        .map_err(|e| e.to_string())
    };
    refused(told(cosine.over(10), &snapshot, Some(2)), &["`limit` none, this one 2", "`.accept_change(\"limit\")`"]);
    let mut limited = trainer(cosine.over(10));
    limited.run(2, Loader::<f64>::limit(data(4), 2), ()).unwrap();
    let limited = limited.snapshot().unwrap();
    refused(told(cosine.over(10), &limited, None), &["`limit` 2, this one none"]);
    assert_eq!(told(cosine.over(10), &limited, Some(2)), Ok(6));
    let closure = Trainer::new(Echo, Null::default()).scheduler(|_: &ScheduleAt| 0.1).gradient_clip(Clip::Norm(1.0));
    refused(again(closure.handle_signals(false), 4, 3), &["`schedule` Cosine", "this one none"]);
    // Loaders that tell nothing can only be counted.
    let mut told_nothing = trainer(cosine.over(10));
    told_nothing.restore(&snapshot).unwrap();
    told_nothing.run(3, from_fn(|_| (0..5).map(|_| Ok(4.0))), ()).unwrap();
    assert_eq!(again(trainer(cosine).accept_change("total_steps"), 4, 3), Ok(15));
    assert_eq!(again(trainer(Cosine::new(0.2).over(10)).accept_change("schedule"), 4, 3), Ok(15));
    assert_eq!(again(trainer(cosine.over(10)).accept_change("batch_size"), 5, 3), Ok(14));
}
