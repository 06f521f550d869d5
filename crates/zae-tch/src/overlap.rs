//! [`Overlap`]: gradients are summed over processes while others are computed.

use std::{any::Any, sync::Arc};

use tch::{Device, Kind, Tensor};
use zae_core::{error::Fallible, process_group::ProcessGroup};
use zae_tch_sys::GradientSums;

use crate::{process_group::C10dGroup, variables::Variable};

/// How many bytes the first piece has at least, if there are as many, and the others: as in PyTorch's
/// `DistributedDataParallel`. The first one is on its way early.
const BYTES: [usize; 2] = [1 << 20, 25 << 20];

/// A gradient of so many bytes is a piece by itself, which takes no copy and no memory.
const LARGE: usize = 4 << 20;

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
        let pieces = pieces(&params);
        c10d.sum_gradients_of(&pieces.concat(), &pieces.iter().map(Vec::len).collect::<Vec<_>>())?;
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

/// These parameters in pieces, by when a piece is whole.
fn pieces<'a>(params: &[&'a Tensor]) -> Vec<Vec<&'a Tensor>> {
    let mut pieces = Vec::new();
    let (mut piece, mut bytes) = (Vec::new(), 0);
    for param in params {
        let own = param.numel() * size_of::<f32>();
        if own >= LARGE {
            pieces.push(vec![*param]);
            continue;
        }
        piece.push(*param);
        bytes += own;
        if bytes >= BYTES[pieces.len().min(1)] {
            pieces.push(std::mem::take(&mut piece));
            bytes = 0;
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_piece_is_a_small_one_large_gradients_go_alone_and_none_is_empty() {
        let of = |numbers: &[i64]| -> Vec<Vec<usize>> {
            let all: Vec<_> = numbers.iter().map(|n| Tensor::zeros([*n], (Kind::Float, Device::Cpu))).collect();
            let pieces = pieces(&all.iter().collect::<Vec<_>>());
            pieces.iter().map(|piece| piece.iter().map(|param| param.numel()).collect()).collect()
        };
        let mega = 1 << 20;
        assert_eq!(of(&[]), Vec::<Vec<usize>>::new());
        assert_eq!(of(&[10]), [[10]]);
        // A quarter of a million numbers make the first, and some six million each other one.
        let half = mega as usize / 2;
        let many = [vec![10, 11, half], vec![half; 13], vec![half, 12]];
        let flat: Vec<i64> = many.iter().flatten().map(|n| *n as i64).collect();
        assert_eq!(of(&flat), many);
        // What is there before a large one goes with what comes after it.
        assert_eq!(of(&[10, mega, 11, 12]), [vec![mega as usize], vec![10, 11, 12]]);
    }
}
