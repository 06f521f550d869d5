//! What holds for any schedule with settings that can be meant, however it is put together.

#![allow(clippy::panic, clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use support::column;
use zae_core::{
    data::{DataLoader, Dataset, Loader},
    error::Error,
    metrics::Evaluation,
    schedule::{
        Anneal, Cosine, Cyclic, Exponential, InverseSqrt, Linear, MultiStep, OneCycle, Polynomial, ReduceOnPlateau,
        Schedule, ScheduleAt, StepDecay,
    },
    testing::{
        Recorder,
        null::{Echo, Null},
    },
    trainer::{Trainer, Until},
};

/// A schedule that can be built again.
#[derive(Clone, Debug)]
enum Plan {
    Constant(f64),
    Cosine(f64, f64),
    Linear(f64, f64),
    Polynomial(f64, f64, f64),
    InverseSqrt(f64, u64),
    OneCycle(f64, f64, f64, f64, Anneal, bool),
    Cyclic(f64, f64, u64, u64, u8, f64),
    StepDecay(f64, u64, f64),
    MultiStep(f64, Vec<u64>, f64),
    Exponential(f64, f64),
    Over(Box<Plan>, u64),
    Warmup(Box<Plan>, u64),
    Cooldown(Box<Plan>, u64, Anneal, f64),
    Restarts(Box<Plan>, u64, u64),
    Then(Box<Plan>, u64, Box<Plan>, u64, Box<Plan>),
    Times(Box<Plan>, Box<Plan>),
    PerEpoch(Box<Plan>, u64),
    Plateau(Box<Plan>, f64, u64, f64),
}

impl Plan {
    fn build(&self) -> Box<dyn Schedule> {
        match self {
            Self::Constant(lr) => Box::new(*lr),
            Self::Cosine(lr, min) => Box::new(Cosine::new(*lr).min_lr(*min)),
            Self::Linear(from, to) => Box::new(Linear::new(*from, *to)),
            Self::Polynomial(lr, power, min) => Box::new(Polynomial::new(*lr).power(*power).min_lr(*min)),
            Self::InverseSqrt(lr, timescale) => Box::new(InverseSqrt::new(*lr, *timescale)),
            Self::OneCycle(lr, pct, div, last, anneal, three) => {
                let cycle = OneCycle::new(*lr).div_factor(*div).final_div_factor(*last).anneal(*anneal);
                Box::new(if *three { cycle.three_phase().pct_start(pct / 2.0) } else { cycle.pct_start(*pct) })
            }
            Self::Cyclic(base, max, up, down, mode, gamma) => {
                let cyclic = Cyclic::new(*base, *max, *up).step_size_down(*down);
                Box::new(match mode {
                    0 => cyclic,
                    1 => cyclic.triangular2(),
                    _ => cyclic.exp_range(*gamma),
                })
            }
            Self::StepDecay(lr, every, gamma) => Box::new(StepDecay::new(*lr, *every, *gamma)),
            Self::MultiStep(lr, milestones, gamma) => Box::new(MultiStep::new(*lr, milestones.clone(), *gamma)),
            Self::Exponential(lr, gamma) => Box::new(Exponential::new(*lr, *gamma)),
            Self::Over(inner, length) => Box::new(inner.build().over(*length)),
            Self::Warmup(inner, steps) => Box::new(inner.build().warmup(*steps)),
            Self::Cooldown(inner, steps, anneal, ratio) => {
                Box::new(inner.build().cooldown(*steps).anneal(*anneal).min_ratio(*ratio))
            }
            Self::Restarts(inner, every, mult) => Box::new(inner.build().restarts(*every).mult(*mult)),
            Self::Then(a, first, b, more, c) => {
                Box::new(a.build().then(*first, b.build()).then(first.saturating_add(*more), c.build()))
            }
            Self::Times(a, b) => Box::new(a.build().times(b.build())),
            Self::PerEpoch(inner, epochs) => Box::new(inner.build().per_epoch().over(*epochs)),
            Self::Plateau(inner, factor, patience, min) => {
                Box::new(ReduceOnPlateau::new(inner.build()).factor(*factor).patience(*patience).min_lr(*min))
            }
        }
    }
}

