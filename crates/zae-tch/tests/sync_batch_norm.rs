//! Ranks whose batch norms are one: the run is that of one process, whose batches are those of all ranks put together.
#![allow(clippy::unwrap_used, clippy::panic)]

mod ranks;

use std::{
    sync::{Arc, Barrier, Mutex},
    time::{Duration, Instant},
};

use ranks::{on_ranks, on_ranks_within};
use tch::{
    Device, Kind, Tensor,
    nn::{self, Module, ModuleT},
};
use zae_core::{
    data::{Batches, Draw, Loader, from_fn},
    error::Fallible,
    process_group::{ProcessGroup, Reduction},
    step::Step,
    task::{At, Task},
    testing::{Connect, Unknown},
    trainer::Trainer,
};
use zae_tch::{C10dGroup, Sgd, TchLearner, sync_batch_norm};

#[derive(Debug)]
struct Net {
    first: nn::Linear,
    norms: [Box<dyn ModuleT>; 2],
    last: nn::Linear,
}

/// With layers that exchange their statistics, or PyTorch's own.
fn net(path: &nn::Path<'_>, sync: bool) -> Net {
    let norm = |name: &str| -> Box<dyn ModuleT> {
        let (path, config) = (path / name, nn::BatchNormConfig { ws_init: nn::Init::Const(1.0), ..Default::default() });
        if sync { Box::new(sync_batch_norm(path, 16, config)) } else { Box::new(nn::batch_norm1d(path, 16, config)) }
    };
    let linear = |name: &str, input, output| nn::linear(path / name, input, output, nn::LinearConfig::default());
    let net = Net { first: linear("first", 8, 16), norms: [norm("norm1"), norm("norm2")], last: linear("last", 16, 1) };
    // Not drawn: threads share LibTorch's generator.
    for layer in [&net.first, &net.last] {
        for tensor in [Some(&layer.ws), layer.bs.as_ref()].into_iter().flatten() {
            let numbers = Tensor::arange(tensor.numel() as i64, (Kind::Float, Device::Cpu)).reshape(tensor.size());
            tch::no_grad(|| tensor.shallow_clone().copy_(&((numbers * 1.7).sin() * 0.4)));
        }
    }
    net
}

impl Net {
    fn forward(&self, x: &Tensor, train: bool, between: impl FnOnce() -> Fallible) -> Fallible<Tensor> {
        let x = self.norms[0].forward_t(&self.first.forward(x), train).tanh();
        between()?;
        Ok(self.last.forward(&self.norms[1].forward_t(&x, train)))
    }
}

/// Samples of the batch of a number, or of several one after the other: batches have different sizes, and other distributions.
fn samples(numbers: &[u64]) -> Tensor {
    let of = |i: u64| {
        let count = (3 + i % 3) as i64;
        let all = (Tensor::arange(count * 8, (Kind::Float, Device::Cpu)) * (i as f64 + 2.3)).sin();
        (all * (1.0 + i as f64) + i as f64).reshape([count, 8])
    };
    Tensor::cat(&numbers.iter().map(|i| of(*i)).collect::<Vec<_>>(), 0)
}

/// What goes wrong, where, and on which rank.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrong {
    Before,
    Between,
    Panic,
    Loss,
}

struct Fit {
    rank: usize,
    wrong: Mutex<Option<(Wrong, usize, u64)>>,
    weightless: &'static [u64],
    /// It hangs between its layers until the other rank comes here too.
    hangs: Option<Arc<Barrier>>,
}

impl Task for Fit {
    type Learner = TchLearner<Net>;
    type Batch = Tensor;

    fn train_step(&self, net: &Net, x: Tensor, at: &At) -> Fallible<Step<Tensor>> {
        let is_here = |(_, rank, micro_batch): &mut (Wrong, usize, u64)| {
            *rank == self.rank && *micro_batch == at.cursor.micro_batch
        };
        let wrong = self.wrong.lock().unwrap().take_if(is_here).map(|(wrong, ..)| wrong);
        match wrong {
            Some(Wrong::Before) => return Err("boom".into()),
            Some(Wrong::Panic) => panic!("boom"),
            _ => {}
        }
        let between = || {
            if let Some(over) = &self.hangs {
                over.wait();
            }
            if wrong == Some(Wrong::Between) { Err("boom".into()) } else { Ok(()) }
        };
        let y = net.forward(&x, at.mode.is_training(), between)?;
        let loss = (y - x.mean_dim(1, true, Kind::Float)).square().mean(Kind::Float);
        if wrong == Some(Wrong::Loss) {
            return Ok(Step::new(loss.detach(), 1));
        }
        let weight = if self.weightless.contains(&at.cursor.micro_batch) { 0 } else { x.size()[0] as usize };
        Ok(Step::new(loss, weight))
    }

