//! [`Roll`]: which ranks are there, once one of them has waited for too long.

use std::{collections::BTreeMap, time::Duration};

/// Of how many ranks that are missing the error says where they are.
const PLACES: usize = 3;

/// What the ranks have said of themselves; this one is among them.
///
/// The first that a rank says counts. It says the same to all, in the same order: so all find the same ranks missing, in the
/// same places, also if one of those comes a moment later.
pub(super) struct Roll {
    size: usize,
    said: BTreeMap<usize, Presence>,
}

enum Presence {
    Here,
    Away(String),
}

impl Roll {
    pub(super) fn new(size: usize) -> Self {
        Self { size, said: BTreeMap::new() }
    }

    /// This rank waits too, or has done so.
    pub(super) fn here(&mut self, rank: usize) {
        self.said.entry(rank).or_insert(Presence::Here);
    }

    /// This rank has not come yet, and is in this place; the text is empty if it does not know.
    pub(super) fn away(&mut self, rank: usize, place: String) {
        self.said.entry(rank).or_insert(Presence::Away(place));
    }

    pub(super) fn is_called(&self) -> bool {
        !self.said.is_empty()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.said.len() == self.size
    }

    /// Who has not come to this call. Who says nothing at all has not come either.
    pub(super) fn verdict(&self, call: &str, timeout: Duration) -> String {
        let missing = |rank: &usize| !matches!(self.said.get(rank), Some(Presence::Here));
        let missing: Vec<usize> = (0..self.size).filter(missing).collect();
        let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
        let verdict = match &names[..] {
            [] => format!("the bytes of {call} have not come within {timeout:?}, although all ranks wait for them"),
            [rank] => format!("rank {rank} has not come to {call} within {timeout:?}"),
            ranks => format!("ranks {} have not come to {call} within {timeout:?}", ranks.join(", ")),
        };
        let place = |rank: &usize| match self.said.get(rank) {
            Some(Presence::Away(place)) if !place.is_empty() => {
                Some(format!("; rank {rank} was last heard of in {place}"))
            }
            _ => None,
        };
        missing.iter().filter_map(place).take(PLACES).fold(verdict, |verdict, place| verdict + &place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);

    #[test]
    fn who_is_missing_is_named_with_the_place_that_it_said_first() {
        let mut roll = Roll::new(4);
        assert!(!roll.is_called());
        roll.here(0);
        roll.away(1, "the data, for 3 s".to_owned());
        roll.away(1, "the data, for 4 s".to_owned());
        // It has come after all.
        roll.here(1);
        roll.here(2);
        assert!(roll.is_called() && !roll.is_complete());
        assert_eq!(
            roll.verdict("all_gather", TIMEOUT),
            "ranks 1, 3 have not come to all_gather within 2s; rank 1 was last heard of in the data, for 3 s"
        );
        roll.here(3);
        // It is done with one call, and missed in the next.
        roll.away(3, "train_step, for 2 s".to_owned());
        assert!(roll.is_complete());
        assert_eq!(
            roll.verdict("all_gather", TIMEOUT),
            "rank 1 has not come to all_gather within 2s; rank 1 was last heard of in the data, for 3 s"
        );
    }

    #[test]
    fn a_rank_that_does_not_know_its_place_has_none() {
        let mut roll = Roll::new(2);
        roll.here(0);
        roll.away(1, String::new());
        assert!(roll.is_complete());
        assert_eq!(roll.verdict("broadcast", TIMEOUT), "rank 1 has not come to broadcast within 2s");
    }

    #[test]
    fn few_places_stand_for_many_and_no_rank_may_be_missing() {
        let mut roll = Roll::new(9);
        (1..9).for_each(|rank| roll.away(rank, if rank == 2 { String::new() } else { format!("step {rank}") }));
        assert_eq!(
            roll.verdict("all_gather", TIMEOUT),
            "ranks 0, 1, 2, 3, 4, 5, 6, 7, 8 have not come to all_gather within 2s; rank 1 was last heard of in step 1; rank 3 was last heard of in step 3; rank 4 was last heard of in step 4"
        );
        let mut roll = Roll::new(2);
        (0..2).for_each(|rank| roll.here(rank));
        assert_eq!(
            roll.verdict("all_gather", TIMEOUT),
            "the bytes of all_gather have not come within 2s, although all ranks wait for them"
        );
    }
}
