//! [`Written`]: what this rank does, written down in the store now and then. So the others can say what a rank did that is
//! missed.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    time::Duration,
};

use zae_core::{error::Stage, watch::Whereabouts};

use super::notes::Notes;

/// How often it is written down.
const BEAT: Duration = Duration::from_secs(1);

/// What this rank does. The training thread tells it at each turn, and a thread of its own writes it down, until this is dropped.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) whereabouts: Arc<Whereabouts>,
    _until: Sender<Infallible>,
}

impl Written {
    /// Begins to write them down under `where`. Without a thread nothing is written.
    pub(super) fn begin(notes: Notes) -> Self {
        let whereabouts = Arc::<Whereabouts>::default();
        let (until, over) = mpsc::channel();
        let thread = std::thread::Builder::new().name("c10d-where".to_owned());
        let own = whereabouts.clone();
        drop(thread.spawn(move || write_down(&own, &notes, &over)));
        Self { whereabouts, _until: until }
    }
}

fn write_down(whereabouts: &Whereabouts, notes: &Notes, over: &Receiver<Infallible>) {
    loop {
        let text = whereabouts.text().unwrap_or_else(|| Stage::Start.to_string());
        // A store that is gone is missed by others.
        let _ = notes.store.set(&notes.key("where", notes.rank), text.as_bytes());
        if over.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}
