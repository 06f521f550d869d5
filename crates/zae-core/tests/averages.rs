//! Averages of weights: that they are what the formulas say, where they stand for the model, and that nothing else notices.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use support::*;
use zae_core::{
    add_on::{AddOn, Context, Moment, Notice},
    add_ons::{Ema, Swa},
    engine::Engine,
    error::{Error, Fallible},
    learner::{Learner, Readout, StateDict},
    rng,
    snapshot::Snapshot,
    task::Mode,
    testing::{
        Recorder,
        null::{Echo, Null},
        reference::{Batch, Net, ReferenceDevice},
    },
    trainer::{Every, Trainer},
};

/// All weights of each step, one after another.
type Weights = Arc<Mutex<Vec<Vec<f32>>>>;

fn flat(engine: &mut dyn Engine) -> Fallible<Vec<f32>> {
    let mut all = Vec::new();
    engine.parameters(&mut |_, values| {
        all.extend_from_slice(values);
        Ok(())
    })?;
    Ok(all)
}

fn record(to: &Weights) -> Log {
    let to = to.clone();
    acting("a", move |hook, cx| {
        if hook == "step_end" {
            to.lock().unwrap().push(flat(cx.engine)?);
        }
        Ok(())
    })
}

/// The tensors of a state under `prefix`, by the name that follows.
fn under(state: &StateDict, prefix: &str) -> BTreeMap<String, Vec<f32>> {
    let numbers = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let own = state.tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)));
    own.map(|(name, tensor)| (name.to_owned(), numbers(&tensor.data.bytes().unwrap()))).collect()
}

/// The average of a trainer, in the order of the model.
fn average(trainer: &mut Trainer<Own>, slot: &str) -> Vec<f32> {
    let mut names = Vec::new();
    let state = trainer.state_dict().unwrap();
    let mut own = learner(ARCHITECTURE);
    own.parameters(&mut |info, _| {
        names.push(info.name.to_owned());
        Ok(())
    })
    .unwrap();
    let found = under(&state, &format!("shadow/{slot}/"));
    names.iter().flat_map(|name| found[name].clone()).collect()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-6 * expected.abs().max(1.0), "{found} and {expected}");
    }
}

/// Three epochs of five steps, the weights of each step, and the average kept under the add-on's name.
fn averaged(add_on: impl AddOn) -> (Vec<Vec<f32>>, Vec<f32>) {
    let (weights, name) = (Weights::default(), add_on.name().to_owned());
    let mut trainer = trainer(plain()).add_on((record(&weights), add_on));
    trainer.run(3, train_data(), valid_data()).unwrap();
    let average = average(&mut trainer, &name);
    let weights = std::mem::take(&mut *weights.lock().unwrap());
    assert_eq!(weights.len(), 15);
    (weights, average)
}

/// The average of weights with the decays of each update after the first.
fn by_hand<'a>(weights: impl IntoIterator<Item = &'a Vec<f32>>, decay: impl Fn(usize) -> f64) -> Vec<f64> {
    let mut mean: Vec<f64> = Vec::new();
    for (n, weights) in weights.into_iter().enumerate() {
        let decay = if n == 0 { 0.0 } else { decay(n) };
        mean.resize(weights.len(), 0.0);
        mean.iter_mut().zip(weights).for_each(|(mean, x)| *mean = decay * *mean + (1.0 - decay) * f64::from(*x));
    }
    mean
}

#[test]
fn an_ema_is_what_its_formula_makes_of_the_weights_of_every_step() {
    let ratio = |decay: f64| move |n: usize| decay.min((1.0 + n as f64) / (10.0 + n as f64));
    let (weights, found) = averaged(Ema::new(0.999));
    assert_close(&found, &by_hand(&weights, ratio(0.999)));
    let (weights, found) = averaged(Ema::new(0.3));
    assert_close(&found, &by_hand(&weights, ratio(0.3)));
    let (weights, found) = averaged(Ema::new(0.9).constant());
    assert_close(&found, &by_hand(&weights, |_| 0.9));
    let (weights, found) = averaged(Ema::new(0.7).warmup_power(2.0 / 3.0));
    assert_close(&found, &by_hand(&weights, |n| (1.0 - (1.0 + n as f64).powf(-2.0 / 3.0)).min(0.7)));
    let (weights, found) = averaged(Ema::new(0.8).constant().every(4));
    assert_close(&found, &by_hand([&weights[3], &weights[7], &weights[11]], |_| 0.8));
    let (weights, found) = averaged(Ema::new(0.8).constant().from_step(7));
    assert_close(&found, &by_hand(&weights[6..], |_| 0.8));
    let (weights, found) = averaged(Ema::new(0.8).constant().from_epoch(1).named("late"));
    assert_close(&found, &by_hand(&weights[5..], |_| 0.8));
}

