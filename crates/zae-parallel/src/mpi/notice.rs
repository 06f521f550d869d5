//! Notices: what ranks tell each other when the calls that all make together do not work any more.

use mpi::{
    Tag,
    point_to_point::MatchedReceiveVec,
    request::StaticScope,
    topology::SimpleCommunicator,
    traits::{Communicator, Destination, Source},
};

/// No other message is ever sent.
const TAG: Tag = 7;
/// Short enough for every MPI to send it without the receiver's help.
pub(super) const LENGTH: usize = 1000;

/// What a rank tells all others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Notice {
    /// It has waited for too long, in its call of this number, and asks who else is there; or is there, and says so.
    Here(u64),
    /// It was asked, has not begun that call, and is here instead; the text is empty if it does not know where.
    Away(String),
    /// The group is of no more use, for this reason.
    Failed(String),
    /// Its process is about to end.
    Over,
}

impl Notice {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Here(call) => [&[0], &call.to_le_bytes()[..]].concat(),
            Self::Failed(reason) => with_text(1, reason),
            Self::Over => vec![2],
            Self::Away(place) => with_text(3, place),
        }
    }

    fn of(bytes: &[u8]) -> Self {
        match bytes.split_first() {
            Some((1, reason)) => Self::Failed(text(reason)),
            Some((2, _)) => Self::Over,
            Some((3, place)) => Self::Away(text(place)),
            Some((_, call)) => Self::Here(call.try_into().map_or(0, u64::from_le_bytes)),
            None => Self::Here(0),
        }
    }
}

fn with_text(kind: u8, text: &str) -> Vec<u8> {
    [&[kind], &text.as_bytes()[..text.floor_char_boundary(LENGTH)]].concat()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Tells all other ranks. Does not wait for them: some may be gone.
pub(super) fn tell(comm: &SimpleCommunicator, notice: &Notice) {
    // A few bytes, a few times in the life of a process: they are never freed, for nobody may ever receive them.
    let bytes: &'static [u8] = notice.bytes().leak();
    for rank in (0..comm.size()).filter(|rank| *rank != comm.rank()) {
        std::mem::forget(comm.process_at_rank(rank).immediate_send_with_tag(StaticScope, bytes, TAG));
    }
}

/// A notice that has come, and from whom.
pub(super) fn hear(comm: &SimpleCommunicator) -> Option<(usize, Notice)> {
    let (message, status) = comm.any_process().immediate_matched_probe_with_tag(TAG)?;
    let rank = usize::try_from(status.source_rank()).unwrap_or_default();
    let (bytes, _) = (message, status).matched_receive_vec::<u8>();
    Some((rank, Notice::of(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_arrives_as_it_was() {
        for notice in [
            Notice::Here(0),
            Notice::Here(u64::MAX),
            Notice::Over,
            Notice::Failed(String::new()),
            Notice::Failed("Gerät".into()),
            Notice::Away(String::new()),
            Notice::Away("the data".into()),
        ] {
            assert_eq!(Notice::of(&notice.bytes()), notice);
        }
        assert_eq!(Notice::of(&[]), Notice::Here(0));
        for long in [Notice::Failed("ä".repeat(9999)), Notice::Away("ä".repeat(9999))] {
            assert!(long.bytes().len() <= LENGTH + 1);
        }
    }
}
