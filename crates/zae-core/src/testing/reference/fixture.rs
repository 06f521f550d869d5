//! The reference engine's entry to the conformance suite.

use super::{Batch, LazyScalar, Net, ReferenceDevice, ReferenceLearner, adamw::AdamW};
use crate::{
    error::Fallible,
    learner::{Learner, Readout},
    rng,
    step::Step,
    task::Mode,
    testing::{Architecture, Fixture, HandWritten, Samples, Sizes},
};

/// The [`Fixture`] of the reference engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference {
    /// Whether it plays an asynchronous device.
    pub asynchronous: bool,
}

impl Fixture for Reference {
    type Learner = ReferenceLearner;
    type Batch = Batch;

    fn learner(&self, architecture: Architecture) -> ReferenceLearner {
        let learner = ReferenceLearner::new(Net::new(architecture, self.sizes(architecture)));
        if self.asynchronous { learner.asynchronous() } else { learner }
    }

    fn without_optimizer(&self, architecture: Architecture) -> ReferenceLearner {
        ReferenceLearner::without_optimizer(Net::new(architecture, self.sizes(architecture)))
    }

    fn batch(&self, samples: &Samples) -> Batch {
        Batch { inputs: samples.inputs.clone(), labels: samples.labels.clone(), device: None }
    }

    fn step(&self, model: &Net, batch: Batch, _: Mode) -> Fallible<Step<LazyScalar>> {
        let (loss, hits) = model.loss(&batch)?;
        let n = batch.labels.len();
        Ok(Step::new(loss, n).count("hits", hits.clone()).metric_over("hits_per_batch", hits, 1))
    }

    fn constant(&self, model: &Net, value: f64) -> LazyScalar {
        model.constant(&[value])
    }

    fn hand_written(&self, order: &HandWritten<Batch>) -> Fallible<(Vec<f64>, ReferenceLearner)> {
        let mut learner = self.learner(order.architecture);
        let mut optimizer = AdamW::new(learner.net.params.len());
        learner.net.init(rng::init_seed(order.seed));
        learner.net.device.set(ReferenceDevice { index: 0, tracked: true });
        let mut losses = Vec::new();
        for epoch in 0..order.epochs {
            for (i, batch) in order.batches.iter().enumerate() {
                learner.seed(rng::seed_for(order.seed, epoch, i as u64));
                let batch = Batch { device: Some(learner.device(Mode::Train)), ..batch.clone() };
                let (loss, _) = learner.net.loss(&batch)?;
                let graph = loss.graph.as_ref().ok_or("no graph")?;
                let gradients = learner.net.gradients(graph, 1.0);
                optimizer.step(&mut learner.net.params, &gradients, order.lr);
                let mut out = Readout::default();
                learner.read(&[loss], &mut out)?;
                losses.push(out.get(0)[0]);
            }
        }
        learner.optimizer = Some(optimizer);
        Ok((losses, learner))
    }

    fn sizes(&self, architecture: Architecture) -> Sizes {
        match architecture {
            // Unoptimised loops: large is what a test of a second allows.
            Architecture::Large => Sizes { features: 32, hidden: 48, classes: 10, rows: 16 },
            _ => Sizes::small(),
        }
    }
}
