//! [`Overlap`]: how the reference engine plays an engine that sums gradients while it computes others.

use std::{any::Any, sync::Arc};

use crate::{error::Fallible, process_group::ProcessGroup, testing::ThreadRank};

use super::net::Param;

/// How many pieces the gradients travel in.
const PIECES: usize = 2;

/// The sums of a learner's gradients. The `last` backward pass of a window sends the first piece, as an engine does that is done
/// with it; the other one is never done before all ranks wait for it.
pub(super) struct Overlap {
    group: Arc<dyn ProcessGroup>,
    sent: Vec<Vec<f32>>,
}

impl Overlap {
    /// With ranks that are to play it.
    pub(super) fn of(group: &Arc<dyn ProcessGroup>) -> Option<Self> {
        let thread = (&**group as &dyn Any).downcast_ref::<ThreadRank>()?;
        thread.sums_overlap.then(|| Self { group: group.clone(), sent: Vec::new() })
    }

    pub(super) fn begun(&self) -> usize {
        self.sent.len()
    }

    /// # Errors
    /// When the trainer has said `last` before it was.
    pub(super) fn begin(&mut self, params: &[Param], gradients: &[Option<Vec<f32>>]) -> Fallible {
        if !self.sent.is_empty() {
            return Err("the gradients of this window are on their way already".into());
        }
        self.sent = vec![piece(0, params, gradients)];
        Ok(())
    }

    /// # Errors
    /// When the trainer has said `last` before it was, or does not wait for all that is on its way.
    pub(super) fn finish(&mut self, pieces: usize, params: &[Param], gradients: &mut [Option<Vec<f32>>]) -> Fallible {
        if pieces < self.sent.len() {
            return Err("gradients are on their way that nobody waits for".into());
        }
        for i in 0..pieces.min(PIECES) {
            let mut sum = piece(i, params, gradients);
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            if self.sent.get(i).is_some_and(|sent| bits(sent) != bits(&sum)) {
                return Err("gradients have changed after they were sent to the other ranks".into());
            }
            self.group.all_reduce_sum(&mut sum)?;
            let mut sum = sum.as_slice();
            for place in places(i, params) {
                let (own, rest) = sum.split_at(params[place].value.len());
                let something = own.iter().any(|value| value.to_bits() != (-0.0f32).to_bits());
                if gradients[place].is_some() || something {
                    gradients[place] = Some(own.to_vec());
                }
                sum = rest;
            }
        }
        self.sent.clear();
        Ok(())
    }
}

/// The trainable parameters of a piece.
fn places(i: usize, params: &[Param]) -> impl Iterator<Item = usize> {
    let trainable = params.iter().enumerate().filter(|(_, param)| param.trainable).map(|(place, _)| place);
    trainable.skip(i).step_by(PIECES)
}

fn piece(i: usize, params: &[Param], gradients: &[Option<Vec<f32>>]) -> Vec<f32> {
    let values = |place: usize| gradients[place].clone().unwrap_or_else(|| vec![-0.0; params[place].value.len()]);
    places(i, params).flat_map(values).collect()
}