#[test]
fn a_swa_is_the_mean_of_the_weights_after_each_epoch() {
    let equal = |n: usize| n as f64 / (n + 1) as f64;
    let (weights, found) = averaged(Swa::from_epoch(0));
    assert_close(&found, &by_hand([&weights[4], &weights[9], &weights[14]], equal));
    let (weights, found) = averaged(Swa::from_epoch(1));
    assert_close(&found, &by_hand([&weights[9], &weights[14]], equal));
    let (weights, found) = averaged(Swa::from_step(6).every(2));
    assert_close(&found, &by_hand([5, 7, 9, 11, 13].map(|i| &weights[i]), equal));
    let sum = weights[5].iter().zip(&weights[7]).map(|(x, y)| (f64::from(*x) + f64::from(*y)) / 2.0);
    assert_close(
        &averaged(Swa::from_step(6).every(8)).1,
        &weights[7].iter().map(|x| f64::from(*x)).collect::<Vec<_>>(),
    );
    assert!(sum.zip(found).any(|(mean, found)| (mean - f64::from(found)).abs() > 1e-4));
}

/// `tables/averages.py` wrote the table. Tolerance: relative to the largest weight so far, for both round to f32 at each step.
#[test]
fn averages_are_those_of_pytorch() {
    let rows: Vec<[f32; 4]> = include_str!("tables/averages.csv")
        .lines()
        .filter(|line| line.starts_with(|c: char| c == '-' || c.is_ascii_digit()))
        .map(|line| line.split(',').map(|n| n.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap())
        .collect();
    assert_eq!(rows.len(), 24);
    let expected = rows.clone();
    let known = acting("a", move |hook, cx| {
        if hook == "step_end" {
            let [weight, ..] = rows[cx.progress.step() as usize - 1];
            cx.engine.parameters(&mut |_, values| {
                values.fill(weight);
                Ok(())
            })?;
        }
        Ok(())
    });
    let ema = |decay, name: &str| Ema::new(decay).constant().evaluate(false).named(name);
    let mut trainer = trainer(plain()).add_on((known, Swa::from_step(0).every(1), ema(0.9, "x"), ema(0.4, "y")));
    let mut largest = 0.0f32;
    for [weight, numbers @ ..] in expected {
        trainer.run_batch(train_data().remove(0)).unwrap();
        largest = largest.max(weight.abs());
        for (slot, number) in ["swa", "x", "y"].into_iter().zip(numbers) {
            let found = average(&mut trainer, slot);
            let close = |x: &f32| (x - number).abs() <= 4.0 * f32::EPSILON * largest;
            assert!(found.iter().all(close), "{slot}: {} and {number}", found[0]);
        }
    }
}

/// The run but its evaluations and what add-ons keep.
fn trained(trainer: &mut Trainer<Own>) -> BTreeMap<String, Vec<u8>> {
    let mut all = weights(trainer);
    all.retain(|name, _| !name.starts_with("shadow/"));
    all
}

#[test]
fn training_does_not_notice() {
    let mut without = trainer(plain());
    without.run(3, train_data(), valid_data()).unwrap();
    let mut with =
        trainer(plain()).add_on((Ema::new(0.9), Swa::from_epoch(1).evaluate(false))).validate(Every::Steps(2));
    with.run(3, train_data(), valid_data()).unwrap();
    assert!(trained(&mut without) == trained(&mut with));
}

/// A trainer with these weights, and nothing else.
fn bare(weights: &StateDict) -> Trainer<Own> {
    let mut trainer = with_learner(plain(), bare_learner());
    trainer.load_state_dict(weights).unwrap();
    trainer
}

/// What a model makes of the validation data, outside of any trainer.
fn losses(net: &Net) -> Vec<f64> {
    let place = |batch| Batch { device: Some(ReferenceDevice::default()), ..batch };
    let lazy: Vec<_> = valid_data().into_iter().map(|batch| net.loss(&place(batch)).unwrap().0).collect();
    let mut out = Readout::default();
    learner(ARCHITECTURE).read(&lazy, &mut out).unwrap();
    (0..out.len()).map(|i| out.get(i)[0]).collect()
}

#[test]
fn the_average_stands_for_the_model_wherever_it_is_not_trained() {
    let mut trainer = trainer(plain()).add_on(Ema::new(0.99));
    let run = trainer.run(2, train_data(), valid_data()).unwrap();
    let validated = run.history.evaluations.last().unwrap().metrics.clone();
    let state = trainer.state_dict().unwrap();
    let (raw, averaged) = (state.weights(None).unwrap(), state.weights(Some("ema")).unwrap());
    assert!(under(&raw, "model/") != under(&averaged, "model/"));
    assert!(state.weights(Some("swa")).err().unwrap().to_string().contains("{\"ema\"}"));

    let mut alone = bare(&averaged);
    let expected = alone.evaluate_as("valid", valid_data()).unwrap().metrics;
    assert_eq!(validated, expected);
    assert_eq!(trainer.evaluate_as("valid", valid_data()).unwrap().metrics, expected);
    assert_eq!(under(&trainer.weights().unwrap(), "model/"), under(&averaged, "model/"));
    let loss = |trainer: &mut Trainer<Own>| losses(trainer.model().unwrap());
    assert_eq!(loss(&mut trainer), loss(&mut alone));
    // Looked at twice, it is still the average; what is saved is not.
    assert_eq!(loss(&mut trainer), loss(&mut alone));
    assert_eq!(under(&trainer.state_dict().unwrap(), "model/"), under(&raw, "model/"));
    assert_eq!(under(&trainer.snapshot().unwrap().learner, "model/"), under(&raw, "model/"));

    trainer.use_average(false);
    let mut alone = bare(&raw);
    let expected = alone.evaluate_as("valid", valid_data()).unwrap().metrics;
    assert_ne!(validated, expected);
    assert_eq!(trainer.evaluate_as("valid", valid_data()).unwrap().metrics, expected);
    assert_eq!(loss(&mut trainer), loss(&mut alone));
    assert_eq!(under(&trainer.weights().unwrap(), "model/"), under(&raw, "model/"));
    assert_eq!(trainer.snapshot().unwrap().run.average, None);
    trainer.use_average(true);
    assert_eq!(trainer.snapshot().unwrap().run.average.as_deref(), Some("ema"));
    trainer.model().unwrap();
    let mut learner = trainer.into_learner();
    assert_eq!(under(&learner.snapshot().unwrap(), "model/"), under(&raw, "model/"));
}

#[test]
fn a_model_that_leaves_the_trainer_has_the_averaged_weights() {
    let new = || trainer(plain()).add_on(Ema::new(0.99));
    let mut one = new();
    one.run(2, train_data(), ()).unwrap();
    let mut alone = bare(&one.weights().unwrap());
    let model = one.into_model().unwrap();
    assert_eq!(losses(&model), losses(alone.model().unwrap()));
}

/// An evaluation that fails, panics or is refused in the middle leaves the weights as they were.
#[test]
fn whatever_ends_an_evaluation_the_weights_are_back() {
    let mut whole = trainer(plain()).add_on(Ema::new(0.9));
    whole.run(2, train_data(), ()).unwrap();
    let expected = trained(&mut whole);
    for how in ["error", "panic", "add-on"] {
        let task = Own::new(move |model, batch, at| {
            let now = at.mode == Mode::Evaluate && at.cursor.micro_batch == 1;
            match how {
                "error" if now => Err("on purpose".into()),
                "panic" if now => panic!("on purpose"),
                _ => step(model, batch),
            }
        });
        let in_the_way = acting(
            "z",
            move |hook, _| {
                if hook == "pass" && how == "add-on" { Err("on purpose".into()) } else { Ok(()) }
            },
        );
        let seen = Weights::default();
        let last = seen.clone();
        let at_error = acting("y", move |hook, cx| {
            if hook == "error" {
                last.lock().unwrap().push(flat(cx.engine)?);
            }
            Ok(())
        });
        let mut trainer = trainer(task).add_on((Ema::new(0.9), in_the_way, at_error));
        trainer.run(2, train_data(), ()).unwrap();
        fails(trainer.evaluate(valid_data()), &["on purpose"]);
        assert!(trained(&mut trainer) == expected, "after an evaluation, {how}");
        let own: Vec<u8> = seen.lock().unwrap()[0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let all: Vec<&Vec<u8>> =
            expected.iter().filter(|(name, _)| name.starts_with("model/")).map(|(_, own)| own).collect();
        assert!(
            all.iter().all(|tensor| own.windows(tensor.len()).any(|own| own == **tensor)),
            "{how}: add-ons see the average"
        );
        fails(trainer.run(3, train_data(), valid_data()), &["on purpose"]);
        let snapshot = trainer.snapshot().unwrap();
        assert!(snapshot.run.due.evaluation);
        // What it left goes on as if nothing had happened.
        let ended = |snapshot: Option<&Snapshot>| {
            let mut trainer = support::trainer(plain()).add_on((
                Ema::new(0.9),
                acting("y", |_, _| Ok(())),
                acting("z", |_, _| Ok(())),
            ));
            if let Some(snapshot) = snapshot {
                trainer.restore(&written(snapshot)).unwrap();
            } else {
                trainer.run(2, train_data(), ()).unwrap();
            }
            trainer.run(4, train_data(), valid_data()).unwrap();
            bits_of(&mut trainer)
        };
        assert!(ended(Some(&snapshot)) == ended(None), "{how}");
    }
}

/// The suite does the same for an `Ema`.
#[test]
fn a_swa_that_is_cut_anywhere_ends_with_the_same_bits() {
    let new = |recorder: &Recorder| {
        let add_ons = (recorder.clone(), Swa::from_epoch(1), Ema::new(0.9).every(2).evaluate(false));
        trainer(plain()).accumulate(2).validate(Every::Steps(2)).add_on(add_ons)
    };
    let recorder = Recorder::new().with_snapshots();
    let mut whole = new(&recorder);
    whole.run(4, train_data(), valid_data()).unwrap();
    let expected = bits_of(&mut whole);
    let snapshots = std::mem::take(&mut recorder.get().snapshots);
    assert!(snapshots.iter().any(|(moment, snapshot)| *moment == Moment::Step && snapshot.run.due.evaluation));
    for (moment, snapshot) in snapshots {
        let mut again = new(&Recorder::new());
        again.restore(&written(&snapshot)).unwrap();
        // Looked at before it goes on.
        again.model().unwrap();
        again.run(4, train_data(), valid_data()).unwrap();
        assert!(bits_of(&mut again) == expected, "cut at {moment:?}, step {}", snapshot.run.progress.step());
    }
}

/// In one process or in several, in one call or in many.
#[test]
fn a_program_may_look_at_the_average_and_train_on() {
    let new = || trainer(plain()).add_on(Ema::new(0.9));
    let mut whole = new();
    whole.run(4, train_data(), ()).unwrap();
    let mut parts = new();
    for epoch in 1..=4 {
        parts.model().unwrap();
        parts.run(epoch, train_data(), ()).unwrap();
        parts.evaluate(valid_data()).unwrap();
        parts.model().unwrap();
    }
    assert!(bits_of(&mut whole).tensors == bits_of(&mut parts).tensors);
    assert_eq!(parts.get::<Ema>().unwrap().updates(), 20);
    parts.model().unwrap();
    parts.run_batch(train_data().remove(0)).unwrap();
    whole.run_batch(train_data().remove(0)).unwrap();
    assert!(bits_of(&mut whole).tensors == bits_of(&mut parts).tensors);
}

/// What people were told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Notice>>>);

impl AddOn for Told {
    fn name(&self) -> &'static str {
        "told"
    }
    fn on_notice(&mut self, notice: &Notice, _: &mut Context<'_>) -> Fallible {
        self.0.lock().unwrap().push(notice.clone());
        Ok(())
    }
}

#[test]
fn a_run_gets_an_average_later_and_may_lose_it_in_between() {
    let mut first = trainer(plain());
    first.run(1, train_data(), ()).unwrap();
    let without = first.snapshot().unwrap();

    // Installed on a resume: it begins there.
    let told = Told::default();
    let mut second = trainer(plain()).add_on((Ema::new(0.9).constant(), told.clone()));
    second.restore(&written(&without)).unwrap();
    second.run(2, train_data(), ()).unwrap();
    assert_eq!(second.get::<Ema>().unwrap().updates(), 5);
    let with = second.snapshot().unwrap();

    // Taken out: what there is stays as it is, and is not evaluated.
    let mut third = trainer(plain());
    third.restore(&written(&with)).unwrap();
    let evaluated = third.evaluate(valid_data()).unwrap().metrics;
    assert_eq!(evaluated, bare(&with.learner.weights(None).unwrap()).evaluate(valid_data()).unwrap().metrics);
    third.run(3, train_data(), ()).unwrap();
    assert_eq!(under(&third.state_dict().unwrap(), "shadow/"), under(&with.learner, "shadow/"));
    assert_eq!(third.snapshot().unwrap().run.average, None);
    assert!(told.0.lock().unwrap().is_empty());

    // Installed again: that it has missed steps is told, and it begins anew.
    let weights = Weights::default();
    let mut fourth = trainer(plain()).add_on((Ema::new(0.9).constant(), told.clone(), record(&weights)));
    fourth.restore(&written(&third.snapshot().unwrap())).unwrap();
    fourth.run(4, train_data(), ()).unwrap();
    assert_close(&average(&mut fourth, "ema"), &by_hand(&*weights.lock().unwrap(), |_| 0.9));
    let text = "the run went on from step 10 to step 15 without the average `ema`, which begins anew";
    assert_eq!(*told.0.lock().unwrap(), [Notice::Warning(text.to_owned())]);
}

#[test]
fn other_weights_have_another_average() {
    let weights = Weights::default();
    let mut trainer = trainer(plain()).add_on((Ema::new(0.9).constant(), record(&weights)));
    let fresh = trainer.state_dict().unwrap();
    trainer.run(1, train_data(), ()).unwrap();
    trainer.model().unwrap();
    trainer.load_state_dict(&fresh).unwrap();
    // Until there is a new one, the weights themselves are evaluated.
    let expected = bare(&fresh.weights(None).unwrap()).evaluate(valid_data()).unwrap().metrics;
    assert_eq!(trainer.evaluate(valid_data()).unwrap().metrics, expected);
    assert_eq!(trainer.snapshot().unwrap().run.average, None);
    trainer.run(2, train_data(), valid_data()).unwrap();
    assert_eq!(trainer.get::<Ema>().unwrap().updates(), 5);
    assert_close(&average(&mut trainer, "ema"), &by_hand(&weights.lock().unwrap()[5..], |_| 0.9));
}

#[test]
fn what_cannot_work_is_said_with_its_mend() {
    let run = |add_on: Box<dyn AddOn>| trainer(plain()).add_on(add_on).run(1, train_data(), ());
    for decay in [1.0, -0.1, f64::NAN, 1.5] {
        fails(run(Box::new(Ema::new(decay))), &[&format!("`Ema::new({decay})`"), "such as 0.999"]);
    }
    for power in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        fails(run(Box::new(Ema::new(0.9).warmup_power(power))), &["`.warmup_power(", "above 0"]);
    }
    fails(run(Box::new(Ema::new(0.9).every(0))), &["`.every(0)`", "at least 1"]);
    fails(run(Box::new(Swa::from_epoch(0).every(0))), &["`.every(0)`", "at least 1"]);
    fails(run(Box::new(Swa::from_epoch(0).named("a/b"))), &["`.named(\"a/b\")`"]);
    let both = trainer(plain()).add_on((Ema::new(0.9), Swa::from_epoch(0))).run(1, train_data(), ());
    let message = fails(both, &["`ema` and `swa`", "`.evaluate(false)`"]);
    assert!(message.starts_with("the run cannot start"), "{message}");
    let twice = trainer(plain()).add_on((Ema::new(0.9), Ema::new(0.5).evaluate(false))).run(1, train_data(), ());
    fails(twice, &["two add-ons are named `ema`"]);
    // Before the first step, though the average would begin much later.
    let data = || vec![1.0, 2.0];
    let mut null = Trainer::new(Echo, Null::default()).scheduler(0.1).handle_signals(false);
    null = null.add_on(Ema::new(0.9).from_epoch(50));
    let error = null.run(1, data(), ()).unwrap_err();
    assert!(matches!(&error, Error::AddOn { name, .. } if name == "ema"), "{error}");
    assert!(error.to_string().contains("the engine `null` keeps no second set of weights"), "{error}");
    assert_eq!(null.progress().step(), 0);
}

