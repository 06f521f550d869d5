//! [`Lockstep`]: ranks that wait for each other, and exchange no gradients.

use std::sync::Arc;

use zae_core::{
    error::Fallible,
    process_group::{ProcessGroup, Sum},
};
use zae_tch::C10dGroup;

/// Words go their way, and a sum of gradients is what each rank has given.
pub(crate) struct Lockstep(pub(crate) Arc<C10dGroup>);

impl ProcessGroup for Lockstep {
    fn rank(&self) -> usize {
        self.0.rank()
    }
    fn world_size(&self) -> usize {
        self.0.world_size()
    }
    fn all_reduce_sum(&self, _: &mut [f32]) -> Fallible {
        Ok(())
    }
    fn begin_sum<'a>(&'a self, _: &'a mut Vec<f32>) -> Fallible<Box<dyn Sum + 'a>> {
        Ok(Box::new(Own))
    }
    fn all_gather(&self, own: &[u8]) -> Fallible<Vec<Vec<u8>>> {
        self.0.all_gather(own)
    }
    fn broadcast(&self, bytes: &mut Vec<u8>, from: usize) -> Fallible {
        self.0.broadcast(bytes, from)
    }
    fn abort(&self, reason: &str) {
        self.0.abort(reason);
    }
}

/// What is taken is what is there.
struct Own;

impl Sum for Own {
    fn give(&mut self, _: &[f32]) -> Fallible {
        Ok(())
    }
    fn take(&mut self, _: &mut [f32]) -> Fallible {
        Ok(())
    }
    fn end(&mut self) -> Fallible {
        Ok(())
    }
}
