//! Burn's own loader.

use std::sync::Arc;

use burn::{
    data::{
        dataloader::{DataLoaderBuilder, batcher::Batcher},
        dataset::InMemDataset,
    },
    prelude::*,
};

use crate::{
    Batch, Epoch, WORKERS,
    images::{BATCH, Convert, Images, LEN, of_bytes, tensors},
};

#[derive(Clone, Debug)]
struct Image {
    pixels: Vec<u8>,
    label: u8,
}

struct OfImages(Convert);

impl Batcher<Image, Batch> for OfImages {
    fn batch(&self, items: Vec<Image>, device: &Device) -> Batch {
        tensors(items.iter().map(|image| (image.pixels.as_slice(), image.label)), self.0, device)
    }
}

struct ByIndex(Arc<Images>);

impl Batcher<usize, Batch> for ByIndex {
    fn batch(&self, items: Vec<usize>, device: &Device) -> Batch {
        of_bytes(self.0.bytes(items.iter().copied()), device)
    }
}

fn epoch<I, B>(batcher: B, items: Vec<I>, workers: usize) -> Epoch
where
    I: Clone + std::fmt::Debug + Send + Sync + 'static,
    B: Batcher<I, Batch> + 'static,
{
    let builder = DataLoaderBuilder::new(batcher).batch_size(BATCH).shuffle(1).num_workers(workers);
    let loader = builder.set_device(Device::flex()).build(InMemDataset::new(items));
    Box::new(move |_, consume| loader.iter().for_each(|batch| consume(batch.unwrap())))
}

pub(crate) fn in_memory(images: &Arc<Images>, convert: Convert) -> [Epoch; 3] {
    let image = |i| Image { pixels: images.row(i).to_vec(), label: images.label(i) };
    WORKERS.map(|workers| epoch(OfImages(convert), (0..LEN).map(image).collect(), workers))
}

pub(crate) fn by_index(images: &Arc<Images>) -> [Epoch; 3] {
    WORKERS.map(|workers| epoch(ByIndex(images.clone()), (0..LEN).collect(), workers))
}
