//! Sending what files hold: [`Remote`] says how, [`Upload`] when, a thread does it.

mod thread;

use std::time::Duration;

pub(crate) use thread::Uploader;

use crate::http::Failure;

/// When a server is told of what the files hold, and how patiently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Upload {
    /// Between two requests while all is well. A server that asks for more time gets it.
    pub every: Duration,
    /// Until a request that failed is made again; doubled with each failure, up to `longest_retry`.
    pub first_retry: Duration,
    /// See there.
    pub longest_retry: Duration,
    /// How long a server may take for one request.
    pub timeout: Duration,
}

impl Default for Upload {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(5),
            first_retry: Duration::from_secs(2),
            longest_retry: Duration::from_secs(60),
            timeout: Duration::from_secs(60),
        }
    }
}

impl Upload {
    /// So long between two requests.
    #[must_use]
    pub fn every(mut self, time: Duration) -> Self {
        self.every = time;
        self
    }

    /// So long until a request that failed is made again, at first and at most.
    #[must_use]
    pub fn retry(mut self, first: Duration, longest: Duration) -> Self {
        (self.first_retry, self.longest_retry) = (first, longest);
        self
    }

    /// So long for one request.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }
}

/// What one round of sending came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    /// The files hold more: go on at once.
    More,
    /// The server has what the files hold.
    All,
}

/// A server, and how far it has what the files hold. Its methods are called on the uploader's thread.
pub(crate) trait Remote: Send + 'static {
    /// Makes a request, or a few that belong together. `ending`: no more will be written, so that after the last of it the
    /// server is told how the run ended.
    ///
    /// What was sent is remembered on disk before and after, so that a process that is killed in between sends nothing twice
    /// that the server cannot tell apart. Between a request and its remembering, `go_on` says whether this uploader is still
    /// the one that counts.
    fn send(&mut self, ending: bool, go_on: &dyn Fn() -> bool) -> Result<Sent, Failure>;
}
