//! The trainer on LibTorch, and its AdamW by itself.

use std::sync::Arc;

use tch::{Device, Tensor, nn};
use zae_bench_peers::lap::{Lap, Start, step_starts};
use zae_core::{
    data::from_fn,
    learner::{Learner, Update},
    process_group::ProcessGroup,
    step::Step,
    task::{At, StepResult, Task},
    trainer::{Trainer, Until},
};
use zae_parallel::DataParallel;
use zae_tch::{AdamW, TchLearner};

use crate::{
    turns::Turns,
    workload::{Batch, LR, Net, WEIGHT_DECAY, WEIGHTS_SEED, Workload, batch},
};

fn optimizer() -> AdamW {
    AdamW::new().weight_decay(WEIGHT_DECAY)
}

struct Classify;

impl Task for Classify {
    type Learner = TchLearner<Net>;
    type Batch = Batch;

    fn train_step(&self, net: &Net, batch: Batch, _: &At) -> StepResult<Self> {
        step_starts();
        Ok(Step::new(net.loss(&batch), batch.1.size()[0] as usize))
    }
    fn test_step(&self, net: &Net, batch: Batch, at: &At) -> StepResult<Self> {
        self.train_step(net, batch, at)
    }
}

/// Trains on the batches of these numbers, with other processes if there are any. Returns the mean loss, as the trainer has
/// computed it.
pub fn train(
    workload: Workload,
    numbers: &(impl Iterator<Item = u64> + Clone),
    group: Option<Arc<dyn ProcessGroup>>,
) -> f64 {
    let batches = workload.batches();
    let learner = TchLearner::new(move |vs: &nn::Path<'_>| workload.net(vs), optimizer(), Device::Cpu);
    let mut trainer = Trainer::new(Classify, learner).seed(WEIGHTS_SEED as u64).scheduler(LR);
    if let Some(group) = group {
        trainer = trainer.add_on(DataParallel::with(group));
    }
    let shared = |number| {
        let (x, y) = batch(&batches, number);
        Ok((x.shallow_clone(), y.shallow_clone()))
    };
    let run = trainer.run(Until::epochs(1), from_fn(|_| numbers.clone().map(shared)), ()).unwrap();
    run.history.epochs[0].metrics["train/loss"]
}

const TENSORS: usize = 200;
const ELEMENTS: i64 = 25_000;

/// Steps of AdamW alone; what comes before them is not timed. Returns the mean loss.
pub fn adamw(mut turns: Turns) -> f64 {
    let params = |vs: &nn::Path<'_>| {
        tch::manual_seed(WEIGHTS_SEED);
        (0..TENSORS).map(|i| vs.uniform(&format!("p{i}"), &[ELEMENTS], -1.0, 1.0)).collect::<Vec<Tensor>>()
    };
    let mut learner = TchLearner::new(params, optimizer(), Device::Cpu);
    learner.init(0).unwrap();
    let (mut losses, mut steps) = (0.0, 0);
    while let Some(lap) = turns.next_lap() {
        steps += lap;
        let mut sum = Lap::default();
        for _ in 0..lap {
            let squares = |params: &Vec<Tensor>| {
                let sums: Vec<_> = params.iter().map(|param| param.square().sum(None)).collect();
                Tensor::stack(&sums, 0).sum(None)
            };
            let loss = learner.train(squares).unwrap();
            losses += learner.backward(loss, 1.0, true).unwrap().double_value(&[]);
            let start = Start::now();
            learner.step(&Update::new(LR)).unwrap();
            let step = start.lap(lap);
            sum = Lap { wall: sum.wall + step.wall, cpu: sum.cpu + step.cpu };
        }
        Turns::answer(sum);
    }
    losses / steps as f64
}
