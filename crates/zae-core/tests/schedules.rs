//! The schedules against those of `torch.optim.lr_scheduler`: `schedules/torch_rates.py` made the table.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use zae_core::{
    metrics::{Direction, Evaluation},
    schedule::{
        Anneal, Cosine, Cyclic, Exponential, Linear, MultiStep, OneCycle, Polynomial, ReduceOnPlateau, Schedule,
        ScheduleAt, StepDecay,
    },
};

const STEPS: u64 = 500;

/// Each schedule's name with its rates.
fn table() -> BTreeMap<&'static str, Vec<f64>> {
    let mut table = BTreeMap::new();
    for block in include_str!("schedules/torch_rates.txt").split("\n\n").skip(1) {
        let (name, lines) = block.split_once('\n').unwrap();
        let rates = lines.lines().flat_map(|line| {
            let (rate, run) = line.split_once(' ').unwrap();
            std::iter::repeat_n(rate.parse().unwrap(), run.parse().unwrap())
        });
        table.insert(name, rates.collect());
    }
    table
}

/// What the script's schedules are here.
fn ours() -> BTreeMap<&'static str, Box<dyn Schedule>> {
    let boxed = |name, schedule: Box<dyn Schedule>| (name, schedule);
    BTreeMap::from([
        boxed("step", Box::new(StepDecay::new(0.1, 30, 0.7))),
        boxed("multi_step", Box::new(MultiStep::new(0.1, [30, 80, 80, 400], 0.3))),
        boxed("exponential", Box::new(Exponential::new(0.1, 0.99))),
        boxed("constant", Box::new(0.025.then(40, 0.1))),
        boxed("linear_default", Box::new(Linear::new(0.1 / 3.0, 0.1).over(5))),
        boxed("linear_up", Box::new(Linear::new(1e-4, 0.1).over(120))),
        boxed("linear_down", Box::new(Linear::new(0.1, 0.0))),
        boxed("polynomial", Box::new(Polynomial::new(0.1))),
        boxed("polynomial_power", Box::new(Polynomial::new(0.1).power(2.5).over(300))),
        boxed("cosine", Box::new(Cosine::new(0.1))),
        boxed("cosine_min", Box::new(Cosine::new(0.1).min_lr(1e-3).over(200))),
        boxed("restarts", Box::new(Cosine::new(0.1).restarts(50))),
        boxed("restarts_mult", Box::new(Cosine::new(0.1).min_lr(1e-3).restarts(10).mult(3))),
        boxed("one_cycle", Box::new(OneCycle::new(0.1))),
        boxed(
            "one_cycle_linear",
            Box::new(
                OneCycle::new(0.1)
                    .pct_start(0.25)
                    .anneal(Anneal::Linear)
                    .div_factor(10.0)
                    .final_div_factor(100.0)
                    .over(333),
            ),
        ),
        boxed("one_cycle_three_phase", Box::new(OneCycle::new(0.1).pct_start(0.41).three_phase())),
        boxed("cyclic", Box::new(Cyclic::new(1e-3, 0.1, 20).step_size_down(33))),
        boxed("cyclic_triangular2", Box::new(Cyclic::new(1e-3, 0.1, 40).triangular2())),
        boxed("cyclic_exp_range", Box::new(Cyclic::new(1e-3, 0.1, 37).exp_range(0.995))),
        boxed("lambda", Box::new(|at: &ScheduleAt| 0.1 / (1.0 + at.step as f64 / 10.0))),
        boxed("multiplicative", Box::new(|at: &ScheduleAt| 0.1 * 0.98f64.powf(at.step as f64))),
        boxed("chained", Box::new(0.1.then(20, 1.0).times(Exponential::new(0.1, 0.99)))),
        boxed("chained_cosine", Box::new(Linear::new(0.1, 1.0).over(50).times(Cosine::new(0.1)))),
        boxed(
            "sequential",
            Box::new(0.01.then(20, Exponential::new(0.1, 0.99)).then(150, StepDecay::new(0.1, 25, 0.5))),
        ),
        boxed("sequential_cosine", Box::new(Linear::new(1e-3, 0.1).then(30, Cosine::new(0.1)))),
        boxed("plateau", Box::new(ReduceOnPlateau::new(0.1).factor(0.5).patience(4).cooldown(3).min_lr(1e-4))),
        boxed(
            "plateau_max",
            Box::new(
                ReduceOnPlateau::new(0.1)
                    .direction(Direction::Maximize)
                    .factor(0.9)
                    .patience(6)
                    .threshold(0.01)
                    .min_lr(1e-4),
            ),
        ),
    ])
}

/// The script's metric.
fn loss(step: u64) -> f64 {
    1.0 / (1.0 + step as f64 / 50.0) + (step * 7919 % 101) as f64 / 1000.0
}

fn validation(loss: f64) -> Evaluation {
    let mut evaluation = Evaluation::default();
    evaluation.metrics.insert("valid/loss".to_owned(), loss);
    evaluation
}

#[test]
fn rates_are_those_of_torch() {
    let (theirs, mut ours) = (table(), ours());
    let names = |keys: Vec<&&'static str>| keys.into_iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(names(theirs.keys().collect()), names(ours.keys().collect()));
    for (name, rates) in &theirs {
        // The two that PyTorch takes no further, or in another way.
        let steps =
            BTreeMap::from([("cosine_min", 201), ("one_cycle_linear", 333)]).get(name).copied().unwrap_or(STEPS);
        assert_eq!(rates.len() as u64, steps, "{name}");
        let schedule = ours.get_mut(name).unwrap();
        schedule.check().unwrap();
        for (step, rate) in (0..).zip(rates) {
            match *name {
                "plateau" => schedule.observe(&validation(loss(step))).unwrap(),
                "plateau_max" => schedule.observe(&validation(3.0 - loss(step))).unwrap(),
                _ => {}
            }
            let lr = schedule.lr(&ScheduleAt::new(step, Some(STEPS), 0, Some(1)));
            assert!((lr - rate).abs() <= 1e-12 * rate.abs(), "{name}, step {step}: {lr:?}, and {rate:?} in PyTorch");
        }
    }
}
