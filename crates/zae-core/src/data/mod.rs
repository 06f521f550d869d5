//! Data: loaders, data sets, and the order in which samples come.

mod loader;

pub use loader::{Batches, Draw, FromFn, Loader, from_fn};
