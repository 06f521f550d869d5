#![allow(clippy::unwrap_used)]

mod combinations;
mod plot;
mod settings;

use super::*;
use crate::metrics::{Direction, Evaluation};

fn at(step: u64) -> ScheduleAt {
    ScheduleAt::new(step, Some(100), step / 10, Some(10))
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * b.abs()
}

#[test]
fn constant_and_closure() {
    assert_eq!(0.5.lr(&at(7)), 0.5);
    let own = |at: &ScheduleAt| 1.0 / (at.step + 1) as f64;
    assert_eq!(own.lr(&at(3)), 0.25);
}

#[test]
fn decays_as_torch_does() {
    // torch.optim.lr_scheduler with lr 0.1: StepLR(30, 0.1), MultiStepLR([30, 80], 0.1), ExponentialLR(0.9)
    let step = StepDecay::new(0.1, 30, 0.1);
    for (t, lr) in [(0, 0.1), (29, 0.1), (30, 0.01), (59, 0.01), (60, 0.001), (90, 0.0001)] {
        assert!(close(step.lr(&at(t)), lr), "{t}");
    }
    let multi = MultiStep::new(0.1, [80, 30], 0.1);
    for (t, lr) in [(0, 0.1), (29, 0.1), (30, 0.01), (79, 0.01), (80, 0.001), (99, 0.001)] {
        assert!(close(multi.lr(&at(t)), lr), "{t}");
    }
    assert!(close(Exponential::new(0.1, 0.9).lr(&at(7)), 0.1 * 0.478_296_9));
}

#[test]
fn cosine_goes_from_the_first_to_the_last_rate() {
    let cosine = Cosine::new(1.0).min_lr(0.2);
    assert_eq!(cosine.lr(&at(0)), 1.0);
    assert!(close(cosine.lr(&at(50)), 0.6));
    // (1 + cos(pi / 4)) / 2
    assert!(close(cosine.lr(&at(25)), 0.2 + 0.8 * 0.853_553_390_593_273_8));
    assert!(close(cosine.lr(&at(100)), 0.2));
    assert!(close(cosine.lr(&at(1_000)), 0.2), "it stays at its last value");
    assert!(close(Cosine::new(1.0).over(10).lr(&at(5)), 0.5));
    assert_eq!(cosine.needs(), Needs::Steps);
    assert_eq!(Cosine::new(1.0).over(10).needs(), Needs::Nothing);
}

#[test]
fn warm_up_climbs_in_a_line_and_hands_over() {
    let warm = Cosine::new(1.0).warmup(20);
    assert_eq!([0, 9, 19].map(|t| warm.lr(&at(t))), [0.05, 0.5, 1.0]);
    assert_eq!(warm.lr(&at(20)), 1.0);
    assert!(close(warm.lr(&at(60)), 0.5), "the cosine runs over what is left");
    assert_eq!(2.0.warmup(0).lr(&at(0)), 2.0);
}

#[test]
fn per_epoch_counts_epochs() {
    let decay = StepDecay::new(1.0, 3, 0.5).per_epoch();
    assert_eq!([0, 29, 30, 59, 60].map(|t| decay.lr(&at(t))), [1.0, 1.0, 0.5, 0.5, 0.25]);
    assert_eq!(Cosine::new(1.0).per_epoch().needs(), Needs::Epochs);
    assert!(close(Cosine::new(1.0).per_epoch().lr(&at(50)), 0.5));
    assert_eq!(Cosine::new(1.0).per_epoch().warmup(5).needs(), Needs::Epochs);
}

fn valid(loss: f64) -> Evaluation {
    Evaluation { set: "valid".into(), metrics: [("valid/loss".to_owned(), loss)].into(), ..Evaluation::default() }
}

/// The learning rate after each of these validations.
fn rates(plateau: &mut ReduceOnPlateau<f64>, losses: &[f64]) -> Vec<f64> {
    let rate = |loss: &f64| {
        plateau.observe(&valid(*loss)).unwrap();
        plateau.lr(&at(0))
    };
    losses.iter().map(rate).collect()
}

#[test]
fn plateau_reduces_after_patience_and_cools_down() {
    // ReduceLROnPlateau(factor=0.5, patience=1, cooldown=1): the third validation without a gain reduces, then one is free.
    let mut plateau = ReduceOnPlateau::new(1.0).factor(0.5).patience(1).cooldown(1);
    let losses = [1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, f64::NAN];
    assert_eq!(rates(&mut plateau, &losses), [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]);
    let mut least = ReduceOnPlateau::new(1.0).patience(0).min_lr(0.05);
    assert_eq!(rates(&mut least, &[1.0, 1.0, 1.0, 1.0]), [1.0, 0.1, 0.05, 0.05]);
}

#[test]
fn plateau_goes_on_where_it_was_saved() {
    let losses = [1.0, 0.9, 0.95, 0.93, 0.92, 0.91, 0.96];
    let make = || ReduceOnPlateau::new(1.0).factor(0.7).patience(1).direction(Direction::Minimize);
    let whole = rates(&mut make(), &losses);
    for cut in 0..losses.len() {
        let mut first = make();
        rates(&mut first, &losses[..cut]);
        let mut second = make();
        second.restore(&first.state().unwrap().unwrap()).unwrap();
        assert_eq!(rates(&mut second, &losses[cut..]), whole[cut..]);
    }
}

#[test]
fn plateau_names_the_metrics_there_are() {
    let error = ReduceOnPlateau::new(1.0).metric("valid/accuracy").observe(&valid(1.0)).unwrap_err().to_string();
    assert!(error.contains("`valid/accuracy`") && error.contains("valid/loss"), "{error}");
}
