//! Schedules around, beside and after others; and those that PyTorch has not, against their formulas.

use super::{at, close, valid};
use crate::schedule::*;

fn rates<const N: usize>(schedule: &impl Schedule, steps: [u64; N]) -> [f64; N] {
    steps.map(|step| schedule.lr(&at(step)))
}

#[test]
fn the_inverse_square_root_is_that_of_the_papers() {
    // Vaswani et al. 2017, (3): d^-0.5 * min(s^-0.5, s * w^-1.5), s from 1. After the warm-up, a step later.
    let (d, w) = (512.0f64, 20u64);
    let noam = InverseSqrt::new(1.0 / (d * w as f64).sqrt(), w).warmup(w);
    let paper = |s: u64| d.powf(-0.5) * (s as f64).powf(-0.5).min(s as f64 * (w as f64).powf(-1.5));
    for step in 0..100 {
        let s = if step < w { step + 1 } else { step };
        assert!(close(noam.lr(&at(step)), paper(s)), "{step}");
    }
    // Raffel et al. 2019, 3.1.2: 1 / sqrt(max(n, k)).
    let t5 = 0.25.then(16, InverseSqrt::new(0.25, 16));
    for n in 0..100u64 {
        assert!(close(t5.lr(&at(n)), 1.0 / (n.max(16) as f64).sqrt()), "{n}");
    }
    assert_eq!(InverseSqrt::new(1.0, 20).lr(&at(60)), 0.5);
}

#[test]
fn warmup_stable_decay_is_that_of_the_paper() {
    // Hägele et al. 2024: n / N_warmup, then 1, then f over N_decay; n counts from 1, here as in all warm-ups.
    for (anneal, shape) in [
        (Anneal::Linear, (|t| 1.0 - t) as fn(f64) -> f64),
        (Anneal::OneMinusSqrt, |t| 1.0 - t.sqrt()),
        (Anneal::Cosine, |t| (1.0 + (std::f64::consts::PI * t).cos()) / 2.0),
    ] {
        let wsd = 0.3.warmup(10).cooldown(40).anneal(anneal);
        let least = 0.3.cooldown(40).anneal(anneal).min_ratio(0.25).warmup(10);
        for step in 0..=120u64 {
            let up = ((step + 1) as f64 / 10.0).min(1.0);
            let down = shape((step.clamp(60, 100) - 60) as f64 / 40.0);
            assert!((wsd.lr(&at(step)) - 0.3 * up * down).abs() < 1e-15, "{anneal:?} {step}");
            assert!(close(least.lr(&at(step)), 0.3 * up * (0.25 + 0.75 * down)), "{anneal:?} {step}");
        }
    }
    // Zhai et al. 2021: the inverse square root goes on while it is cooled down.
    let rsqrt = InverseSqrt::new(1.0, 10);
    assert_eq!(rsqrt.cooldown(20).lr(&at(90)), 0.1f64.sqrt() * 0.5);
    let whole = 1.0.cooldown(1_000);
    assert_eq!(rates(&whole, [0, 50, 100]), [1.0, 0.5, 0.0], "as long as the run at most");
    assert_eq!(rates(&1.0.cooldown(0), [0, 99, 100]), [1.0; 3]);
}

#[test]
fn polynomials_have_a_lowest_rate() {
    let polynomial = Polynomial::new(1.0).power(2.0).min_lr(0.2);
    assert!([(0, 1.0), (50, 0.4), (100, 0.2), (200, 0.2)].iter().all(|(t, lr)| close(polynomial.lr(&at(*t)), *lr)));
}

#[test]
fn after_its_end_a_schedule_stays() {
    let schedules: [Box<dyn Schedule>; 5] = [
        Box::new(Cosine::new(1.0).min_lr(0.1)),
        Box::new(Linear::new(0.2, 0.7)),
        Box::new(Polynomial::new(1.0).min_lr(0.3)),
        Box::new(OneCycle::new(1.0)),
        Box::new(1.0.cooldown(10).min_ratio(0.5)),
    ];
    for schedule in schedules {
        let last = schedule.lr(&at(100));
        assert_eq!(rates(&schedule, [101, 150, u64::MAX]), [last; 3]);
    }
}

#[test]
fn a_cycle_ends_where_none_divides() {
    // The first or last phase of one cycle may have no step at all.
    let pct = |part, total| OneCycle::new(1.0).pct_start(part).lr(&ScheduleAt::new(0, Some(total), 0, None));
    assert_eq!(pct(0.1, 10), 1.0, "the way up ends where it begins");
    assert_eq!(pct(1.0, 1), 1.0);
    assert!(close(pct(0.3, 1), 1.0 / 250_000.0));
    assert!(pct(0.0, 10) < 1.0 && pct(0.3, 0) > 0.0);
}

#[test]
fn a_part_has_its_own_length() {
    let parts = Linear::new(0.0, 1.0).then(20, Cosine::new(1.0)).then(60, Linear::new(1.0, 0.0));
    assert_eq!(rates(&parts, [0, 10, 19, 20, 60, 80, 100]), [0.0, 0.5, 0.95, 1.0, 1.0, 0.5, 0.0]);
    assert!(close(parts.lr(&at(40)), 0.5), "the cosine has 40 steps");
    assert_eq!(parts.needs(), Needs::Steps, "the last one takes what is left");
    assert_eq!(Linear::new(0.0, 1.0).then(20, 1.0).needs(), Needs::Nothing);
    assert_eq!(Cosine::new(1.0).restarts(10).needs(), Needs::Nothing);
    assert_eq!(Cosine::new(1.0).per_epoch().restarts(10).needs(), Needs::Epochs);
    assert_eq!(2.0.times(Linear::new(0.0, 1.0)).needs(), Needs::Steps);
    assert_eq!(1.0.cooldown(5).needs(), Needs::Steps);
    assert_eq!(1.0.cooldown(0).needs(), Needs::Nothing);
    let epochs = Linear::new(0.0, 1.0).then(2, Linear::new(1.0, 0.0)).per_epoch();
    assert_eq!((epochs.needs(), rates(&epochs, [0, 15, 20, 60])), (Needs::Epochs, [0.0, 0.5, 1.0, 0.5]));
}

