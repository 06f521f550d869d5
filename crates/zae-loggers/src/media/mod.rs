//! [`Media`]: what there is to look at beside curves.

mod histogram;
mod image;
mod table;

pub use histogram::Histogram;
pub use image::Image;
pub use table::{Cell, Table};

/// What there is to look at beside curves.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Media {
    /// A picture.
    Image(Image),
    /// How values are distributed.
    Histogram(Histogram),
    /// Rows and columns.
    Table(Table),
    /// A text, such as a sample of what a model writes.
    Text(String),
}

impl Media {
    /// The memory it takes, about, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Image(image) => image.bytes(),
            Self::Histogram(histogram) => size_of_val(histogram.counts()) * 2,
            Self::Table(table) => table.bytes(),
            Self::Text(text) => text.len(),
        }
    }
}
