//! Ranks that are threads, each with a trainer of its own.

use std::{sync::Arc, time::Duration};

use zae_core::{
    add_on::{AddOn, Context},
    error::{Error, Fallible},
    metrics::Rows,
    process_group::{ProcessGroup, Reduction},
    task::Mode,
    testing::{Architecture, Connect, Recorder, overlapping_thread_ranks, reference::Batch, thread_ranks},
    trainer::Trainer,
};

use super::{Own, data, learner, step, weights, with_learner};

/// Remembers rows and the error on every rank, where a recorder itself is rank 0's.
pub struct Everywhere(pub Recorder);

impl AddOn for Everywhere {
    fn name(&self) -> &'static str {
        "everywhere"
    }
    fn on_rows(&mut self, rows: &Rows<'_>, cx: &mut Context<'_>) -> Fallible {
        self.0.on_rows(rows, cx)
    }
    fn on_error(&mut self, error: &Error, cx: &mut Context<'_>) -> Fallible {
        self.0.on_error(error, cx)
    }
}

const TIMEOUT: Duration = Duration::from_secs(60);

/// Does `work` on so many ranks at the same time, and returns what each has to say. An even number of them sums gradients while
/// others are computed, if the order of the sums is free.
pub fn on_ranks<R: Send>(
    world_size: usize,
    reduction: Reduction,
    work: impl Fn(usize, Connected) -> R + Sync,
) -> Vec<R> {
    let ranks = if world_size.is_multiple_of(2) { overlapping_thread_ranks } else { thread_ranks };
    let ranks = ranks(world_size, TIMEOUT);
    std::thread::scope(|scope| {
        let threads: Vec<_> = ranks
            .into_iter()
            .enumerate()
            .map(|(rank, group)| {
                let work = &work;
                scope.spawn(move || work(rank, Connected(Some(group), reduction)))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

pub struct Connected(pub Option<Arc<dyn ProcessGroup>>, pub Reduction);

impl Connected {
    pub fn trainer(&self, task: Own, architecture: Architecture) -> Trainer<Own> {
        self.with(with_learner(task, learner(architecture)))
    }
    pub fn with(&self, trainer: Trainer<Own>) -> Trainer<Own> {
        trainer.add_on(Connect::new(self.0.clone(), self.1, 2))
    }
}

/// One process that sums as several do.
pub fn alone(reduction: Reduction) -> Connected {
    Connected(None, reduction)
}

/// Parameters alone: running statistics are those of rank 0's micro-batches.
pub fn parameters(trainer: &mut Trainer<Own>) -> Vec<Vec<u8>> {
    let all = weights(trainer).into_iter().filter(|(name, _)| !name.contains("running"));
    all.map(|(_, bytes)| bytes).collect()
}

pub fn close(a: &[Vec<u8>], b: &[Vec<u8>]) -> bool {
    let numbers = |all: &[Vec<u8>]| -> Vec<f32> {
        all.iter()
            .flat_map(|bytes| bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<_>>())
            .collect()
    };
    let (a, b) = (numbers(a), numbers(b));
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-5 * a.abs().max(1.0))
}

/// Eleven batches of uneven size.
pub fn eleven() -> Vec<Batch> {
    data(&[5, 3, 4, 5, 2, 1, 6, 2, 3, 4, 1], 1)
}

/// Fails or spoils a batch of a training step, but only once.
pub fn once(at: u64, act: impl Fn(&mut Batch) -> Fallible + 'static) -> Own {
    let been = std::cell::Cell::new(false);
    Own::new(move |model, mut batch, here| {
        if here.mode == Mode::Train && here.cursor.micro_batch == at && !been.replace(true) {
            act(&mut batch)?;
        }
        step(model, batch)
    })
}

/// A batch whose loss is not finite.
pub fn spoil(batch: &mut Batch) -> Fallible {
    batch.inputs[0] = f32::INFINITY;
    Ok(())
}