    fn test_step(&self, net: &Net, x: Tensor, at: &At) -> Fallible<Step<Tensor>> {
        self.train_step(net, x, at)
    }
}

/// Batches, each of the samples of several numbers.
struct Data(Vec<Vec<u64>>);

impl Data {
    fn apart(count: u64) -> Self {
        Self((0..count).map(|i| vec![i]).collect())
    }
}

impl Loader<Tensor> for Data {
    fn micro_batches(&self, _: u64) -> Option<u64> {
        Some(self.0.len() as u64)
    }

    fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, Tensor>> {
        Ok(Box::new(self.0.iter().skip(draw.from.micro_batch as usize).map(|numbers| Ok(samples(numbers)))))
    }
}

fn task(rank: usize) -> Fit {
    Fit { rank, wrong: Mutex::default(), weightless: &[], hangs: None }
}

fn alone(task: Fit, sync: bool, accumulate: u64) -> Trainer<Fit> {
    // Not Adam: a bias before a batch norm has a gradient of rounding errors alone, of which it makes steps.
    let learner = TchLearner::new(move |path: &nn::Path<'_>| net(path, sync), Sgd::new(), Device::Cpu);
    Trainer::new(task, learner).seed(3).scheduler(0.01).accumulate(accumulate)
}

fn ranked(task: Fit, group: Arc<dyn ProcessGroup>, sync: bool, accumulate: u64) -> Trainer<Fit> {
    alone(task, sync, accumulate).add_on(Connect::new(Some(group), Reduction::Fast, 0))
}

/// The numbers of a tensor of this name.
type Named = (String, Vec<f32>);

/// Weights and running statistics.
fn tensors(trainer: &mut Trainer<Fit>) -> Vec<Named> {
    let state = trainer.state_dict().unwrap();
    let of_model = state.tensors.iter().filter(|(name, _)| name.starts_with("model/"));
    let floats = |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    of_model.map(|(name, tensor)| (name.clone(), floats(&tensor.data.bytes().unwrap()))).collect()
}

fn trained(trainer: &mut Trainer<Fit>, data: &Data) -> Vec<Named> {
    trainer.run(3, data, ()).unwrap();
    tensors(trainer)
}

fn distance(found: &[Named], expected: &[Named]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let apart = |((name, found), (other, expected)): (&Named, &Named)| {
        assert_eq!(name, other);
        found.iter().zip(expected).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f32::max)
    };
    found.iter().zip(expected).map(apart).fold(0.0, f32::max)
}

#[test]
fn it_is_the_run_of_one_process_with_the_batches_of_all_ranks() {
    // Of windows of four, rank 0 has the first two.
    let together = Data([[0, 2], [1, 3], [4, 6], [5, 7]].map(Vec::from).into());
    let expected = trained(&mut alone(task(0), false, 2), &together);
    let of_ranks =
        |sync| on_ranks(2, |group| trained(&mut ranked(task(group.rank()), group, sync, 2), &Data::apart(8)));
    let found = of_ranks(true);
    assert!(found[0] == found[1], "ranks part");
    let apart = distance(&found[0], &expected);
    assert!(apart < 2e-4, "{apart}");
    // Each by itself is another run.
    assert!(distance(&of_ranks(false)[0], &expected) > 1e-2);
    // One process needs no other.
    let own = trained(&mut alone(task(0), true, 2), &together);
    assert!(own == expected);
}

#[test]
fn a_rank_without_a_batch_is_not_waited_for() {
    let expected = trained(&mut alone(task(0), false, 1), &Data(vec![vec![0, 1, 2], vec![3, 4, 5], vec![6]]));
    let found = on_ranks(3, |group| trained(&mut ranked(task(group.rank()), group, true, 1), &Data::apart(7)));
    // What is saved is rank 0's, and so are the samples of the last window.
    let apart = distance(&found[0], &expected);
    assert!(apart < 2e-4, "{apart}");
}

#[test]
fn batches_without_weight_take_part_and_without_any_weight_there_is_no_step() {
    for (weightless, steps) in [(&[1][..], 6), (&[0, 1], 3), (&[2, 3], 3)] {
        let found = on_ranks(2, |group| {
            let mut trainer = ranked(Fit { weightless, ..task(group.rank()) }, group, true, 1);
            let found = trained(&mut trainer, &Data::apart(4));
            assert_eq!(trainer.progress().step() - trainer.progress().skipped(), steps);
            found
        });
        assert!(found[0] == found[1], "ranks part without {weightless:?}");
        assert!(found[0].iter().flat_map(|(_, values)| values).all(|value| value.is_finite()));
    }
}

