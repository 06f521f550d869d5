//! [`Pool`]: buffers that engines copy snapshots into, kept from one to the next. Memory that was written before takes a
//! copy five times as fast as memory that the system has to hand over first.

use std::{
    borrow::Cow,
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use crate::{
    error::Fallible,
    learner::{Dtype, SavedTensor, TensorBytes},
};

/// One snapshot is being written, one waits.
const KEPT: usize = 2;

/// The buffers that no snapshot holds, at most two of each name. They are freed with the learner that owns the pool.
///
/// A buffer is memory of the host; where copies from a device want it pinned, it is the engine's own kind.
#[derive(Debug)]
pub struct Pool<B = Vec<u8>>(Mutex<HashMap<Arc<str>, Vec<B>>>);

impl<B> Default for Pool<B> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl Pool {
    /// A tensor with a copy of `bytes`. When it is dropped, its buffer comes back.
    pub fn copy(self: &Arc<Self>, name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) -> SavedTensor {
        let fill = |kept: Option<Vec<u8>>| {
            let mut buffer = kept.unwrap_or_default();
            buffer.clear();
            buffer.extend_from_slice(bytes);
            Ok::<_, Infallible>(buffer)
        };
        let Ok(copied) = self.fill(name, dtype, shape, fill);
        copied
    }
}

impl<B: AsRef<[u8]> + Send + Sync + 'static> Pool<B> {
    /// A tensor in the buffer that `fill` makes, or makes of the one it is given. When it is dropped, its buffer comes back.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn fill<E>(
        self: &Arc<Self>,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
        fill: impl FnOnce(Option<B>) -> Result<B, E>,
    ) -> Result<SavedTensor, E> {
        let (name, kept) = self.take(name);
        let data = Arc::new(Pooled { name, buffer: Some(fill(kept)?), pool: Arc::downgrade(self) });
        Ok(SavedTensor { dtype, shape: shape.to_vec(), data })
    }
}

impl<B> Pool<B> {
    fn take(&self, name: &str) -> (Arc<str>, Option<B>) {
        let mut free = self.lock();
        match free.get_key_value(name).map(|(name, _)| name.clone()) {
            Some(name) => {
                let buffer = free.get_mut(&name).and_then(Vec::pop);
                (name, buffer)
            }
            None => {
                let name: Arc<str> = name.into();
                free.insert(name.clone(), Vec::with_capacity(KEPT));
                (name, None)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<B>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Pooled<B> {
    name: Arc<str>,
    /// There until it is dropped.
    buffer: Option<B>,
    pool: Weak<Pool<B>>,
}

impl<B: AsRef<[u8]> + Send + Sync> TensorBytes for Pooled<B> {
    fn bytes(&self) -> Fallible<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(self.buffer.as_ref().map_or(&[], AsRef::as_ref)))
    }
}

impl<B> Drop for Pooled<B> {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        if let Some(free) = pool.lock().get_mut(&self.name)
            && free.len() < KEPT
        {
            free.extend(self.buffer.take());
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
        let pool = Arc::new(Pool::<Vec<u8>>::default());
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
        let pool = Arc::new(Pool::<Vec<u8>>::default());
        let held: Vec<_> = (0..5).map(|value| copy(&pool, value)).collect();
        drop(held);
        assert_eq!(pool.lock()["a"].len(), KEPT);
        let (last, _) = copy(&pool, 9);
        drop(pool);
        assert_eq!(last.data.bytes().unwrap()[0], 9);
    }
}
