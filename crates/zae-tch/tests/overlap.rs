//! Gradients that are summed over c10d while the backward pass computes others. Ranks are threads here, each with a group and a
//! learner of its own.
#![allow(clippy::unwrap_used, clippy::panic)]

mod ranks;

use std::sync::{Arc, Mutex};
#[cfg(feature = "nccl")]
use std::time::Duration;

use tch::{
    Device, Kind, Tensor,
    nn::{self, Module},
};
use zae_core::{
    data::{Loader, from_fn},
    error::Fallible,
    learner::{Clip, Learner, Update},
    process_group::{ProcessGroup, Reduction},
    step::Step,
    task::{At, Task},
    testing::{Connect, Unknown, gradients},
    trainer::{NonFinite, Trainer},
};
use zae_tch::{AdamW, C10dGroup, Sgd, TchLearner};

use ranks::on_ranks;

/// The second weight is large enough to be a piece by itself.
const WIDE: i64 = 1100;

#[derive(Debug)]
struct Net {
    first: nn::Linear,
    second: nn::Linear,
    /// Takes part where a batch says so.
    rare: Tensor,
    /// Never takes part.
    unused: Tensor,
}

fn net(path: &nn::Path<'_>) -> Net {
    let linear = |name: &str, input, output| nn::linear(path / name, input, output, nn::LinearConfig::default());
    let (first, second) = (linear("first", 8, WIDE), linear("second", WIDE, WIDE));
    // Not drawn: threads share LibTorch's generator.
    for (weight, width) in [(&first.ws, 8), (&second.ws, WIDE)] {
        let numbers = Tensor::arange(weight.numel() as i64, (Kind::Float, Device::Cpu)).reshape(weight.size());
        tch::no_grad(|| weight.shallow_clone().copy_(&(numbers.sin() / (width as f64).sqrt())));
    }
    for bias in [&first.bs, &second.bs].into_iter().flatten() {
        let _ = tch::no_grad(|| bias.shallow_clone().fill_(0.1));
    }
    Net { first, second, rare: path.ones("rare", &[WIDE]), unused: path.ones("unused", &[3]) }
}

/// Numbers, and whether the rare parameter takes part.
type Batch = (Tensor, bool);

impl Net {
    fn loss(&self, (x, rare): &Batch) -> Tensor {
        let y = self.second.forward(&self.first.forward(x).tanh());
        let y = if *rare { y * &self.rare } else { y };
        y.square().mean(Kind::Float)
    }
}

fn batch(i: u64, rare: bool) -> Batch {
    let numbers: Vec<f32> = (0..24).map(|n| ((n * 7 + i * 13) % 11) as f32 / 11.0 - 0.4).collect();
    (Tensor::from_slice(&numbers).reshape([3, 8]), rare)
}

fn learner() -> TchLearner<Net> {
    let mut learner = TchLearner::new(net, Sgd::new(), Device::Cpu);
    learner.init(5).unwrap();
    learner
}

fn backward(learner: &mut TchLearner<Net>, batch: &Batch, weight: f64, last: bool) {
    let loss = learner.train(|model| model.loss(batch)).unwrap();
    let _ = learner.backward(loss, weight, last).unwrap();
}

