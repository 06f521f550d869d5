//! The hand-written loop.

use burn::optim::GradientsParams;
use zae_engine::{prelude::accuracy, rng::seed_for};

use crate::{
    job::{Job, batch},
    lap::step_starts,
    models::{LR, SEED, device, optimizer},
};

pub(crate) fn train(job: Job) -> Vec<f64> {
    let Job { mut model, batches, steps, accuracy: with_accuracy, .. } = job;
    let (device, mut optimizer) = (device(), optimizer());
    let (mut losses, mut accuracies) = (Vec::new(), Vec::new());
    for step in 0..steps {
        device.seed(seed_for(SEED, 0, step));
        let (x, y) = batch(&batches, step);
        step_starts();
        let (loss, logits) = model.loss(x, y.clone());
        if with_accuracy {
            accuracies.push(accuracy(logits, y).into_scalar::<f32>());
        }
        losses.push(f64::from(loss.clone().into_scalar::<f32>()));
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(LR, model, gradients);
    }
    losses
}
