//! Buffers that snapshots are copied into, kept from one to the next: memory that was written before takes a copy five
//! times as fast as memory that the system has to hand over first.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use zae_core::{
    error::Fallible,
    learner::{Dtype, SavedTensor, TensorBytes},
};

/// One snapshot is being written, one waits.
const KEPT: usize = 2;

/// The buffers that no snapshot holds, at most [`KEPT`] of each name. They are freed with the learner that owns the pool.
#[derive(Default)]
pub(crate) struct Pool(Mutex<HashMap<Arc<str>, Vec<Vec<u8>>>>);

impl Pool {
    /// A tensor with a copy of `bytes`. When it is dropped, its buffer comes back.
    pub(crate) fn copy(self: &Arc<Self>, name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) -> SavedTensor {
        let (name, mut buffer) = self.take(name);
        buffer.clear();
        buffer.extend_from_slice(bytes);
        let data = Arc::new(Pooled { name, buffer, pool: Arc::downgrade(self) });
        SavedTensor { dtype, shape: shape.to_vec(), data }
    }

    fn take(&self, name: &str) -> (Arc<str>, Vec<u8>) {
        let mut free = self.lock();
        match free.get_key_value(name).map(|(name, _)| name.clone()) {
            Some(name) => {
                let buffer = free.get_mut(&name).and_then(Vec::pop);
                (name, buffer.unwrap_or_default())
            }
            None => {
                let name: Arc<str> = name.into();
                free.insert(name.clone(), Vec::with_capacity(KEPT));
                (name, Vec::new())
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<Vec<u8>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Pooled {
    name: Arc<str>,
    buffer: Vec<u8>,
    pool: Weak<Pool>,
}

impl TensorBytes for Pooled {
    fn bytes(&self) -> Fallible<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(&self.buffer))
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        if let Some(free) = pool.lock().get_mut(&self.name)
            && free.len() < KEPT
        {
            free.push(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn copy(pool: &Arc<Pool>, value: u8) -> (SavedTensor, *const u8) {
        let tensor = pool.copy("a", Dtype::U8, &[4096], &[value; 4096]);
        let address = tensor.data.bytes().unwrap().as_ptr();
        (tensor, address)
    }

    #[test]
    fn a_buffer_is_used_again_once_its_snapshot_is_gone() {
        let pool = Arc::new(Pool::default());
        let (first, first_at) = copy(&pool, 1);
        let (second, second_at) = copy(&pool, 2);
        assert_ne!(first_at, second_at);
        drop(first);
        let (third, third_at) = copy(&pool, 3);
        assert_eq!(third_at, first_at);
        assert!(second.data.bytes().unwrap().iter().all(|&byte| byte == 2));
        assert!(third.data.bytes().unwrap().iter().all(|&byte| byte == 3));
    }

    #[test]
    fn two_buffers_of_a_name_are_kept_and_none_outlives_the_pool() {
        let pool = Arc::new(Pool::default());
        let held: Vec<_> = (0..5).map(|value| copy(&pool, value)).collect();
        drop(held);
        assert_eq!(pool.lock()["a"].len(), KEPT);
        let (last, _) = copy(&pool, 9);
        drop(pool);
        assert_eq!(last.data.bytes().unwrap()[0], 9);
    }
}
