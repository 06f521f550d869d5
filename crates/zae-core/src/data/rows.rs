//! What tensors have to be to be the rows of a data set, whichever engine they are of.

use crate::error::Fallible;

/// How many samples a data set of tensors with these numbers of rows has.
///
/// # Errors
/// When the numbers differ.
pub fn samples_of(rows: &[usize]) -> Fallible<usize> {
    let samples = rows.first().copied().unwrap_or(0);
    if rows.iter().any(|&count| count != samples) {
        return Err(format!("the tensors of a data set have {rows:?} rows: each needs one per sample").into());
    }
    Ok(samples)
}

/// # Errors
/// When one of the indices is that of no sample.
pub fn check_indices(indices: &[usize], samples: usize) -> Fallible {
    match indices.iter().find(|&&index| index >= samples) {
        Some(index) => Err(format!("there is no sample {index}: the data set has {samples}").into()),
        None => Ok(()),
    }
}
