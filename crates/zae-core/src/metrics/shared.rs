//! [`Shared`]: what one rank has read, on its way to the others.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::step::Kind;

/// Rows, with the numbers of each micro-batch by itself: ranks that sum them in the order of the data get what one process
/// alone would have got.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Shared {
    /// The names of its columns; there is none for what add-ons log, which is not shared.
    pub(crate) names: Vec<Option<String>>,
    pub(crate) rows: Vec<SharedRow>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SharedRow {
    /// The step of a training row, the batch of an evaluation's.
    pub(crate) key: u64,
    /// Those of all ranks.
    pub(crate) samples: f64,
    pub(crate) counted: bool,
    pub(crate) entries: Vec<(usize, Kind, Vec<f64>)>,
}

impl Shared {
    /// Of what several ranks have, the rows that all of them have: one that has failed in a step lacks it.
    pub(crate) fn common(mut all: Vec<Self>) -> Vec<Self> {
        let keys: Vec<HashSet<u64>> =
            all.iter().map(|shared| shared.rows.iter().map(|row| row.key).collect()).collect();
        for shared in &mut all {
            shared.rows.retain(|row| keys.iter().all(|keys| keys.contains(&row.key)));
        }
        all
    }
}
