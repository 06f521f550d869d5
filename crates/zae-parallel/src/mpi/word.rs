//! [`Word`]: what every rank says first in every call, so that ranks which do different things are told, and do not hang.

/// Numbers of 64 bits in a word: four that say what it is about, and what it carries.
pub(super) const WORD: usize = 16;
/// Bytes that a word carries: a dozen host numbers, so that summing them is one exchange.
pub(super) const CARRIES: usize = (WORD - HEAD) * 8;
const HEAD: usize = 4;

/// What a rank is about to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    Sum,
    Gather,
    Broadcast { from: usize },
    Leave,
}

impl Act {
    fn code(self) -> [u64; 2] {
        match self {
            Self::Sum => [0, 0],
            Self::Gather => [1, 0],
            Self::Broadcast { from } => [2, from as u64],
            Self::Leave => [3, 0],
        }
    }

    /// For errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sum => "all_reduce_sum",
            Self::Gather => "all_gather",
            Self::Broadcast { .. } => "broadcast",
            Self::Leave => "the end of the program",
        }
    }
}

/// What a rank is about to do, over how many numbers or bytes, and the bytes themselves if they are few.
pub(super) fn word(act: Act, len: usize, bytes: &[u8]) -> [u64; WORD] {
    let mut word = [0; WORD];
    word[..2].copy_from_slice(&act.code());
    word[2] = len as u64;
    if bytes.len() <= CARRIES {
        for (number, bytes) in word[HEAD..].iter_mut().zip(bytes.chunks(8)) {
            let mut eight = [0; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            *number = u64::from_le_bytes(eight);
        }
    }
    word
}

/// How many numbers or bytes each rank has.
pub(super) fn lengths(words: &[[u64; WORD]]) -> Vec<usize> {
    words.iter().map(|word| word[2] as usize).collect()
}

/// The bytes that a word carries.
pub(super) fn carried(word: &[u64; WORD]) -> Vec<u8> {
    let mut bytes: Vec<u8> = word[HEAD..].iter().flat_map(|number| number.to_le_bytes()).collect();
    bytes.truncate(word[2] as usize);
    bytes
}

/// Checks that all ranks do the same. The same message comes out on each of them.
pub(super) fn agree(words: &[[u64; WORD]]) -> Result<(), String> {
    let Some(first) = words.first() else { return Ok(()) };
    let Some(other) = words.iter().position(|word| !same(word, first)) else { return Ok(()) };
    // A program that has ended is the reason, whichever rank it was.
    let is_over = |word: &[u64; WORD]| word[..2] == Act::Leave.code();
    if let (Some(gone), Some(stays)) = (words.iter().position(is_over), words.iter().position(|word| !is_over(word))) {
        let call = says(&words[stays]);
        return Err(format!("the program of rank {gone} has ended, while rank {stays} waits for it in {call}"));
    }
    let (one, two) = (says(first), says(&words[other]));
    Err(format!("rank 0 is in {one}, rank {other} in {two}: all ranks have to do the same, in the same order"))
}

/// Lengths are the ranks' own, but for a sum.
fn same(one: &[u64; WORD], two: &[u64; WORD]) -> bool {
    one[..2] == two[..2] && (one[..2] != Act::Sum.code() || one[2] == two[2])
}

fn says(word: &[u64; WORD]) -> String {
    match word[0] {
        0 => format!("all_reduce_sum of {} numbers", word[2]),
        1 => "all_gather".to_owned(),
        2 => format!("broadcast from rank {}", word[1]),
        _ => Act::Leave.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_carries_few_bytes() {
        for len in [0, 1, 7, 8, 9, CARRIES] {
            let bytes: Vec<u8> = (0..len as u8).map(|byte| byte ^ 0xa5).collect();
            assert_eq!(carried(&word(Act::Gather, len, &bytes)), bytes);
        }
        assert_eq!(lengths(&[word(Act::Gather, 1000, &[1; 1000])]), [1000]);
    }

    #[test]
    fn ranks_that_do_different_things_are_named() {
        let say = |acts: &[(Act, usize)]| {
            agree(&acts.iter().map(|(act, len)| word(*act, *len, &[])).collect::<Vec<_>>()).err().unwrap_or_default()
        };
        assert_eq!(say(&[(Act::Gather, 1), (Act::Gather, 2)]), "");
        assert_eq!(say(&[(Act::Broadcast { from: 1 }, 0), (Act::Broadcast { from: 1 }, 2)]), "");
        assert_eq!(
            say(&[(Act::Sum, 4), (Act::Sum, 4), (Act::Sum, 5)]),
            "rank 0 is in all_reduce_sum of 4 numbers, rank 2 in all_reduce_sum of 5 numbers: all ranks have to do the same, in the same order"
        );
        assert_eq!(
            say(&[(Act::Gather, 1), (Act::Broadcast { from: 0 }, 1)]),
            "rank 0 is in all_gather, rank 1 in broadcast from rank 0: all ranks have to do the same, in the same order"
        );
        assert_eq!(
            say(&[(Act::Leave, 0), (Act::Sum, 3)]),
            "the program of rank 0 has ended, while rank 1 waits for it in all_reduce_sum of 3 numbers"
        );
    }
}