fn plans() -> impl Strategy<Value = Plan> {
    let rate = || prop_oneof![Just(0.0), Just(1e6), 0.0..1.0];
    let part = || prop_oneof![Just(0.0), Just(1.0), 0.0..1.0];
    let divisor = || prop_oneof![1e-3..1.0, 1.0..1e6];
    let steps = || prop_oneof![1u64..30, 1u64..5_000, Just(1 << 62)];
    let anneal = || prop::sample::select(vec![Anneal::Linear, Anneal::Cosine, Anneal::OneMinusSqrt]);
    let leaf = prop_oneof![
        rate().prop_map(Plan::Constant),
        (rate(), rate()).prop_map(|(lr, min)| Plan::Cosine(lr, min)),
        (rate(), rate()).prop_map(|(from, to)| Plan::Linear(from, to)),
        (rate(), 0.01..20.0, rate()).prop_map(|(lr, power, min)| Plan::Polynomial(lr, power, min)),
        (rate(), steps()).prop_map(|(lr, timescale)| Plan::InverseSqrt(lr, timescale)),
        (rate(), part(), divisor(), divisor(), anneal(), any::<bool>())
            .prop_map(|(lr, pct, div, last, anneal, three)| Plan::OneCycle(lr, pct, div, last, anneal, three)),
        (rate(), rate(), steps(), steps(), 0..3u8, part())
            .prop_map(|(base, max, up, down, mode, gamma)| Plan::Cyclic(base, max, up, down, mode, gamma)),
        (rate(), steps(), part()).prop_map(|(lr, every, gamma)| Plan::StepDecay(lr, every, gamma)),
        (rate(), prop::collection::vec(steps(), 0..4), part())
            .prop_map(|(lr, at, gamma)| Plan::MultiStep(lr, at, gamma)),
        (rate(), part()).prop_map(|(lr, gamma)| Plan::Exponential(lr, gamma)),
    ];
    // What reacts cannot be a part of what begins anew.
    let pure = leaf.prop_recursive(3, 12, 3, move |inner| {
        let boxed = move || inner.clone().prop_map(Box::new);
        prop_oneof![
            (boxed(), steps()).prop_map(|(plan, length)| Plan::Over(plan, length)),
            (boxed(), steps()).prop_map(|(plan, steps)| Plan::Warmup(plan, steps)),
            (boxed(), steps(), anneal(), part())
                .prop_map(|(plan, n, anneal, part)| Plan::Cooldown(plan, n, anneal, part)),
            (boxed(), steps(), 1..4u64).prop_map(|(plan, every, mult)| Plan::Restarts(plan, every, mult)),
            (boxed(), steps(), boxed(), steps(), boxed()).prop_map(|(a, n, b, m, c)| Plan::Then(a, n, b, m, c)),
            (boxed(), boxed()).prop_map(|(a, b)| Plan::Times(a, b)),
            (boxed(), 1..9u64).prop_map(|(plan, epochs)| Plan::PerEpoch(plan, epochs)),
        ]
    });
    prop_oneof![
        pure.clone(),
        (pure.clone(), 0.01..0.99, 0..3u64, part()).prop_map(|(plan, f, n, min)| Plan::Plateau(
            Box::new(plan),
            f,
            n,
            min
        )),
        (pure.clone(), pure, 0.01..0.99, 0..3u64).prop_map(|(a, b, factor, patience)| {
            let plateau = Plan::Plateau(Box::new(b), factor, patience, 0.0);
            Plan::Warmup(Box::new(Plan::Times(Box::new(a), Box::new(plateau))), 3)
        }),
    ]
}

fn at(step: u64, total: u64) -> ScheduleAt {
    ScheduleAt::new(step, Some(total), step / total.div_ceil(5), Some(5))
}

fn validation(loss: f64) -> Evaluation {
    let mut evaluation = Evaluation::default();
    evaluation.metrics.insert("valid/loss".to_owned(), loss);
    evaluation
}

proptest! {
    #[test]
    fn rates_are_finite_and_not_negative(plan in plans(), total in 1u64..400, far in any::<u64>()) {
        let schedule = plan.build();
        schedule.check().unwrap();
        for step in (0..total + 20).chain([far, u64::MAX]) {
            let lr = schedule.lr(&at(step, total));
            prop_assert!(lr.is_finite() && lr >= 0.0, "step {step} of {total}: {lr}");
        }
        prop_assert!(schedule.plot(total, 5, (20, 3)).lines().count() == 5);
    }

    #[test]
    fn a_restored_schedule_goes_on_the_same(
        plan in plans(),
        losses in prop::collection::vec(0.0..1.0, 1..30),
        cut in any::<prop::sample::Index>(),
    ) {
        let total = losses.len() as u64;
        let [mut whole, mut first, mut second] = [plan.build(), plan.build(), plan.build()];
        let step = |schedule: &mut Box<dyn Schedule>, step: usize| {
            let lr = schedule.lr(&at(step as u64, total)).to_bits();
            schedule.observe(&validation(losses[step])).unwrap();
            lr
        };
        let expected: Vec<_> = (0..losses.len()).map(|i| step(&mut whole, i)).collect();
        let cut = cut.index(losses.len());
        let mut found: Vec<_> = (0..cut).map(|i| step(&mut first, i)).collect();
        if let Some(state) = first.state().unwrap() {
            second.restore(&state).unwrap();
        }
        prop_assert_eq!(first.describe(Some(total)), second.describe(Some(total)));
        found.extend((cut..losses.len()).map(|i| step(&mut second, i)));
        prop_assert_eq!(found, expected);
    }
}