#[test]
fn pieces_are_on_their_way_after_the_last_backward_pass_and_become_sums() {
    // Rank 0 has two micro-batches, the first with the rare parameter; rank 1 has one; rank 2 none.
    let all = on_ranks(3, |group| {
        let rank = group.rank();
        let mut learner = learner();
        let seam: Arc<dyn ProcessGroup> = group;
        assert!(learner.overlap(&seam).unwrap() && learner.overlap(&seam).unwrap());
        for window in 0..3 {
            assert_eq!(learner.sums_begun(), 0);
            if rank == 0 {
                backward(&mut learner, &batch(window, true), 0.5, false);
                assert_eq!(learner.sums_begun(), 0, "nothing goes before the last one");
                backward(&mut learner, &batch(window + 1, false), 0.25, true);
            }
            if rank == 1 {
                backward(&mut learner, &batch(window + 2, false), 0.25, true);
            }
            // The last layer's gradients are there first. Those of parameters that took no part are not, and hold back their piece.
            assert_eq!(learner.sums_begun(), u64::from(rank < 2));
            learner.finish_sums(u64::MAX).unwrap();
            learner.expect_gradients().unwrap();
            if window < 2 {
                learner.step(&Update::new(0.1)).unwrap();
            }
        }
        gradients(&mut learner).unwrap()
    });
    assert!(all.iter().all(|rank| *rank == all[0]), "ranks part");

    let mut alone = learner();
    for window in 0..3 {
        let own = [(batch(window, true), 0.5), (batch(window + 1, false), 0.25), (batch(window + 2, false), 0.25)];
        own.iter().for_each(|(batch, weight)| backward(&mut alone, batch, *weight, true));
        if window < 2 {
            alone.step(&Update::new(0.1)).unwrap();
        }
    }
    for ((name, sum), (other, expected)) in all[0].iter().zip(gradients(&mut alone).unwrap()) {
        assert_eq!(*name, other);
        assert!(sum.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{name}");
        let nothing = sum.iter().all(|value| value.to_bits() == (-0.0f32).to_bits());
        assert_eq!(nothing, name == "unused", "{name}");
    }
}

/// Two parameters that are large enough to go by themselves, and a view of each other's gradient; and one whose gradient is read
/// after it was given on.
struct Views {
    tokens: Tensor,
    places: Tensor,
    halves: [Tensor; 2],
}

const ROWS: i64 = 1100;

fn views(path: &nn::Path<'_>) -> Views {
    let number = |name: &str, shape: &[i64], by: f64| {
        let tensor = path.zeros(name, shape);
        let numbers = (Tensor::arange(tensor.numel() as i64, (Kind::Float, Device::Cpu)) * by).sin();
        tch::no_grad(|| tensor.shallow_clone().copy_(&numbers.reshape(shape)));
        tensor
    };
    Views {
        tokens: number("tokens", &[16, ROWS], 0.7),
        places: number("places", &[ROWS, ROWS], 0.3),
        halves: [number("a", &[ROWS * ROWS], 0.2), number("b", &[ROWS * ROWS], 0.1)],
    }
}

impl Views {
    fn loss(&self, seed: i64) -> Tensor {
        let ids = (Tensor::arange(ROWS, (Kind::Int64, Device::Cpu)) * (seed + 3)).remainder(16);
        let x = self.tokens.index_select(0, &ids).unsqueeze(0) + self.places.unsqueeze(0);
        let [a, b] = [0, 1].map(|i| self.halves[i].view([ROWS, ROWS]));
        (x * (a + b)).square().sum(Kind::Float)
    }
}

#[test]
fn gradients_that_share_their_memory_are_summed_each_by_itself() {
    let learner = || {
        let mut learner = TchLearner::new(views, Sgd::new(), Device::Cpu);
        learner.init(5).unwrap();
        learner
    };
    let backward = |learner: &mut TchLearner<Views>, seed: i64, last: bool| {
        let loss = learner.train(|model| model.loss(seed)).unwrap();
        let _ = learner.backward(loss, 1.0, last).unwrap();
    };
    // One micro-batch each, and two.
    for count in [1, 2] {
        let all = on_ranks(2, |group| {
            let (rank, mut learner) = (group.rank() as i64, learner());
            let seam: Arc<dyn ProcessGroup> = group;
            assert!(learner.overlap(&seam).unwrap());
            (0..count).for_each(|i| backward(&mut learner, 2 * i + rank, i + 1 == count));
            learner.finish_sums(u64::MAX).unwrap();
            gradients(&mut learner).unwrap()
        });
        assert!(all[0] == all[1], "ranks part");
        // Added up here.
        let mut expected: Vec<(String, Vec<f32>)> = Vec::new();
        for seed in 0..2 * count {
            let mut alone = learner();
            backward(&mut alone, seed, true);
            let own = gradients(&mut alone).unwrap();
            for ((_, sum), (_, own)) in expected.iter_mut().zip(&own) {
                sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
            }
            if seed == 0 {
                expected = own;
            }
        }
        for ((name, found), (_, expected)) in all[0].iter().zip(expected) {
            let most = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-5 * most, "`{name}`, {count} micro-batches each: {apart} of {most}");
        }
    }
}

/// Trains, and fails where it is told to.
struct Own {
    fail: Mutex<Option<(usize, u64)>>,
    rank: usize,
    /// The micro-batches of a window whose backward passes fail, on all ranks.
    stuck: Mutex<Vec<u64>>,
}

impl Task for Own {
    type Learner = TchLearner<Net>;
    type Batch = Tensor;

    fn train_step(&self, model: &Net, batch: Tensor, at: &At) -> Fallible<Step<Tensor>> {
        let mut fail = self.fail.lock().unwrap();
        if *fail == Some((self.rank, at.cursor.micro_batch)) {
            *fail = None;
            return Err("boom".into());
        }
        // All take part, so that pieces go early.
        let y = model.second.forward(&model.first.forward(&batch).tanh()) * &model.rare;
        let mut stuck = self.stuck.lock().unwrap();
        if let Some(place) = stuck.iter().position(|micro_batch| *micro_batch == at.cursor.micro_batch) {
            stuck.remove(place);
            let y = y.exp();
            let loss = y.sum(Kind::Float);
            // The backward pass misses what was there.
            let _ = tch::no_grad(|| y.shallow_clone().zero_());
            return Ok(Step::new(loss, 3));
        }
        let loss = y.square().mean(Kind::Float) + model.unused.square().mean(Kind::Float);
        Ok(Step::new(loss, 3))
    }

    fn test_step(&self, model: &Net, batch: Tensor, at: &At) -> Fallible<Step<Tensor>> {
        self.train_step(model, batch, at)
    }
}

