//! By what checkpoints are ranked.

use std::collections::BTreeMap;

use zae_core::{metrics::Metrics, snapshot::Snapshot};

use crate::{
    error::Result,
    folder::{Best, Folder, scan},
};

/// The values of the checkpoints on disk by their steps. The last one of a step counts.
pub(super) fn ranked(folder: &Folder, best: &Best) -> Result<BTreeMap<u64, f64>> {
    let oldest_first = scan(folder.dir())?.into_iter().rev().filter_map(|entry| entry.manifest.ok());
    Ok(oldest_first.filter_map(|manifest| Some((manifest.step, *manifest.metrics.get(&best.metric)?))).collect())
}

/// What is known of the weights of a snapshot: the last validation and the epoch's means, if they are of this very step.
pub(super) fn metrics_of(snapshot: &Snapshot) -> Metrics {
    let run = &snapshot.run;
    let step = run.progress.step();
    let mut metrics = Metrics::default();
    if let Some(epoch) = run.history.epochs.last().filter(|epoch| epoch.step == step) {
        metrics.extend(epoch.metrics.clone());
    }
    if let Some(evaluation) = run.history.evaluations.last() {
        // The epoch has them too, also if they are of weights from before its end.
        metrics.retain(|name, _| !evaluation.metrics.contains_key(name));
        if evaluation.step == step {
            metrics.extend(evaluation.metrics.clone());
        }
    }
    metrics
}
