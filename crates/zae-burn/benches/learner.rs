//! What the learner costs beside the same operations written by hand: a perceptron of 4.9 M parameters, batch 128, AdamW,
//! on Flex. Prints lines `name median_ms`.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::{hint::black_box, time::Instant};

use burn::{
    module::{Module, ModuleVisitor, Param},
    nn::{Linear, LinearConfig},
    optim::{AdamWConfig, GradientsParams},
    prelude::*,
    tensor::{Distribution, activation::relu},
};
use zae_burn::{BurnLearner, TensorDataset};
use zae_core::{
    engine::Engine,
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
    fn new(device: &Device) -> Self {
        Self {
            first: LinearConfig::new(784, 1700).init(device),
            second: LinearConfig::new(1700, 2080).init(device),
            third: LinearConfig::new(2080, 10).init(device),
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
    let mut learner = BurnLearner::new(Mlp::new(&device), AdamWConfig::new().init(), &device);
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
}

/// The model, out of its variable: the optimizer takes it by value.
fn take(model: &mut Mlp) -> Mlp {
    let layer = || LinearConfig::new(1, 1).init(&Device::flex());
    std::mem::replace(model, Mlp { first: layer(), second: layer(), third: layer() })
}
