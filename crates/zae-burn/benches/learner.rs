//! What the learner costs beside the same operations written by hand: a perceptron of 4.9 M parameters, batch 128, AdamW,
//! on Flex. Then what a snapshot costs beside a copy of the same bytes into warm memory: a perceptron of 94 MB with its AdamW
//! state, batch 8. Then what an update of averaged weights costs beside a copy of as many bytes. Prints lines `name median_ms`, ratios where the name says `over`.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::{hint::black_box, time::Instant};

use burn::{
    module::{Module, ModuleVisitor, Param},
    nn::{Linear, LinearConfig},
    optim::{AdamWConfig, GradientsParams, SgdConfig, momentum::MomentumConfig},
    prelude::*,
    tensor::{Distribution, activation::relu},
};
use zae_burn::{AnyOptimizer, BurnLearner, TensorDataset};
use zae_core::{
    engine::{Engine, Shadow},
    learner::{Clip, Learner, Update},
    task::Mode,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Module, Debug)]
struct Mlp {
    first: Linear,
    second: Linear,
    third: Linear,
}

impl Mlp {
    fn new([first, second]: [usize; 2], device: &Device) -> Self {
        Self {
            first: LinearConfig::new(784, first).init(device),
            second: LinearConfig::new(first, second).init(device),
            third: LinearConfig::new(second, 10).init(device),
        }
    }

    fn loss(&self, x: Tensor<2>) -> Tensor<1> {
        self.third.forward(relu(self.second.forward(relu(self.first.forward(x))))).square().mean()
    }
}

fn median(name: &str, repeat: usize, mut run: impl FnMut() -> f64) {
    let mut times: Vec<f64> = (0..repeat).map(|_| run()).collect();
    times.sort_by(f64::total_cmp);
    println!("{name} {:.2}", times[repeat / 2]);
}

fn timed<R>(run: impl FnOnce() -> R) -> f64 {
    let since = Instant::now();
    black_box(run());
    since.elapsed().as_secs_f64() * 1e3
}

struct Squares<'a>(&'a GradientsParams, Option<Tensor<1>>);
impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let square = self.0.get::<D>(param.id).unwrap().square().sum();
        self.1 = Some(self.1.take().map_or(square.clone(), |sum| sum + square));
    }
}
struct Scale<'a>(&'a mut GradientsParams, Tensor<1>);
impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.0.remove::<D>(param.id).unwrap();
        self.0.register(param.id, gradient.mul(self.1.clone().unsqueeze()));
    }
}

fn main() {
    let device = Device::flex();
    let mut learner = BurnLearner::new(Mlp::new([1700, 2080], &device), AdamWConfig::new(), &device);
    learner.init(1).unwrap();
    let x = Tensor::<2>::random([128, 784], Distribution::Default, &learner.device(Mode::Train));
    let mut model = learner.model().unwrap().clone().train();
    let mut optimizer = AdamWConfig::new().init();

    let mut clip_by_hand = Vec::new();
    for _ in 0..15 {
        let mut gradients = GradientsParams::from_grads(model.loss(x.clone()).backward(), &model);
        clip_by_hand.push(timed(|| {
            let mut squares = Squares(&gradients, None);
            model.visit(&mut squares);
            let factor = squares.1.unwrap().sqrt().add_scalar(1e-6).recip().mul_scalar(1e-3).clamp_max(1.0);
            model.visit(&mut Scale(&mut gradients, factor));
        }));
    }
    let mut next = clip_by_hand.into_iter();
    median("clip_by_hand", 15, || next.next().unwrap());

    let backward = |learner: &mut BurnLearner<Mlp>| {
        let loss = learner.train(|model| model.loss(x.clone())).unwrap();
        learner.backward(loss, 1.0, true).unwrap();
    };
    let step = |learner: &mut BurnLearner<Mlp>| {
        backward(learner);
        learner.clip(1.0, &Clip::None).unwrap();
        learner.step(&Update::new(1e-4)).unwrap();
    };
    // In turn, so that whatever else the machine does falls on both.
    let mut pairs = Vec::new();
    for _ in 0..25 {
        let by_hand = timed(|| {
            let gradients = GradientsParams::from_grads(model.loss(x.clone()).backward(), &model);
            model = optimizer.step(1e-4, take(&mut model), gradients);
        });
        pairs.push((by_hand, timed(|| step(&mut learner))));
    }
    let mut next = pairs.iter();
    median("step_by_hand", 25, || next.next().unwrap().0);
    let mut next = pairs.iter();
    median("step", 25, || next.next().unwrap().1);
    for (name, clip) in [("clip_reached", Clip::Norm(1e-3)), ("clip_not_reached", Clip::Norm(1e9))] {
        median(name, 15, || {
            learner.zero_grad();
            backward(&mut learner);
            timed(|| learner.clip(1.0, &clip).unwrap())
        });
    }
    median("accumulate_second", 15, || {
        learner.zero_grad();
        backward(&mut learner);
        timed(|| backward(&mut learner))
    });
    median("lend_gradients", 15, || timed(|| learner.gradients(&mut |_, _| Ok(())).unwrap()));
    median("lend_parameters", 15, || timed(|| learner.parameters(&mut |_, _| Ok(())).unwrap()));
    median("eval_model", 15, || timed(|| learner.train(|_| ()).and_then(|()| learner.eval(|_| ())).unwrap()));
    let mut first_steps = Vec::new();
    median("snapshot", 15, || {
        let mut kept = None;
        let time = timed(|| kept = Some(learner.snapshot().unwrap()));
        first_steps.push(timed(|| step(&mut learner)));
        time
    });
    let mut next = first_steps.into_iter();
    median("first_step_after_snapshot", 15, || next.next().unwrap());
    let state = learner.snapshot().unwrap();
    median("load", 5, || timed(|| learner.load(&state).unwrap()));

    let data = TensorDataset::new(Tensor::<2>::random([60_000, 784], Distribution::Default, &device)).unwrap();
    let indices: Vec<usize> = (0..64).map(|i| i * 937).collect();
    median("gather_64_of_60000x784", 101, || timed(|| data.gather(&indices).unwrap()));
    snapshots(&device, AdamWConfig::new(), "snapshot");
    snapshots(&device, AdamWConfig::new().init(), "snapshot_of_module_optimizer");
    let momentum = Some(MomentumConfig::new());
    snapshots(&device, SgdConfig::new().with_momentum(momentum), "snapshot_of_sgd_with_momentum");
    averages(&device);
}

