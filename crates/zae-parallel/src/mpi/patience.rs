//! [`Patience`]: waiting for other processes without holding a core.

use std::time::{Duration, Instant};

/// As long as the others are about to come, as they are when all do the same work, asking again at once is quickest.
const EAGER: Duration = Duration::from_micros(50);
/// Then others may have the core: it may be the late rank that needs it. A wait that was as long as this may take a tenth more.
const FOR_RANKS: Duration = Duration::from_millis(1);
/// A transfer goes on only while it is asked after: so this is enough for one of a few megabytes.
const FOR_BYTES: Duration = Duration::from_millis(20);
const NAP: Duration = Duration::from_micros(100);

/// One wait.
pub(super) struct Patience {
    since: Instant,
    yielding: Duration,
    limit: Duration,
}

impl Patience {
    /// For the other ranks to come.
    pub(super) fn for_ranks(limit: Duration) -> Self {
        Self { since: Instant::now(), yielding: FOR_RANKS, limit }
    }

    /// For what ranks that are there send each other.
    pub(super) fn for_bytes(limit: Duration) -> Self {
        Self { since: Instant::now(), yielding: FOR_BYTES, limit }
    }

    /// When the wait is over.
    pub(super) fn limit(&self) -> Duration {
        self.limit
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
        } else if waited < self.yielding {
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
