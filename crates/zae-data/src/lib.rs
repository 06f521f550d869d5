//! Readers of zae-engine: data sets of files, each behind a feature of its own.
//!
//! - CSV (feature `csv`): `Csv`. JSON lines (`jsonl`): `Jsonl`. Text (`text`): `TextLines`, and for language models
//!   `read_text`, `Vocabulary` and `TokenWindows`.
//! - Images in a folder for each class (`images`): `ImageFolder`.
//! - NumPy's arrays, mapped into memory (`npy`): `Npy`.
//! - Tar files in WebDataset's layout (`tar`): `Tar`.
//! - Shards of JSON lines, text or tar files as a stream: [`ShardSampler`].
//!
//! All are [`Dataset`](zae_core::data::Dataset)s: any sample is read without those before it, by several threads at once.
//! So a run that goes on finds its place at once, on any number of processes, and nothing of a reader is in a checkpoint.

// What readers share is not all used where only some of them are built. With all of them, everything has to be.
#![cfg_attr(
    not(all(
        feature = "csv",
        feature = "images",
        feature = "jsonl",
        feature = "npy",
        feature = "tar",
        feature = "text"
    )),
    allow(dead_code)
)]

#[cfg(feature = "csv")]
mod csv;
mod files;
#[cfg(feature = "images")]
mod images;
mod index_file;
#[cfg(feature = "jsonl")]
mod jsonl;
mod lines;
#[cfg(feature = "npy")]
mod npy;
mod paths;
mod records;
mod shard_sampler;
mod shards;
#[cfg(feature = "tar")]
mod tar;
#[cfg(feature = "text")]
mod text;

#[cfg(feature = "csv")]
pub use csv::{Csv, CsvOptions};
#[cfg(feature = "images")]
pub use images::{Channels, Image, ImageFolder};
#[cfg(feature = "jsonl")]
pub use jsonl::Jsonl;
#[cfg(feature = "npy")]
pub use npy::{Element, Npy};
pub use paths::{Paths, files_in};
pub use shard_sampler::ShardSampler;
pub use shards::Shards;
#[cfg(feature = "tar")]
pub use tar::{Tar, TarSample};
#[cfg(feature = "text")]
pub use text::{TextLines, TokenWindows, Vocabulary, read_text};