/// Right after a step, which has moved other memory through the caches, and in turn with the copy.
fn averages(device: &Device) {
    const ROUNDS: usize = 41;
    let mut learner = BurnLearner::new(Mlp::new([2000, 3100], device), SgdConfig::new(), device);
    learner.init(1).unwrap();
    learner.shadow("ema", Shadow::Create).unwrap();
    let x = Tensor::<2>::random([8, 784], Distribution::Default, &learner.device(Mode::Train));
    let mut length = 0;
    learner
        .parameters(&mut |_, values| {
            length += values.len();
            Ok(())
        })
        .unwrap();
    let (source, mut target) = (vec![1.0f32; length], vec![2.0f32; length]);
    let mut rounds: Vec<[f64; 3]> = Vec::new();
    for _ in 0..ROUNDS + 3 {
        let loss = learner.train(|model| model.loss(x.clone())).unwrap();
        learner.backward(loss, 1.0, true).unwrap();
        learner.step(&Update::new(1e-4)).unwrap();
        let update = timed(|| learner.shadow("ema", Shadow::Lerp { decay: 0.999 }).unwrap());
        let copy = timed(|| target.copy_from_slice(black_box(&source)));
        let swap = timed(|| learner.shadow("ema", Shadow::Swap).unwrap());
        learner.shadow("ema", Shadow::Swap).unwrap();
        rounds.push([update, copy, swap]);
    }
    let rounds = &rounds[3..];
    let print = |name: &str, of: &dyn Fn(&[f64; 3]) -> f64| {
        let mut next = rounds.iter();
        median(name, ROUNDS, || of(next.next().unwrap()));
    };
    print("ema_memcpy", &|[_, copy, _]| *copy);
    print("ema_update", &|[update, ..]| *update);
    print("ema_swap", &|[.., swap]| *swap);
    print("ema_over_memcpy", &|[update, copy, _]| update / copy);
}

/// One snapshot is held while the next is taken, as a writer would. All is measured in turn, so that whatever else the
/// machine does falls on all.
fn snapshots(device: &Device, optimizer: impl Into<AnyOptimizer>, name: &str) {
    const ROUNDS: usize = 25;
    let mut learner = BurnLearner::new(Mlp::new([2000, 3100], device), optimizer, device);
    learner.init(1).unwrap();
    let x = Tensor::<2>::random([8, 784], Distribution::Default, &learner.device(Mode::Train));
    let step = |learner: &mut BurnLearner<Mlp>| {
        timed(|| {
            let loss = learner.train(|model| model.loss(x.clone())).unwrap();
            learner.backward(loss, 1.0, true).unwrap();
            learner.step(&Update::new(1e-4)).unwrap();
        })
    };
    step(&mut learner);
    let mut held = learner.snapshot().unwrap();
    let length: usize = held.tensors.values().map(|tensor| tensor.data.bytes().unwrap().len()).sum();
    let (source, mut target) = (vec![1u8; length], vec![2u8; length]);
    // memcpy, an ordinary step, the snapshot, the step after it.
    let mut rounds: Vec<[f64; 4]> = Vec::new();
    for _ in 0..ROUNDS + 3 {
        let copy = timed(|| target.copy_from_slice(black_box(&source)));
        step(&mut learner);
        let ordinary = step(&mut learner);
        let mut next = None;
        let snapshot = timed(|| next = Some(learner.snapshot().unwrap()));
        let after = step(&mut learner);
        held = next.unwrap();
        rounds.push([copy, ordinary, snapshot, after]);
    }
    drop(held);
    let rounds = &rounds[3..];
    let print = |what: &str, of: &dyn Fn(&[f64; 4]) -> f64| {
        let mut next = rounds.iter();
        median(&format!("{name}_{what}"), ROUNDS, || of(next.next().unwrap()));
    };
    print("memcpy", &|[copy, ..]| *copy);
    print("step", &|[_, step, ..]| *step);
    print("call", &|[_, _, call, _]| *call);
    print("next_step_excess", &|[_, step, _, after]| after - step);
    print("over_memcpy", &|[copy, _, call, _]| call / copy);
    print("stall_over_memcpy", &|[copy, step, call, after]| (call + after - step) / copy);
}

/// The model, out of its variable: the optimizer takes it by value.
fn take(model: &mut Mlp) -> Mlp {
    let layer = || LinearConfig::new(1, 1).init(&Device::flex());
    std::mem::replace(model, Mlp { first: layer(), second: layer(), third: layer() })
}