#[test]
fn one_batch_after_another_is_the_same_run() {
    let run = |by_hand: bool| {
        on_ranks(2, |group| {
            let rank = group.rank() as u64;
            let mut trainer = ranked(task(group.rank()), group, true, 1);
            if by_hand {
                (0..3).for_each(|i| drop(trainer.run_batch(samples(&[2 * i + rank])).unwrap()));
            } else {
                trainer.run(1, Data::apart(6), ()).unwrap();
            }
            tensors(&mut trainer)
        })
    };
    assert!(run(true) == run(false));
}

#[test]
fn when_a_rank_fails_the_others_learn_why_and_all_can_go_on() {
    let weights = |mut all: Vec<Named>| {
        // Running statistics have seen the batches of the step that was not made.
        all.retain(|(name, _)| !name.contains("running"));
        all
    };
    let undisturbed = on_ranks(3, |group| trained(&mut ranked(task(group.rank()), group, true, 1), &Data::apart(9)));
    let expected = weights(undisturbed[0].clone());
    for (wrong, rank, micro_batch) in [
        (Wrong::Before, 0, 0),
        (Wrong::Between, 1, 4),
        (Wrong::Panic, 2, 5),
        (Wrong::Loss, 2, 8),
        (Wrong::Before, 2, 2),
    ] {
        let all = on_ranks(3, |group| {
            let here = group.rank();
            let task = Fit { wrong: Mutex::new(Some((wrong, rank, micro_batch))), ..task(here) };
            let mut trainer = ranked(task, group, true, 1);
            let since = Instant::now();
            let error = trainer.run(3, Data::apart(9), ()).unwrap_err().to_string();
            assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
            let reason = if wrong == Wrong::Loss { "the loss does not depend" } else { "boom" };
            assert!(error.contains(reason), "{error}");
            assert_eq!(error.starts_with(&format!("rank {rank}: ")), here != rank, "{error}");
            weights(trained(&mut trainer, &Data::apart(9)))
        });
        assert!(all.iter().all(|own| *own == expected), "other weights after {wrong:?}");
    }
}

/// Of an odd number of batches, the last is of one rank; which that is, both have to know.
#[test]
fn a_loader_that_ends_sooner_than_it_announces_leaves_nobody_waiting() {
    struct Announces(u64, Data);
    impl Loader<Tensor> for Announces {
        fn micro_batches(&self, _: u64) -> Option<u64> {
            Some(self.0)
        }
        fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, Tensor>> {
            self.1.epoch(draw)
        }
    }
    let since = Instant::now();
    refused(
        |group| {
            let mut trainer = ranked(task(group.rank()), group, true, 1);
            trainer.run(1, Announces(6, Data::apart(5)), ()).unwrap_err().to_string()
        },
        "announced 6 batches for epoch 0 and gave 5",
    );
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
}

#[test]
fn a_rank_that_hangs_between_its_layers_is_given_up_where_it_is_waited_for() {
    let over = Arc::new(Barrier::new(2));
    let errors = on_ranks_within(Duration::from_secs(4), 2, |group| {
        let rank = group.rank();
        let hangs = (rank == 1).then(|| over.clone());
        let mut trainer = ranked(Fit { hangs, ..task(rank) }, group, true, 1);
        let error = trainer.run(1, Data::apart(4), ()).unwrap_err().to_string();
        if rank == 0 {
            over.wait();
        }
        error
    });
    let expected =
        "rank 1 has not come within 4s: the statistics of a `sync_batch_norm`; rank 1 was last heard of in train_step";
    assert!(errors[0].contains(expected), "{errors:?}");
}

/// What each of two ranks says.
fn refused(trainer: impl Fn(Arc<C10dGroup>) -> String + Sync, reason: &str) {
    for error in on_ranks(2, trainer) {
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn what_cannot_be_is_said_before_the_first_step() {
    let task = |group: &C10dGroup| task(group.rank());
    refused(
        |group| {
            let mut trainer = ranked(task(&group), group, true, 1);
            trainer.run(1, from_fn(|_| (0..4).map(|i| Ok(samples(&[i])))), ()).unwrap_err().to_string()
        },
        "implement `Loader::micro_batches`",
    );
    refused(
        |group| {
            let tree = Connect::new(Some(group.clone()), Reduction::Reproducible, 0);
            let mut trainer = alone(task(&group), true, 1).add_on(tree);
            trainer.run(1, Data::apart(4), ()).unwrap_err().to_string()
        },
        "take `Reduction::Fast`",
    );
    refused(
        |group| {
            let mut trainer = ranked(task(&group), Arc::new(Unknown(group)), true, 1);
            trainer.run(1, Data::apart(4), ()).unwrap_err().to_string()
        },
        "take `nn::batch_norm2d`",
    );
}
