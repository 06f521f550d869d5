//! Burn's data sets, batchers and loaders, as a trainer takes them (feature `dataset`).

use std::{marker::PhantomData, sync::Arc};

use burn::{
    data::{
        dataloader::{DataLoader, batcher::Batcher},
        dataset::Dataset,
    },
    tensor::Device,
};
use zae_core::{
    data::{Batches, Draw, Loader, Sample},
    error::Fallible,
};

/// A data set of Burn, for [`DataLoader`](zae_core::data::DataLoader): what [`burn_dataset`] makes.
#[derive(Clone, Debug)]
pub struct BurnDataset<D, I>(D, PhantomData<fn() -> I>);

/// A data set of Burn as one of the trainer's, which splits, shuffles, draws, batches and resumes it. [`batched_by`] is for the
/// batcher that goes with it.
///
/// ```
/// use burn::{data::{dataloader::batcher::Batcher, dataset::InMemDataset}, prelude::*};
/// use zae_burn::{batched_by, burn_dataset};
/// use zae_core::data::{DataLoader, Dataset};
///
/// struct Rows;
///
/// impl Batcher<Vec<f32>, Tensor<2>> for Rows {
///     fn batch(&self, items: Vec<Vec<f32>>, device: &Device) -> Tensor<2> {
///         let rows = items.into_iter().map(|row| Tensor::<1>::from_floats(&row[..], device).unsqueeze());
///         Tensor::cat(rows.collect(), 0)
///     }
/// }
///
/// let rows = InMemDataset::new(vec![vec![0.0, 1.0]; 100]);
/// let [train, valid] = burn_dataset(rows).random_split([0.8, 0.2], 42)?;
/// let device = zae_burn::local_device();
/// let train = DataLoader::new(train.collate(batched_by(Rows, &device)), 16).shuffle(true).workers(2);
/// # let _ = (train, valid);
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
pub fn burn_dataset<I: Send, D: Dataset<I>>(dataset: D) -> BurnDataset<D, I> {
    BurnDataset(dataset, PhantomData)
}

impl<I: Send, D: Dataset<I>> zae_core::data::Dataset for BurnDataset<D, I> {
    type Item = I;

    fn len(&self) -> usize {
        self.0.len()
    }
    fn item(&self, at: &Sample) -> Fallible<I> {
        Ok(self.0.get(at.index)?)
    }
}

/// Has a batcher of Burn make batches of samples on this device: for [`Dataset::collate`](zae_core::data::Dataset::collate). The
/// trainer moves them to where the model is.
pub fn batched_by<I, B, R: Batcher<I, B>>(
    batcher: R,
    device: &Device,
) -> impl Fn(Vec<I>) -> Fallible<B> + Send + Sync + use<I, B, R> {
    let device = device.clone();
    move |items| Ok(batcher.batch(items, &device))
}

/// A loader of Burn: what [`burn_loader`] makes.
#[derive(Clone)]
pub struct BurnLoader<B>(Arc<dyn DataLoader<B>>);

/// A loader that Burn's `DataLoaderBuilder` has built.
///
/// Build it without `.shuffle`, which draws another order each time it is asked, whatever the epoch, and without `.num_workers`,
/// which hand out batches as they are ready: with these a run trains, but one that resumes in the middle of an epoch does not go
/// on with the samples that were left. [`burn_dataset`] has the trainer shuffle, on as many workers as you like, exactly. A resume
/// draws the batches before the cut again, and throws them away.
#[must_use]
pub fn burn_loader<B>(loader: Arc<dyn DataLoader<B>>) -> BurnLoader<B> {
    BurnLoader(loader)
}

impl<B: 'static> Loader<B> for BurnLoader<B> {
    /// Not known: Burn counts samples.
    fn micro_batches(&self, _: u64) -> Option<u64> {
        None
    }

    fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, B>> {
        let mut batches = self.0.iter();
        for _ in 0..draw.from.micro_batch {
            batches.next().transpose()?;
        }
        let mut over = false;
        let next = move || {
            let batch = batches.next().filter(|_| !over)?;
            // Where Burn cannot read a sample it says so again and again.
            over = batch.is_err();
            Some(batch.map_err(Into::into))
        };
        Ok(Box::new(std::iter::from_fn(next)))
    }

    fn describe(&self) -> Vec<(&'static str, String)> {
        vec![("dataset_length", self.0.num_items().to_string())]
    }
}
