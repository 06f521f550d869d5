//! NumPy's arrays on disk: [`Npy`].

mod array;
mod element;
mod header;

pub use array::Npy;
pub use element::Element;
