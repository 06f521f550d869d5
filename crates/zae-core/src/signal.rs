//! SIGINT and SIGTERM: the first asks the run to end between two steps, the second kills.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::{BoxError, Fallible};

/// What the handlers touch: atomics, nothing else.
struct Flags {
    /// The signal that came while a trainer was working, or 0. It stays: a program that was asked to end must not start
    /// its next evaluation.
    received: Arc<AtomicUsize>,
    /// Whether the next signal does what it does in a program without handlers: end the process.
    lethal: Arc<AtomicBool>,
    /// Trainers at work.
    listeners: AtomicUsize,
}

/// Whether a trainer has listened: who only looks must not install the handlers.
static INSTALLED: AtomicBool = AtomicBool::new(false);

static FLAGS: LazyLock<Result<Flags, String>> = LazyLock::new(|| install().map_err(|e| e.to_string()));

fn install() -> std::io::Result<Flags> {
    let received = Arc::new(AtomicUsize::new(0));
    let lethal = Arc::new(AtomicBool::new(true));
    for signal in [SIGINT, SIGTERM] {
        // In this order: a signal that finds `lethal` set ends the process, any other sets both.
        signal_hook::flag::register_conditional_default(signal, lethal.clone())?;
        signal_hook::flag::register_usize(signal, received.clone(), signal as usize)?;
        signal_hook::flag::register(signal, lethal.clone())?;
    }
    Ok(Flags { received, lethal, listeners: AtomicUsize::new(0) })
}

/// The signal that asked a trainer of this process to end, if one did.
#[cfg(feature = "bar")]
pub(crate) fn received() -> Option<&'static str> {
    let flags = INSTALLED.load(Ordering::Relaxed).then(|| FLAGS.as_ref().ok()).flatten()?;
    name_of(flags.received.load(Ordering::Relaxed))
}

#[inline]
fn name_of(signal: usize) -> Option<&'static str> {
    match signal {
        0 => None,
        s if s == SIGINT as usize => Some("SIGINT"),
        _ => Some("SIGTERM"),
    }
}

/// While one lives, signals are requests.
pub(crate) struct Listener(&'static Flags);

impl Listener {
    /// Starts to listen.
    pub(crate) fn start() -> Fallible<Self> {
        let flags = FLAGS.as_ref().map_err(|e| -> BoxError {
            format!("cannot handle signals: {e}; `.handle_signals(false)` does without").into()
        })?;
        INSTALLED.store(true, Ordering::Relaxed);
        flags.listeners.fetch_add(1, Ordering::SeqCst);
        if flags.received.load(Ordering::SeqCst) == 0 {
            flags.lethal.store(false, Ordering::SeqCst);
        }
        Ok(Self(flags))
    }

    /// The signal that asked for an end, if one did.
    #[inline]
    pub(crate) fn received(&self) -> Option<&'static str> {
        name_of(self.0.received.load(Ordering::Relaxed))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.0.listeners.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.lethal.store(true, Ordering::SeqCst);
        }
    }
}
