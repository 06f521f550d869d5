//! [`Failure`]: why a request came to nothing.

use std::{fmt, time::Duration};

/// Why a request came to nothing. Its text has no secret in it and no line break.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    text: String,
    is_final: bool,
    retry_after: Option<Duration>,
    status: Option<u16>,
}

impl Failure {
    /// Trying again may help.
    pub(crate) fn passing(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_final: false, retry_after: None, status: None }
    }

    /// Trying again cannot help.
    pub(crate) fn lasting(text: impl Into<String>) -> Self {
        Self { is_final: true, ..Self::passing(text) }
    }

    /// With its text changed.
    #[cfg_attr(not(any(feature = "wandb", feature = "mlflow")), allow(dead_code, reason = "not each tracker explains"))]
    pub(crate) fn map(self, change: impl FnOnce(&str) -> String) -> Self {
        Self { text: change(&self.text), ..self }
    }

    /// Not before this time.
    pub(crate) fn after(self, time: Option<Duration>) -> Self {
        Self { retry_after: time, ..self }
    }

    /// The status of a reply.
    pub(crate) fn with_status(self, status: u16) -> Self {
        Self { status: Some(status), ..self }
    }

    pub(crate) fn is_final(&self) -> bool {
        self.is_final
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The status of the reply, if there was one.
    pub(crate) fn status(&self) -> Option<u16> {
        self.status
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
