//! [`Uploader`]: the thread that sends.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use zae_core::error::Fallible;

use super::{Remote, Sent, Upload};
use crate::{News, clock::later};

/// Nobody waits for longer, whatever the settings say.
const LONGEST: Duration = Duration::from_secs(86_400);

/// The thread that sends what files hold, as the thread that writes them sees it. Dropped, it sends nothing more.
pub(crate) struct Uploader {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Nothing more is written.
    ending: bool,
    /// Nobody wants this any more.
    cancelled: bool,
    /// All was sent, or why it cannot be.
    result: Option<Result<(), String>>,
    /// The latest failure, while requests fail.
    trouble: Option<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a time, or until the end of the run is announced, unless it was known to be `ending`, or nobody wants this
    /// any more.
    fn pause(&self, time: Duration, ending: bool) {
        let until = later(Instant::now(), time);
        let mut state = self.lock();
        while !state.cancelled && state.ending == ending {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn run(&self, who: &str, mut remote: impl Remote, settings: Upload, news: &News) {
        let _died = Died { shared: self, who, news };
        let (mut retry, mut was_ending, mut is_told) = (settings.first_retry, false, false);
        loop {
            let (ending, cancelled) = {
                let state = self.lock();
                (state.ending, state.cancelled)
            };
            if cancelled {
                return;
            }
            if ending && !std::mem::replace(&mut was_ending, true) {
                // There is little time left.
                retry = settings.first_retry;
            }
            let sent = remote.send(ending, &|| !self.lock().cancelled);
            if self.lock().cancelled {
                // What went wrong is nobody's concern any more: the files may have changed meanwhile.
                return;
            }
            match sent {
                Ok(sent) => {
                    retry = settings.first_retry;
                    if self.lock().trouble.take().is_some() {
                        tracing::info!(logger = who, "the server answers again");
                    }
                    match sent {
                        Sent::More => {}
                        Sent::All if ending => return self.finish(Ok(())),
                        Sent::All => self.pause(settings.every, ending),
                    }
                }
                Err(failure) if failure.is_final() => {
                    let text = failure.to_string();
                    news.warn(format!("{who}: {text}; nothing more is sent, all of it is in the files"));
                    return self.finish(Err(text));
                }
                Err(failure) => {
                    let is_new = self.lock().trouble.replace(failure.to_string()).is_none();
                    if is_new {
                        tracing::warn!(logger = who, %failure, "a request has failed");
                    }
                    // A server that comes and goes is told of once.
                    if !std::mem::replace(&mut is_told, true) {
                        news.warn(format!("{who}: {failure}; the training goes on, and what is logged is sent later"));
                    }
                    // With jitter, so that a thousand runs do not come back at once.
                    let jittered = retry.min(LONGEST).mul_f64(0.75 + 0.5 * jitter());
                    self.pause(failure.retry_after().unwrap_or(Duration::ZERO).max(jittered), ending);
                    retry = retry.saturating_mul(2).min(settings.longest_retry);
                }
            }
        }
    }

    fn finish(&self, result: Result<(), String>) {
        self.lock().result = Some(result);
        self.changed.notify_all();
    }
}

/// Nobody waits for a thread that has died.
struct Died<'a> {
    shared: &'a Shared,
    who: &'a str,
    news: &'a News,
}

impl Drop for Died<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.news.warn(format!(
                "{}: the thread that sends has died; nothing more is sent, all of it is in the files",
                self.who
            ));
            self.shared.finish(Err("the thread that sends has died".to_owned()));
        }
    }
}

/// In [0, 1).
fn jitter() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(0) >> 11) as f64 / (1u64 << 53) as f64
}

impl Uploader {
    pub(crate) fn start(who: &'static str, remote: impl Remote, settings: Upload, news: News) -> Fallible<Self> {
        let shared = Arc::<Shared>::default();
        let its = shared.clone();
        let run = move || its.run(who, remote, settings, &news);
        std::thread::Builder::new().name(format!("zae-{who}-upload")).spawn(run)?;
        Ok(Self { shared })
    }

    /// Waits until the server has everything.
    ///
    /// # Errors
    /// Why it has not, at the deadline or when no attempt can help.
    pub(crate) fn finish(&self, deadline: Instant) -> Result<(), String> {
        let mut state = self.shared.lock();
        state.ending = true;
        self.shared.changed.notify_all();
        loop {
            if let Some(result) = state.result.clone() {
                return result;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.cancelled = true;
                self.shared.changed.notify_all();
                return Err(state.trouble.clone().unwrap_or_else(|| "the server has not answered yet".to_owned()));
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Uploader {
    fn drop(&mut self) {
        self.shared.lock().cancelled = true;
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
