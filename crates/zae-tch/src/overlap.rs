//! [`Overlap`]: gradients are summed over processes while others are computed.

use std::{any::Any, sync::Arc};

use tch::{Device, Kind, Tensor};
use zae_core::{error::Fallible, process_group::ProcessGroup};
use zae_tch_sys::GradientSums;

use crate::{process_group::C10dGroup, variables::Variable};

/// How many bytes the first piece has at least, if there are as many, and the others: as in PyTorch's
/// `DistributedDataParallel`. The first one is on its way early.
const BYTES: [usize; 2] = [1 << 20, 25 << 20];

/// The sums of a learner's gradients over a [`C10dGroup`].
pub(crate) struct Overlap {
    group: Arc<dyn ProcessGroup>,
    /// Of the parameters whose gradients are summed.
    places: Vec<usize>,
    device: Device,
}

impl Overlap {
    /// Nothing if it is another group, or a parameter's gradient is one that it does not sum.
    pub(crate) fn of(group: &Arc<dyn ProcessGroup>, variables: &[Variable], device: Device) -> Fallible<Option<Self>> {
        let Some(c10d) = as_c10d(&**group) else { return Ok(None) };
        let places: Vec<_> = trainable(variables).collect();
        let is_summed = |tensor: &Tensor| tensor.kind() == Kind::Float && tensor.device() == device;
        if !places.iter().all(|i| is_summed(&variables[*i].tensor)) {
            return Ok(None);
        }
        // A backward pass has those of the last layers first.
        let params: Vec<_> = places.iter().rev().map(|i| &variables[*i].tensor).collect();
        c10d.sum_gradients_of(&params, &pieces(&params))?;
        Ok(Some(Self { group: group.clone(), places, device }))
    }

    /// Whether it is what [`Overlap::of`] would make.
    pub(crate) fn is_of(&self, group: &Arc<dyn ProcessGroup>, variables: &[Variable], device: Device) -> bool {
        Arc::ptr_eq(&self.group, group) && self.device == device && trainable(variables).eq(self.places.iter().copied())
    }

    /// The backward pass that comes is the last of the window.
    pub(crate) fn begin(&self, variables: &[Variable]) -> Fallible {
        // They are in order.
        let is_new = |i: &usize| self.places.binary_search(i).is_err();
        if let Some(i) = trainable(variables).find(is_new) {
            let name = &variables[i].name;
            return Err(format!(
                "`{name}` was frozen when the run began, and is not now: on several processes what is trained stays the same \
                 during a run"
            )
            .into());
        }
        self.c10d().and_then(|group| group.sums(GradientSums::begin));
        Ok(())
    }

    pub(crate) fn begun(&self) -> usize {
        self.c10d().and_then(|group| group.sums(|sums| sums.begun())).unwrap_or(0)
    }

    pub(crate) fn finish(&self, pieces: usize) -> Fallible {
        self.c10d().map_or(Ok(()), |group| group.finish_sums(pieces))
    }

    fn c10d(&self) -> Option<&C10dGroup> {
        as_c10d(&*self.group)
    }
}

pub(crate) fn as_c10d(group: &dyn ProcessGroup) -> Option<&C10dGroup> {
    (group as &dyn Any).downcast_ref()
}

fn trainable(variables: &[Variable]) -> impl Iterator<Item = usize> {
    let all = variables.iter().enumerate().filter(|(_, variable)| variable.trainable());
    all.map(|(i, _)| i)
}

/// How many of these parameters make each piece.
fn pieces(params: &[&Tensor]) -> Vec<usize> {
    let mut pieces = Vec::new();
    let (mut count, mut bytes) = (0, 0);
    for param in params {
        count += 1;
        bytes += param.numel() * size_of::<f32>();
        if bytes >= BYTES[pieces.len().min(1)] {
            pieces.push(count);
            (count, bytes) = (0, 0);
        }
    }
    if count > 0 {
        pieces.push(count);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_piece_is_a_small_one_and_none_is_empty() {
        let of = |numbers: &[i64]| {
            let all: Vec<_> = numbers.iter().map(|n| Tensor::zeros([*n], (Kind::Float, Device::Cpu))).collect();
            pieces(&all.iter().collect::<Vec<_>>())
        };
        let mega = 1 << 20;
        assert_eq!(of(&[]), Vec::<usize>::new());
        assert_eq!(of(&[10]), [1]);
        // A quarter of a million numbers make the first, some six million each other one.
        assert_eq!(of(&[10, mega / 4, 10, 6 * mega, mega / 4, 10, 10]), [2, 3, 2]);
    }
}
