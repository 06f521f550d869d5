//! [`Patience`]: waiting for other processes without holding a core.

use std::time::{Duration, Instant};

/// As long as the others are about to come, as they are when all do the same work, asking again at once is quickest.
const EAGER: Duration = Duration::from_micros(50);
/// Then others may have the core, and get it. A transfer goes on only while it is asked after, so this is long enough for
/// one of a few megabytes.
const YIELDING: Duration = Duration::from_millis(20);
/// After that somebody is late, and a tenth of a millisecond more is nothing.
const NAP: Duration = Duration::from_micros(100);

/// One wait.
pub(super) struct Patience {
    since: Instant,
    limit: Duration,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { since: Instant::now(), limit }
    }

    /// Waits a moment, and says how long it has been.
    pub(super) fn pause(&self) -> Waited {
        let waited = self.since.elapsed();
        if waited >= self.limit {
            return Waited::TooLong;
        }
        if waited < EAGER {
            std::hint::spin_loop();
            Waited::Briefly
        } else if waited < YIELDING {
            std::thread::yield_now();
            Waited::Briefly
        } else {
            std::thread::sleep(NAP);
            Waited::Long
        }
    }
}

/// How long a wait has been.
#[derive(PartialEq, Eq)]
pub(super) enum Waited {
    Briefly,
    /// There is time to look whether there will be anything to wait for.
    Long,
    TooLong,
}
