//! [`Readout`]: what lazy scalars are, once they are read.

/// The numbers behind lazy scalars, in the order in which they were asked for.
#[derive(Clone, Debug, Default)]
pub struct Readout {
    values: Vec<f64>,
    ends: Vec<usize>,
}

impl Readout {
    /// Appends the number or numbers of the next scalar.
    #[inline]
    pub fn push(&mut self, values: &[f64]) {
        match values {
            // Of a single number no copy of bytes is made.
            [value] => self.values.push(*value),
            _ => self.values.extend_from_slice(values),
        }
        self.ends.push(self.values.len());
    }

    /// How many scalars were read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether none was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The numbers of scalar `index`; empty if there is no such scalar.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> &[f64] {
        let Some(&end) = self.ends.get(index) else { return &[] };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.values[start..end]
    }

    #[inline]
    pub(crate) fn all_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }

    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.ends.clear();
    }
}
