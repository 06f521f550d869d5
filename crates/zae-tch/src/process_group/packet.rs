//! What ranks tell each other before, or instead of, many bytes: how many there are, and what has been done so far.

use std::fmt;

use zae_tch_sys::Error;

use super::notes::Cause;

/// So long is a packet, whatever is in it: one round of the network takes as long with less.
pub(super) const PACKET: usize = 256;
const HEAD: usize = 16;

/// What all ranks do at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    /// So many numbers.
    Sum(usize),
    /// So many numbers.
    SumOfTensor(usize),
    /// Pieces of gradients, which are on their way.
    Gradients,
    /// Connecting the layers of a model.
    Layers,
    /// So many bytes of this rank.
    Gather(usize),
    /// Of this rank.
    Broadcast(usize),
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sum(numbers) => write!(f, "the sum of {numbers} numbers"),
            Self::SumOfTensor(numbers) => write!(f, "the sum of a tensor of {numbers} numbers"),
            Self::Gradients => write!(f, "the sum of gradients"),
            Self::Layers => write!(f, "connecting the layers of the model"),
            Self::Gather(bytes) => write!(f, "gathering {bytes} bytes of each rank"),
            Self::Broadcast(from) => write!(f, "the broadcast of rank {from}"),
        }
    }
}

/// A hash of the calls so far: ranks that have made others do not have the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct History(u64);

impl History {
    pub(super) fn add(&mut self, call: Call) {
        let (kind, size) = match call {
            Call::Sum(numbers) => (1, numbers),
            Call::SumOfTensor(numbers) => (2, numbers),
            // Each may have others.
            Call::Gather(_) => (3, 0),
            Call::Broadcast(from) => (4, from),
            Call::Gradients => (5, 0),
            Call::Layers => (6, 0),
        };
        for word in [kind, size as u64] {
            self.0 = (self.0 ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            self.0 ^= self.0 >> 29;
        }
    }

    pub(super) fn check(self, rank: usize, packet: &Packet<'_>) -> Result<(), Failed> {
        let fix = "all have to make the same calls in the same order, and to sum equally many numbers";
        if packet.history == self { Ok(()) } else { Err(Failed::Plain(format!("rank {rank} is out of step: {fix}"))) }
    }
}

/// Why a call has failed.
pub(super) enum Failed {
    Gloo(Error),
    /// The text says all.
    Plain(String),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Gloo(error)
    }
}

impl Failed {
    pub(super) fn cause(self, call: Call) -> Cause {
        match self {
            Self::Gloo(error) => Cause::of(&call.to_string(), &error),
            Self::Plain(text) => Cause::GivenUp(text),
        }
    }
}

/// What a rank has said.
pub(super) struct Packet<'a> {
    /// How many bytes there are.
    pub(super) length: usize,
    history: History,
    /// The first of them.
    pub(super) first: &'a [u8],
}

impl Packet<'_> {
    /// Whether all bytes are in it.
    pub(super) fn is_whole(&self) -> bool {
        self.first.len() == self.length
    }
}

pub(super) fn packet(bytes: &[u8], history: &History) -> Vec<u8> {
    let mut packet = Vec::with_capacity(PACKET);
    packet.extend((bytes.len() as u64).to_le_bytes());
    packet.extend(history.0.to_le_bytes());
    packet.extend(&bytes[..bytes.len().min(PACKET - HEAD)]);
    packet.resize(PACKET, 0);
    packet
}

pub(super) fn parse(packet: &[u8]) -> Packet<'_> {
    let word = |at: usize| packet[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let length = word(0) as usize;
    Packet { length, history: History(word(8)), first: &packet[HEAD..][..length.min(PACKET - HEAD)] }
}
