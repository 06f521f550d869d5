//! [`Whereabouts`]: what this rank does, written down in the store now and then. So the others can say what a rank did that is
//! missed.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use zae_core::{
    error::Site,
    watch::{Doing, Turn, Watch},
};

use super::notes::Notes;

/// How often it is written down.
const BEAT: Duration = Duration::from_secs(1);

/// What this rank does. The training thread tells it at each turn, and a thread of its own writes it down.
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Now {
    doing: Kind,
    site: Site,
    /// Kept, so that a turn takes no memory.
    add_on: String,
    turns: u64,
    over: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Kind {
    #[default]
    Stage,
    Hook(&'static str),
    Exchange,
}

impl Whereabouts {
    /// Begins to write them down under `where`, until [`Whereabouts::end`]. Without a thread nothing is written.
    pub(super) fn begin(notes: Notes) -> Arc<Self> {
        let own = Arc::new(Self::default());
        let thread = std::thread::Builder::new().name("c10d-where".to_owned());
        let written = own.clone();
        drop(thread.spawn(move || written.write_down(&notes)));
        own
    }

    pub(super) fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    fn write_down(&self, notes: &Notes) {
        let (mut turns, mut since) = (0, Instant::now());
        let mut now = self.lock();
        while !now.over {
            if now.turns != turns {
                (turns, since) = (now.turns, Instant::now());
            }
            let text = format!("{now}, for {} s", since.elapsed().as_secs());
            drop(now);
            // A store that is gone is missed by others.
            let _ = notes.store.set(&notes.key("where", notes.rank), text.as_bytes());
            now = self.changed.wait_timeout(self.lock(), BEAT).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Whereabouts {
    fn turn(&self, to: &Turn<'_>) {
        let mut now = self.lock();
        now.turns += 1;
        (now.site.step, now.site.cursor) = (to.step, to.cursor);
        now.doing = match to.doing {
            Doing::Stage(stage) => {
                now.site.stage = stage;
                Kind::Stage
            }
            Doing::Hook { add_on, hook } => {
                now.add_on.clear();
                now.add_on.push_str(add_on);
                Kind::Hook(hook)
            }
            _ => Kind::Exchange,
        };
    }
}

impl fmt::Display for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.doing {
            Kind::Stage => write!(f, "{}", self.site),
            Kind::Hook(hook) => write!(f, "`{hook}` of `{}` (step {})", self.add_on, self.site.step),
            Kind::Exchange => write!(f, "an exchange with the others (step {})", self.site.step),
        }
    }
}
