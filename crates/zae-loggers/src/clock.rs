//! The time, and deadlines.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// That much later, a year at most: the clock need not reach further.
pub(crate) fn later(than: Instant, time: Duration) -> Instant {
    than + time.min(Duration::from_secs(365 * 86_400))
}
