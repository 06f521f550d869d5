//! [`Clock`]: what meters read the time from.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Time since 1970, which never goes back within a process.
#[derive(Clone)]
pub(in crate::add_ons) struct Clock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock {
    pub(in crate::add_ons) fn new(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(in crate::add_ons) fn now(&self) -> Duration {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        let (since, at_first) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        Self::new(move || at_first + since.elapsed())
    }
}
