//! Tar files in WebDataset's layout: [`Tar`] and [`TarSample`].

mod reader;
mod sample;

pub use reader::Tar;
pub use sample::TarSample;
