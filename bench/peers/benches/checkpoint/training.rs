//! A run that saves, with the time of every step, and in each cycle of steps the reference beside the save.

use std::{
    ops::Range,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use burn::optim::AdamWConfig;
use zae_bench_peers::stats::Median;
use zae_engine::{checkpoint::Save, data::from_fn, prelude::*};

use crate::{
    models::{Batch, LR, Net, SEED, Workload, device},
    reference::Reference,
};

/// Steps from one save to the next.
const CYCLE: usize = 40;
/// Before this step of a cycle the reference is measured, if the save before is on disk: otherwise neither counts.
const REFERENCE: usize = 28;
/// The steps of a cycle that nothing disturbs: the reference is over, and the save has not begun.
const QUIET: Range<usize> = REFERENCE + 2..CYCLE - 2;
/// The first saves get their memory from the system.
const WARM_UP: usize = 2;

/// When a step ends, for the next one starts, and when that starts: the reference lies between.
struct Start {
    arrived: Instant,
    left: Instant,
}

#[derive(Default)]
struct Clock {
    starts: Vec<Start>,
    /// Seconds of memcpy and of raw write, once per cycle.
    references: Vec<(f64, f64)>,
    reference: Option<Reference>,
}

impl Clock {
    fn step_starts(&mut self) {
        let arrived = Instant::now();
        if self.starts.len() % CYCLE == REFERENCE
            && let Some(reference) = &mut self.reference
        {
            self.references.push((reference.memcpy(), reference.write()));
        }
        self.starts.push(Start { arrived, left: Instant::now() });
    }

    /// Seconds of a step.
    fn step(&self, i: usize) -> f64 {
        (self.starts[i + 1].arrived - self.starts[i].left).as_secs_f64()
    }

    /// Seconds of a step around the save that ends a cycle: the median of the quiet ones of this cycle and the next.
    fn usual(&self, first: usize) -> f64 {
        Median::of(QUIET.chain(QUIET.map(|i| i + CYCLE)).map(|i| self.step(first + i))).value
    }

    /// What the save that ends a cycle cost; nothing if it was not on disk in time.
    fn cost(&self, cycle: usize, save: &Save) -> Option<Cost> {
        let (first, saving) = (cycle * CYCLE, CYCLE - 1);
        let usual = self.usual(first);
        let excess = |i: usize| self.step(first + i) - usual;
        // At the latest, for the writer has begun before the next step did.
        let done = self.starts[first + CYCLE].arrived + save.write;
        let until = (saving..CYCLE + REFERENCE).find(|i| self.starts[first + i + 1].arrived >= done)?;
        let (memcpy, write) = *self.references.get(cycle)?;
        let (call, next) = (excess(saving), excess(saving + 1));
        Some(Cost { call, stall: call + next, total: (saving..=until).map(excess).sum(), memcpy, write })
    }
}

pub(crate) struct Classify(Arc<Mutex<Clock>>);

impl Task for Classify {
    type Learner = BurnLearner<Net>;
    type Batch = Batch;

    fn train_step(&self, model: &Net, (x, y): Batch, _: &At) -> StepResult<Self> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).step_starts();
        let samples = y.dims()[0];
        Ok(Step::new(model.loss(x, y), samples))
    }
    fn test_step(&self, model: &Net, batch: Batch, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

/// What a save cost, in seconds, and its references.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// The excess of the step with the save in it.
    pub(crate) call: f64,
    /// The same, and that of the next step.
    pub(crate) stall: f64,
    /// The excess of all steps until it was on disk.
    pub(crate) total: f64,
    pub(crate) memcpy: f64,
    pub(crate) write: f64,
}

pub(crate) fn trainer(workload: Workload) -> Trainer<Classify> {
    new(workload, Arc::default())
}

fn new(workload: Workload, clock: Arc<Mutex<Clock>>) -> Trainer<Classify> {
    let learner = BurnLearner::new(workload.model(), AdamWConfig::new(), &device());
    Trainer::new(Classify(clock), learner).seed(SEED).scheduler(LR).handle_signals(false)
}

/// Makes steps without saving.
pub(crate) fn train(trainer: &mut Trainer<Classify>, batches: &Arc<[Batch]>, steps: u64) {
    let data = from_fn(|_| (0..u64::MAX).map(|step| Ok(batches[step as usize % batches.len()].clone())));
    trainer.run(Until::steps(steps), data, ()).unwrap();
}

/// Saves so many times, and says what each save cost.
pub(crate) fn measure(
    workload: Workload,
    batches: &Arc<[Batch]>,
    background: bool,
    saves: usize,
    bytes: Vec<u8>,
    dir: &Path,
) -> Vec<Cost> {
    let reference = Some(Reference::new(bytes, dir.join("raw")));
    let clock = Arc::new(Mutex::new(Clock { reference, ..Clock::default() }));
    let manager = StateManager::in_dir(dir.join("checkpoints")).every_steps(CYCLE as u64).every_epochs(0).at_end(false);
    let mut trainer = new(workload, clock.clone()).add_on(manager.background(background));
    let cycles = WARM_UP + saves;
    // Most of a cycle more, for the steps around the last save.
    train(&mut trainer, batches, ((cycles + 1) * CYCLE - 1) as u64);
    let clock = clock.lock().unwrap();
    let saves = trainer.get::<StateManager>().unwrap().saves();
    assert_eq!(saves.len(), cycles);
    assert!(saves.iter().all(|save| save.error.is_none()), "{saves:?}");
    (WARM_UP..cycles).filter_map(|cycle| clock.cost(cycle, &saves[cycle])).collect()
}
