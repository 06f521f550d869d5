//! Gradients go into a sum one by one, and come out of it one by one.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::{Arc, Mutex};

use support::{ranks::*, *};
use zae_core::{
    error::Fallible,
    process_group::{ProcessGroup, Reduction, Sum},
    testing::{Architecture, Unknown},
};

/// What is done with sums, with how many numbers.
type Did = Arc<Mutex<Vec<(&'static str, usize)>>>;

/// A group that writes down what is done with its sums, and breaks one.
struct Watched {
    group: Unknown,
    did: Did,
    /// After so many numbers were given or taken, what it fails with.
    breaks: Option<(usize, &'static str)>,
}

impl ProcessGroup for Watched {
    fn rank(&self) -> usize {
        self.group.rank()
    }
    fn world_size(&self) -> usize {
        self.group.world_size()
    }
    fn all_reduce_sum(&self, values: &mut [f32]) -> Fallible {
        self.group.all_reduce_sum(values)
    }
    fn begin_sum<'a>(&'a self, memory: &'a mut Vec<f32>) -> Fallible<Box<dyn Sum + 'a>> {
        let sum = self.group.begin_sum(memory)?;
        Ok(Box::new(WatchedSum { sum, did: self.did.clone(), breaks: self.breaks }))
    }
    fn all_gather(&self, own: &[u8]) -> Fallible<Vec<Vec<u8>>> {
        self.group.all_gather(own)
    }
    fn broadcast(&self, bytes: &mut Vec<u8>, from: usize) -> Fallible {
        self.group.broadcast(bytes, from)
    }
    fn abort(&self, reason: &str) {
        self.group.abort(reason);
    }
}

struct WatchedSum<'a> {
    sum: Box<dyn Sum + 'a>,
    did: Did,
    breaks: Option<(usize, &'static str)>,
}

impl Sum for WatchedSum<'_> {
    fn give(&mut self, values: &[f32]) -> Fallible {
        self.did.lock().unwrap().push(("give", values.len()));
        let done: usize = self.did.lock().unwrap().iter().map(|(_, len)| len).sum();
        match self.breaks {
            Some((after, "panic")) if done > after => panic!("a bug"),
            Some((after, with)) if done > after => Err(with.into()),
            _ => self.sum.give(values),
        }
    }
    fn take(&mut self, values: &mut [f32]) -> Fallible {
        self.did.lock().unwrap().push(("take", values.len()));
        self.sum.take(values)
    }
    fn end(&mut self) -> Fallible {
        self.did.lock().unwrap().push(("end", 0));
        self.sum.end()
    }
}

fn watched(Connected(group, reduction): Connected, breaks: Option<(usize, &'static str)>) -> (Connected, Did) {
    let did = Did::default();
    let group = Watched { group: Unknown(group.unwrap()), did: did.clone(), breaks };
    (Connected(Some(Arc::new(group)), reduction), did)
}

#[test]
fn each_gradient_is_given_before_any_is_taken() {
    for result in on_ranks(2, Reduction::Fast, |_, connected| {
        let (connected, did) = watched(connected, None);
        let mut trainer = connected.trainer(plain(), Architecture::Plain);
        trainer.run(1, eleven(), ()).unwrap();
        (did.lock().unwrap().clone(), trainer.progress().step())
    }) {
        let (did, steps) = result;
        // In the model's order.
        let each = |what| [48, 8, 24, 3].map(|len| (what, len));
        let step = [&each("give")[..], &each("take"), &[("end", 0)]].concat();
        assert!(steps > 1);
        assert_eq!(did, step.repeat(steps as usize));
    }
}

/// In it, between the first gradient and the second.
const SEVENTH_STEP: usize = 6 * 2 * 83 + 48;

/// The others hear what has failed, and not only that a sum was left.
#[test]
fn a_rank_that_fails_between_two_gradients_says_why() {
    for with in ["boom", "panic"] {
        for breaks in [0, 1] {
            for (rank, result) in on_ranks(2, Reduction::Fast, |rank, connected| {
                let (connected, _) = watched(connected, (rank == breaks).then_some((SEVENTH_STEP, with)));
                connected.trainer(plain(), Architecture::Plain).run(40, eleven(), ()).map(|_| ())
            })
            .into_iter()
            .enumerate()
            {
                let text = fails(result, &[if with == "boom" { "boom" } else { "a bug" }]);
                let given_up = text.contains(&format!("rank {breaks} has given up: the backward pass"));
                assert_eq!(given_up, rank != breaks, "{text}");
            }
        }
    }
}
