//! The order of installation never matters: phases and names decide.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use proptest::prelude::*;
use support::*;
use zae_core::add_on::{AddOn, Phase};

const PHASES: [Phase; 4] = [Phase::Observe, Phase::Decide, Phase::Persist, Phase::Report];

/// Eight add-ons, two in each phase, whose names are not in the order of the phases; four act on the run so that their
/// order is seen in its bits.
fn add_ons(lines: &Lines) -> Vec<Log> {
    let scale = |by: f32, plus: f32| {
        move |hook: &str, cx: &mut zae_core::add_on::Context<'_>| {
            if hook == "gradients" {
                cx.engine.gradients(&mut |_, values| {
                    values.iter_mut().for_each(|x| *x = *x * by + plus);
                    Ok(())
                })?;
            }
            Ok(())
        }
    };
    let stop = |reason: &'static str| {
        move |hook: &str, cx: &mut zae_core::add_on::Context<'_>| {
            if hook == "step_end" && cx.progress.step() == 8 {
                cx.requests.stop(reason);
            }
            Ok(())
        }
    };
    let log = |name: &str, phase: usize| Log::new(name, PHASES[phase], lines).with_snapshots();
    vec![
        log("m", 0).act(scale(2.0, 0.0)),
        log("z", 0).act(scale(1.0, 0.25)),
        log("a", 1).act(stop("a")),
        log("y", 1).act(stop("y")),
        log("b", 2),
        log("x", 2).act(scale(0.5, 0.0)),
        log("c", 3),
        log("d", 3),
    ]
}

fn run(order: &[usize], tuples: bool) -> (Vec<String>, Bits, String) {
    let lines = Lines::default();
    let mut all: Vec<Option<Log>> = add_ons(&lines).into_iter().map(Some).collect();
    let mut sorted: Vec<Log> = order.iter().map(|i| all[*i].take().unwrap()).collect();
    let mut trainer = trainer(plain());
    if tuples {
        let rest = sorted.split_off(4);
        let boxed: Vec<Box<dyn AddOn>> = rest.into_iter().map(|log| Box::new(log) as Box<dyn AddOn>).collect();
        let last = sorted.pop();
        trainer = trainer.add_on((boxed, last, sorted));
    } else {
        for log in sorted {
            trainer = trainer.add_on(log);
        }
    }
    let run = trainer.run(3, train_data(), valid_data()).unwrap();
    let lines = lines.lock().unwrap().clone();
    (lines, bits_of(&mut trainer), format!("{:?}", run.outcome))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_order_of_installation_is_the_same_run(
        order in Just((0..8).collect::<Vec<usize>>()).prop_shuffle(), tuples in any::<bool>(),
    ) {
        let (lines, bits, outcome) = run(&(0..8).collect::<Vec<_>>(), false);
        let (other_lines, other_bits, other_outcome) = run(&order, tuples);
        prop_assert_eq!(lines, other_lines);
        prop_assert!(bits == other_bits);
        prop_assert_eq!(outcome, other_outcome);
    }
}

#[test]
fn phases_come_first_then_names() {
    let (lines, bits, outcome) = run(&[7, 6, 5, 4, 3, 2, 1, 0], false);
    let of = |hook: &str| {
        let tail = format!(":{hook}");
        lines.iter().filter_map(|line| line.strip_suffix(&tail)).take(8).collect::<Vec<_>>()
    };
    for hook in [
        "run_start",
        "epoch_start",
        "gradients",
        "step_end",
        "row 0",
        "pass valid 0",
        "epoch_end",
        "snapshot",
        "run_end",
        "finish",
    ] {
        assert_eq!(of(hook), ["m", "z", "a", "y", "b", "x", "c", "d"], "{hook}");
    }
    assert_eq!(outcome, "Stopped(\"a\")", "the first reason counts");
    // The order of what they do to the gradients is seen in the bits.
    let mut plain = trainer(plain()).add_on(stop_at(8));
    plain.run(3, train_data(), valid_data()).unwrap();
    assert!(bits_of(&mut plain).tensors != bits.tensors);
}

#[test]
fn an_installed_add_on_is_found_by_its_type() {
    let trainer = trainer(plain()).add_on((stop_at(3), Keeper("keeper", None)));
    assert_eq!(trainer.get::<Keeper>().unwrap().0, "keeper");
    assert_eq!(trainer.get::<Log>().unwrap().name, "stopper");
    assert!(trainer.get::<zae_core::testing::Recorder>().is_none());
}
