//! [`Together`]: what a learner does with those of other processes while it computes.

use std::sync::Arc;

use tch::Device;
use zae_core::{error::Fallible, process_group::ProcessGroup};
use zae_tch_sys::BatchNormLane;

use crate::{
    overlap::{Overlap, as_c10d},
    sync_batch_norm,
    variables::Variable,
};

const NO_LANE: &str = "ranks exchange the statistics of a `SyncBatchNorm` over c10d: start them with `torchrun` or the variables that \
                       it sets, or take `nn::batch_norm2d`";

/// Gradients that travel during the backward pass, and layers that exchange statistics.
#[derive(Default)]
pub(crate) struct Together {
    overlap: Option<Overlap>,
    /// What connects the layers, and for which group.
    lane: Option<(Arc<dyn ProcessGroup>, BatchNormLane)>,
    /// All processes compute a micro-batch.
    pub(crate) in_step: bool,
}

impl Together {
    pub(crate) fn overlap(
        &mut self,
        group: &Arc<dyn ProcessGroup>,
        variables: &[Variable],
        device: Device,
    ) -> Fallible<bool> {
        if !self.overlap.as_ref().is_some_and(|overlap| overlap.is_of(group, variables, device)) {
            self.overlap = Overlap::of(group, variables, device)?;
        }
        Ok(self.overlap.is_some())
    }

    /// The backward pass that comes is the last of the window.
    pub(crate) fn begin(&self, variables: &[Variable]) -> Fallible {
        self.overlap.as_ref().map_or(Ok(()), |overlap| overlap.begin(variables))
    }

    pub(crate) fn begun(&self) -> u64 {
        self.overlap.as_ref().map_or(0, |overlap| overlap.begun() as u64)
    }

    pub(crate) fn finish(&self, pieces: u64) -> Fallible {
        let pieces = usize::try_from(pieces).unwrap_or(usize::MAX);
        // Of none too: what a backward pass that has failed has noted is forgotten.
        self.overlap.as_ref().map_or(Ok(()), |overlap| overlap.finish(pieces))
    }

    pub(crate) fn connect_layers(&mut self, group: &Arc<dyn ProcessGroup>) -> Fallible<bool> {
        if !sync_batch_norm::are_there() {
            return Ok(false);
        }
        if !self.lane.as_ref().is_some_and(|(of, lane)| Arc::ptr_eq(of, group) && lane.check().is_ok()) {
            let lane = as_c10d(&**group).ok_or(NO_LANE)?.connect_layers()?;
            self.lane = Some((group.clone(), lane));
        }
        Ok(true)
    }

    /// Computes layers, which exchange something if all processes do.
    pub(crate) fn layers<R>(&self, f: impl FnOnce() -> R) -> R {
        let lane = self.lane.as_ref().filter(|_| self.in_step);
        sync_batch_norm::within(lane.map(|(_, lane)| lane), f)
    }

    pub(crate) fn leave_layers(&mut self) -> bool {
        self.in_step = false;
        let Some((group, lane)) = self.lane.take() else { return false };
        let failed = lane.check();
        lane.close();
        if let (Err(error), Some(group)) = (&failed, as_c10d(&*group)) {
            group.layers_have_failed(error);
        }
        failed.is_err()
    }
}
