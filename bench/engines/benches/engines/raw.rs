//! The hand-written loop.

use tch::{Device, Kind, Tensor, nn};
use zae_bench_peers::lap::step_starts;
use zae_tch_sys::{AdamStep, AdamTensors, adam_step};

use zae_bench_engines::workload::{LR, WEIGHT_DECAY, Workload, batch};

const ADAMW: AdamStep = AdamStep {
    lr: LR,
    beta1: 0.9,
    beta2: 0.999,
    weight_decay: WEIGHT_DECAY,
    eps: 1e-8,
    amsgrad: false,
    decoupled: true,
    maximize: false,
};

/// Returns the mean loss.
pub(crate) fn train(workload: Workload, steps: u64) -> f64 {
    // As the learner does: what is compared is the loop.
    zae_tch_sys::keep_memory();
    let vs = nn::VarStore::new(Device::Cpu);
    let (net, batches) = (workload.net(&vs.root()), workload.batches());
    let params = vs.trainable_variables();
    let zeros = || params.iter().map(Tensor::zeros_like).collect::<Vec<_>>();
    let (exp_avgs, exp_avg_sqs) = (zeros(), zeros());
    let counts: Vec<_> = params.iter().map(|_| Tensor::zeros([], (Kind::Float, Device::Cpu))).collect();
    let [params, exp_avgs, exp_avg_sqs, counts] = [&params[..], &exp_avgs, &exp_avg_sqs, &counts].map(refs);
    let mut losses = 0.0;
    for step in 0..steps {
        step_starts();
        let loss = net.loss(batch(&batches, step));
        losses += loss.double_value(&[]);
        let grads = Tensor::run_backward(&[loss], &params, false, false);
        let tensors = AdamTensors {
            params: &params,
            grads: &refs(&grads),
            exp_avgs: &exp_avgs,
            exp_avg_sqs: &exp_avg_sqs,
            max_exp_avg_sqs: &[],
            steps: &counts,
        };
        adam_step(&tensors, &ADAMW, None, None).unwrap();
    }
    losses / steps as f64
}

fn refs(tensors: &[Tensor]) -> Vec<&Tensor> {
    tensors.iter().collect()
}