/// Each batch's own statistics, from one step of the running ones.
fn statistics_of_batches(weights: &StateDict, seed: u64) -> Vec<f64> {
    let mut sum = Vec::new();
    for (i, batch) in train_data().into_iter().enumerate() {
        let mut net = bare_learner();
        net.init(1).unwrap();
        net.load(weights).unwrap();
        net.seed(rng::seed_for(seed, 0, i as u64));
        let batch = net.place(batch, Mode::Train);
        let before = under(&net.snapshot().unwrap(), "model/norm.running");
        net.train(|model| step(model, batch).map(|_| ())).unwrap().unwrap();
        let after = under(&net.snapshot().unwrap(), "model/norm.running");
        let own = before.values().flatten().zip(after.values().flatten());
        let own: Vec<f64> = own.map(|(r, s)| (f64::from(*s) - 0.9 * f64::from(*r)) / 0.1).collect();
        sum.resize(own.len(), 0.0);
        sum.iter_mut().zip(&own).for_each(|(sum, x)| *sum += x / train_data().len() as f64);
    }
    sum
}

#[test]
fn update_bn_is_the_mean_over_all_batches_for_the_averaged_weights() {
    let mut trainer = trainer(plain()).add_on(Swa::from_epoch(1));
    trainer.run(3, train_data(), ()).unwrap();
    let expected = statistics_of_batches(&trainer.weights().unwrap(), 11);
    let before = trainer.state_dict().unwrap();
    trainer.update_bn(train_data()).unwrap();
    let after = trainer.state_dict().unwrap();
    let found: Vec<f32> = under(&trainer.weights().unwrap(), "model/norm.running").into_values().flatten().collect();
    for (found, expected) in found.iter().zip(&expected) {
        assert!((f64::from(*found) - expected).abs() < 2e-5 * expected.abs().max(1.0), "{found} and {expected}");
    }
    // Nothing else.
    assert_eq!(under(&before, "model/"), under(&after, "model/"));
    assert_eq!(under(&before, "optimizer/"), under(&after, "optimizer/"));
    let parameters = |state: &StateDict| {
        let mut all = under(state, "shadow/swa/");
        all.retain(|name, _| !name.contains("running"));
        all
    };
    assert_eq!(parameters(&before), parameters(&after));
    assert_ne!(under(&before, "shadow/"), under(&after, "shadow/"));
    // Again, from where it is, it is the same.
    for _ in 0..3 {
        trainer.update_bn(train_data()).unwrap();
    }
    let again: Vec<f32> = under(&trainer.weights().unwrap(), "model/norm.running").into_values().flatten().collect();
    for (again, found) in again.iter().zip(&found) {
        assert!((again - found).abs() < 2e-5 * found.abs().max(1.0), "{again} and {found}");
    }
    // Without an average, for the weights themselves; without batch norm, nothing.
    trainer.use_average(false);
    let expected = statistics_of_batches(&trainer.weights().unwrap(), 11);
    trainer.update_bn(train_data()).unwrap();
    let found: Vec<f32> = under(&trainer.state_dict().unwrap(), "model/norm.running").into_values().flatten().collect();
    for (found, expected) in found.iter().zip(&expected) {
        assert!((f64::from(*found) - expected).abs() < 2e-5 * expected.abs().max(1.0), "{found} and {expected}");
    }
    let mut plain = with_learner(support::plain(), learner(zae_core::testing::Architecture::Plain));
    let before = weights(&mut plain);
    plain.update_bn(train_data()).unwrap();
    assert!(weights(&mut plain) == before);
    fails(trainer.update_bn(Vec::new()), &["`update_bn` has no batch"]);
}