#[test]
fn over_is_a_run_of_that_length() {
    assert_eq!(rates(&Linear::new(0.0, 1.0).over(10), [0, 5, 10, 99]), [0.0, 0.5, 1.0, 1.0]);
    assert_eq!(rates(&1.0.cooldown(10).warmup(5).over(50), [0, 4, 45, 50]), [0.2, 1.0, 0.5, 0.0]);
    for per_epoch in
        [&Linear::new(0.0, 1.0).per_epoch().over(4) as &dyn Schedule, &Linear::new(0.0, 1.0).over(4).per_epoch()]
    {
        assert_eq!((per_epoch.needs(), per_epoch.lr(&at(25)), per_epoch.lr(&at(99))), (Needs::Nothing, 0.5, 1.0));
    }
    // What a resumed run compares: the length alone may come from elsewhere.
    let [own, of_the_run] =
        [Cosine::new(1.0).warmup(3).over(15).describe(None), Cosine::new(1.0).warmup(3).describe(Some(15))];
    assert_eq!(own, of_the_run);
}

#[test]
fn restarts_grow() {
    let saw = Linear::new(1.0, 0.0).restarts(4).mult(2);
    assert_eq!(rates(&saw, [0, 2, 4, 8, 12, 20, 28]), [1.0, 0.5, 1.0, 0.5, 1.0, 0.5, 1.0]);
    for mult in [1, 2, u64::MAX] {
        assert!((0.0..=1.0).contains(&Linear::new(1.0, 0.0).restarts(4).mult(mult).lr(&at(u64::MAX))));
    }
}

#[test]
fn all_that_is_set_is_described() {
    let text = |schedule: &dyn Schedule| schedule.describe(Some(100)).unwrap();
    let one = OneCycle::new(0.1);
    let cyclic = Cyclic::new(0.1, 0.2, 5);
    let different: [Box<dyn Schedule>; 33] = [
        Box::new(Linear::new(0.1, 0.0)),
        Box::new(Linear::new(0.2, 0.0)),
        Box::new(Linear::new(0.1, 0.0).over(99)),
        Box::new(Polynomial::new(0.1)),
        Box::new(Polynomial::new(0.1).power(2.0)),
        Box::new(Polynomial::new(0.1).min_lr(0.01)),
        Box::new(InverseSqrt::new(0.1, 5)),
        Box::new(InverseSqrt::new(0.1, 6)),
        Box::new(one),
        Box::new(one.pct_start(0.2)),
        Box::new(one.anneal(Anneal::Linear)),
        Box::new(one.div_factor(2.0)),
        Box::new(one.final_div_factor(2.0)),
        Box::new(one.three_phase()),
        Box::new(one.over(99)),
        Box::new(cyclic),
        Box::new(cyclic.step_size_down(6)),
        Box::new(cyclic.triangular2()),
        Box::new(cyclic.exp_range(0.9)),
        Box::new(cyclic.exp_range(0.8)),
        Box::new(Linear::new(0.1, 0.0).restarts(100)),
        Box::new(Linear::new(0.1, 0.0).restarts(101)),
        Box::new(Linear::new(0.1, 0.0).restarts(100).mult(2)),
        Box::new(0.1.cooldown(5)),
        Box::new(0.1.cooldown(6)),
        Box::new(0.1.cooldown(5).anneal(Anneal::Cosine)),
        Box::new(0.1.cooldown(5).min_ratio(0.1)),
        Box::new(0.1.cooldown(5).over(99)),
        Box::new(0.1.then(5, 0.2)),
        Box::new(0.1.then(6, 0.2)),
        Box::new(0.1.then(5, 0.3)),
        Box::new(0.1.times(0.2)),
        Box::new(0.1.times(0.3)),
    ];
    let texts: std::collections::BTreeSet<_> = different.iter().map(|schedule| text(&**schedule)).collect();
    assert_eq!(texts.len(), different.len(), "{texts:#?}");
    // A closure says nothing, and so does what it is a part of.
    let closure = || |_: &ScheduleAt| 1.0;
    assert_eq!(0.1.then(5, closure()).describe(Some(9)), None);
    assert_eq!(0.1.times(closure()).describe(Some(9)), None);
    assert_eq!(closure().cooldown(5).describe(Some(9)), None);
    assert_eq!(closure().restarts(5).describe(Some(9)), None);
}

#[test]
fn both_factors_are_saved() {
    let plateau = |metric| ReduceOnPlateau::new(1.0).metric(metric).factor(0.5).patience(0);
    let make = || plateau("valid/loss").times(plateau("valid/loss").cooldown(5)).over(100);
    let mut first = make();
    for loss in [1.0, 1.0] {
        first.observe(&valid(loss)).unwrap();
    }
    assert_eq!(first.lr(&at(0)), 0.25);
    let mut second = make();
    second.restore(&first.state().unwrap().unwrap()).unwrap();
    assert_eq!(second.lr(&at(0)), 0.25);
    assert_eq!(0.1.times(0.2).state().unwrap(), None);
}