/// Four batches; four steps an epoch.
fn data() -> impl Loader<f64> {
    DataLoader::new((1..=8u32).collect::<Vec<_>>().collate(|pair| Ok(f64::from(pair[0]))), 2)
}

fn trainer(schedule: impl Schedule + 'static, recorder: &Recorder) -> Trainer<Echo> {
    Trainer::new(Echo, Null::default()).scheduler(schedule).handle_signals(false).add_on(recorder.clone())
}

/// One schedule that is everything at once, through the trainer and its snapshots.
#[test]
fn a_run_cut_at_every_step_has_the_rates_of_the_whole() {
    let make = || {
        let inner = Linear::new(0.1, 0.5).then(4, Cyclic::new(0.1, 0.4, 2).exp_range(0.9)).then(9, OneCycle::new(0.3));
        let plateau = ReduceOnPlateau::new(inner.warmup(3)).factor(0.5).patience(0).threshold(0.999);
        plateau.times(Cosine::new(1.0).restarts(2).mult(2)).cooldown(4).over(20)
    };
    let run = |cut: Option<u64>| {
        let recorder = Recorder::new();
        let mut last = trainer(make(), &recorder);
        if let Some(cut) = cut {
            let mut first = trainer(make(), &recorder);
            first.run(Until::steps(cut), data(), data()).unwrap();
            last.restore(&first.snapshot().unwrap()).unwrap();
        }
        last.run(Until::steps(20), data(), data()).unwrap();
        column(&recorder, "lr")
    };
    let whole = run(None);
    assert_eq!(whole.len(), 20);
    for cut in 1..20 {
        assert_eq!(run(Some(cut)), whole, "cut after step {cut}");
    }
    // The plateau was one: without validations the rates are others.
    let undisturbed: Vec<_> = (0..20).map(|step| make().lr(&ScheduleAt::new(step, None, 0, None))).collect();
    assert_eq!(whole[..8], undisturbed[..8]);
    assert_eq!(whole[8], undisturbed[8] / 2.0);
}

#[test]
fn another_schedule_is_refused_and_another_length_too() {
    let again = |schedule: Box<dyn Schedule>, epochs: u64| {
        let mut first = trainer(OneCycle::new(0.1).cooldown(2), &Recorder::new());
        first.run(2, data(), ()).unwrap();
        let mut second = trainer(schedule, &Recorder::new());
        second.restore(&first.snapshot().unwrap()).unwrap();
        second.run(epochs, data(), ()).map_err(|error| error.to_string())
    };
    let refused = |schedule: Box<dyn Schedule>, words: &[&str]| {
        let error = again(schedule, 3).unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let unchanged = || OneCycle::new(0.1).cooldown(2);
    refused(Box::new(unchanged()), &["`total_steps` 8, this one 12", "`.over(8)`"]);
    refused(Box::new(OneCycle::new(0.1).three_phase().cooldown(2)), &["`schedule`", "three_phase: true"]);
    refused(Box::new(OneCycle::new(0.1).cooldown(3)), &["`schedule`", "in the last 3 of"]);
    assert!(again(Box::new(unchanged().over(8)), 3).is_ok(), "the way out that is told");
}

#[test]
fn a_setting_that_cannot_be_meant_is_an_error_before_the_run() {
    let schedule = Linear::new(0.1, 0.0).then(9, OneCycle::new(0.1).pct_start(30.0));
    let mut trainer = trainer(schedule, &Recorder::new());
    let whole = trainer.run(2, data(), ()).unwrap_err();
    let single = trainer.run_batch(1.0).unwrap_err();
    for error in [whole, single] {
        assert!(
            matches!(&error, Error::Misuse(text) if text.contains("pct_start 30: give one between 0 and 1")),
            "{error}"
        );
    }
    assert_eq!(trainer.progress().step(), 0);
}