fn trainer(group: &Arc<C10dGroup>, overlap: bool, fail: Option<(usize, u64)>) -> Trainer<Own> {
    let task = Own { fail: Mutex::new(fail), rank: group.rank(), stuck: Mutex::default() };
    let group: Arc<dyn ProcessGroup> = if overlap { group.clone() } else { Arc::new(Unknown(group.clone())) };
    Trainer::new(task, TchLearner::new(net, AdamW::new(), Device::Cpu))
        .seed(3)
        .scheduler(0.01)
        .accumulate(2)
        .gradient_clip(Clip::Norm(1.0))
        .on_non_finite(NonFinite::SkipStep)
        .add_on(Connect::new(Some(group), Reduction::Fast, 1))
}

/// So many that the last window is not full; one of them spoils a step.
fn data() -> impl Loader<Tensor> {
    from_fn(|_| (0..11).map(|i| Ok(batch(i, false).0 * if i == 5 { f64::NAN } else { 1.0 })))
}

fn weights(trainer: &mut Trainer<Own>) -> Vec<u8> {
    let state = trainer.state_dict().unwrap();
    state.tensors.values().flat_map(|tensor| tensor.data.bytes().unwrap().into_owned()).collect()
}

#[test]
fn two_ranks_train_the_same_with_and_without_it_also_after_one_has_failed() {
    let run = |overlap, fail: Option<(usize, u64)>| {
        let all = on_ranks(2, |group| {
            let mut trainer = trainer(&group, overlap, fail);
            if fail.is_some() {
                let error = trainer.run(2, data(), ()).unwrap_err().to_string();
                assert!(error.contains("boom"), "{error}");
            }
            trainer.run(2, data(), ()).unwrap();
            assert_eq!(trainer.progress().skipped(), 2);
            weights(&mut trainer)
        });
        assert!(all[0] == all[1], "ranks part");
        all[0].clone()
    };
    let expected = run(false, None);
    // Two numbers have one sum, in whatever order.
    assert!(run(true, None) == expected, "other weights");
    for fail in [(0, 0), (1, 3), (0, 5), (1, 7), (0, 9), (1, 10)] {
        assert!(run(true, Some(fail)) == run(false, Some(fail)), "other weights after {fail:?}");
    }
}

/// What the window had noted of its gradients is forgotten, also if none was on its way.
#[test]
fn a_backward_pass_that_fails_before_anything_has_gone_leaves_nothing() {
    let run = |overlap: bool, stuck: &[u64]| {
        let all = on_ranks(2, |group| {
            let mut trainer = trainer(&group, overlap, None);
            // Of the last window, rank 0 has two and rank 1 one.
            trainer.task().stuck.lock().unwrap().extend(stuck);
            if !stuck.is_empty() {
                let error = trainer.run(2, data(), ()).unwrap_err().to_string();
                assert!(error.contains("inplace"), "{error}");
            }
            trainer.run(2, data(), ()).unwrap();
            weights(&mut trainer)
        });
        assert!(all[0] == all[1], "ranks part");
        all[0].clone()
    };
    assert!(run(true, &[9, 10]) == run(false, &[9, 10]), "other weights");
}

/// With a GPU it says nothing.
#[cfg(feature = "nccl")]
#[test]
fn nccl_takes_a_gpu() {
    use zae_tch_sys::{GlooAddress, GradientSums, GroupOptions, TcpStore, open_cuda};

    let timeout = Duration::from_secs(10);
    let store = TcpStore::open("127.0.0.1", 0, true, timeout).unwrap();
    let options = GroupOptions { prefix: "nccl", rank: 0, world_size: 1, timeout, at: GlooAddress::Host("127.0.0.1") };
    let opened = GradientSums::over_nccl(&store, &options);
    if !(open_cuda() && tch::Cuda::is_available()) {
        let error = opened.unwrap_err().to_string();
        assert!(error.contains("no GPUs found"), "{error}");
    }
}

#[test]
fn a_parameter_that_is_no_longer_frozen_is_named() {
    let errors = on_ranks(2, |group| {
        let mut learner = learner();
        let rare = learner.model().unwrap().rare.shallow_clone();
        let _ = rare.set_requires_grad(false);
        let group: Arc<dyn ProcessGroup> = group;
        assert!(learner.overlap(&group).unwrap());
        let _ = rare.set_requires_grad(true);
        let loss = learner.train(|model| model.loss(&batch(0, true))).unwrap();
        let error = learner.backward(loss, 1.0, true).unwrap_err().to_string();
        // When the next run begins it is one of them.
        assert!(learner.overlap(&group).unwrap());
        backward(&mut learner, &batch(0, true), 1.0, true);
        learner.finish_sums(u64::MAX).unwrap();
        error
    });
    assert!(errors[0].starts_with("`rare` was frozen when the run began"), "{}", errors[0]);
}
