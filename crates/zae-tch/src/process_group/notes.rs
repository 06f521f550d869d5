//! [`Notes`]: what ranks leave in c10d's store when the group fails, so that all of them name the same cause.
//!
//! Connections that are closed do not say why, and a rank that fails closes its own. So it writes down the cause before, unless
//! there is one, and that it is still there: who has not done so a moment later is the one that is gone, or has not come.

use std::{
    fmt,
    time::{Duration, Instant},
};

use zae_tch_sys::{Error, Result, TcpStore};

use super::{store::forget, within};

/// How long a rank is waited for that could say that it is still there.
pub(super) const MOMENT: Duration = Duration::from_secs(1);

/// Why a group has failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// A rank could not go on. The text says all.
    GivenUp(String),
    /// A rank did not come. The text says for what.
    Late(String),
    /// Connections were closed, or something else went wrong.
    Lost(String),
}

impl Cause {
    /// Why Gloo could not do `what`.
    pub(super) fn of(what: &str, error: &Error) -> Self {
        let text = error.to_string();
        // Without the place in Gloo's sources, and advice.
        let text = text.split_once(". This is typically").map_or(&*text, |(text, _)| text);
        let plain = text.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map_or(text, |(_, plain)| plain);
        if plain.contains("imed out") || plain.contains("timeout after") {
            Self::Late(what.to_owned())
        } else {
            Self::Lost(format!("{what} has failed: {plain}"))
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (kind, text) = text.split_once(' ')?;
        let kind = match kind {
            "given-up" => Self::GivenUp,
            "late" => Self::Late,
            _ => Self::Lost,
        };
        Some(kind(text.to_owned()))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GivenUp(text) => write!(f, "given-up {text}"),
            Self::Late(text) => write!(f, "late {text}"),
            Self::Lost(text) => write!(f, "lost {text}"),
        }
    }
}

/// A group's place in the store.
#[derive(Clone, Debug)]
pub(super) struct Notes {
    pub(super) store: TcpStore,
    /// What the group's keys begin with.
    pub(super) prefix: String,
    pub(super) rank: usize,
    pub(super) world_size: usize,
    pub(super) timeout: Duration,
}

/// What came first, or what this rank knows itself when rank 0, which keeps the store, does not answer.
pub(super) type First = std::result::Result<Cause, Cause>;

impl Notes {
    pub(super) fn key(&self, what: &str, rank: usize) -> String {
        format!("{}/{what}/{rank}", self.prefix)
    }

    /// Notes that this rank has failed, and why, if no other was first.
    pub(super) fn leave(&self, own: Cause) -> First {
        forget(self);
        let (notes, cause, given_up) = (self.clone(), own.to_string(), matches!(own, Cause::GivenUp(_)));
        let left = within(MOMENT, move || {
            let first = notes.store.set_first(&notes.key("cause", 0), cause.as_bytes())?;
            notes.store.set(&notes.key("failed", notes.rank), b"")?;
            if given_up {
                // It asks nothing.
                notes.store.set(&notes.key("read", notes.rank), b"")?;
            }
            Ok::<_, Error>(first)
        });
        let first = left.and_then(|left| Cause::parse(&String::from_utf8_lossy(&left.ok()?)));
        first.ok_or(own)
    }

    /// The error of every rank. The connections are closed by now, so those that are still there fail within a moment.
    pub(super) fn verdict(&self, first: First) -> String {
        let (cause, missing, last) = match first {
            Ok(cause) => {
                let (notes, ask) = (self.clone(), !matches!(cause, Cause::GivenUp(_)));
                let found = within(2 * MOMENT, move || {
                    let missing = if ask { notes.missing("failed", Instant::now() + MOMENT)? } else { Vec::new() };
                    let last = notes.last_of(&missing)?;
                    notes.store.set(&notes.key("read", notes.rank), b"")?;
                    Ok::<_, Error>((missing, last))
                });
                let (missing, last) = found.and_then(Result::ok).unwrap_or_else(|| (vec![0], String::new()));
                (cause, missing, last)
            }
            Err(own) => (own, vec![0], String::new()),
        };
        let timeout = self.timeout;
        match (cause, who(&missing)) {
            (Cause::Late(what), Some(who)) => format!("{who} has not come within {timeout:?}: {what}{last}"),
            (Cause::Late(what), None) => {
                format!(
                    "{what} has taken longer than {timeout:?}, though every rank is there: do all make the same calls?"
                )
            }
            (Cause::Lost(text), Some(who)) => format!("{who} is gone: {text}{last}"),
            (Cause::GivenUp(text), _) | (Cause::Lost(text), None) => text,
        }
    }

    /// The ranks that have not noted this by then.
    pub(super) fn missing(&self, what: &str, by: Instant) -> Result<Vec<usize>> {
        let mut missing = Vec::new();
        for rank in 0..self.world_size {
            let key = self.key(what, rank);
            if self.store.get(&key, by.saturating_duration_since(Instant::now())).is_err() && !self.store.has(&key)? {
                missing.push(rank);
            }
        }
        Ok(missing)
    }

    /// What the first few of these ranks did when they were last heard of, as far as they have said so.
    fn last_of(&self, ranks: &[usize]) -> Result<String> {
        let mut last = String::new();
        for rank in ranks.iter().take(3) {
            let key = self.key("where", *rank);
            if self.store.has(&key)? {
                let place = self.store.get(&key, MOMENT)?;
                last += &format!("; rank {rank} was last heard of in {}", String::from_utf8_lossy(&place));
            }
        }
        Ok(last)
    }

    /// Rank 0, which keeps the notes, stays for a moment, until the others have read them.
    pub(super) fn wait_for_readers(&self) {
        if self.rank == 0 {
            let _ = self.missing("read", Instant::now() + MOMENT);
        }
    }
}

/// `rank 2`, `rank 1 or 2`, `one of the ranks 1, 2, 5`.
pub(super) fn who(ranks: &[usize]) -> Option<String> {
    match ranks {
        [] => None,
        [one] => Some(format!("rank {one}")),
        [one, other] => Some(format!("rank {one} or {other}")),
        _ => Some(format!("one of the ranks {}", ranks.iter().map(usize::to_string).collect::<Vec<_>>().join(", "))),
    }
}
