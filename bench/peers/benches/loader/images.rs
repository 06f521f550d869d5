//! MNIST's training images as bytes, and as tensors.

use std::path::Path;

use burn::prelude::*;
use zae_engine::{
    data::{Idx, Normalize, Sample, Source},
    error::Fallible,
    rng::seed_for,
};

use crate::Batch;

pub(crate) const LEN: usize = 60_000;
pub(crate) const WIDTH: usize = 28 * 28;
pub(crate) const BATCH: usize = 64;

/// Pixels and labels of a batch.
pub(crate) type Bytes = (Vec<u8>, Vec<u8>);

pub(crate) struct Images {
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

impl Images {
    pub(crate) fn read(folder: &Path) -> Self {
        let file = |name: &str| {
            let plain = folder.join(name);
            Idx::read(if plain.exists() { plain } else { folder.join(format!("{name}.gz")) }).unwrap()
        };
        let (images, labels) = (file("train-images-idx3-ubyte"), file("train-labels-idx1-ubyte"));
        assert_eq!((images.shape.as_slice(), labels.shape.as_slice()), (&[LEN, 28, 28][..], &[LEN][..]));
        Self { pixels: images.data, labels: labels.data }
    }

    pub(crate) fn made_up() -> Self {
        let pixels = (0..(LEN * WIDTH) as u64 / 8).flat_map(|i| seed_for(1, 0, i).to_le_bytes()).collect();
        Self { pixels, labels: (0..LEN as u64).map(|i| (seed_for(1, 1, i) % 10) as u8).collect() }
    }

    pub(crate) fn row(&self, i: usize) -> &[u8] {
        &self.pixels[i * WIDTH..][..WIDTH]
    }

    pub(crate) fn label(&self, i: usize) -> u8 {
        self.labels[i]
    }

    /// Rows one after the other. Numbers are made of them afterwards: reading bytes from all over the memory is much faster
    /// if nothing is computed between.
    pub(crate) fn bytes(&self, indices: impl Iterator<Item = usize> + Clone) -> Bytes {
        let mut pixels = Vec::with_capacity(BATCH * WIDTH);
        indices.clone().for_each(|i| pixels.extend_from_slice(self.row(i)));
        (pixels, indices.map(|i| self.label(i)).collect())
    }
}

/// What makes numbers of the bytes of a row, and appends them.
pub(crate) type Convert = fn(&mut Vec<f32>, &[u8]);

/// The mean and standard deviation are those that everybody uses for MNIST.
fn normalize() -> Normalize {
    Normalize::new(0.1307, 0.3081).unwrap()
}

/// What comes with `DataLoader`.
pub(crate) fn ours(x: &mut Vec<f32>, row: &[u8]) {
    normalize().extend(x, row);
}

/// The loop that one writes.
pub(crate) fn by_hand(x: &mut Vec<f32>, row: &[u8]) {
    let normalize = normalize();
    x.extend(row.iter().map(|&pixel| normalize.one(pixel)));
}

/// What all loaders make of their rows.
pub(crate) fn tensors<'a>(
    rows: impl ExactSizeIterator<Item = (&'a [u8], u8)>,
    convert: Convert,
    device: &Device,
) -> Batch {
    let n = rows.len();
    let (mut x, mut y) = (Vec::with_capacity(n * WIDTH), Vec::with_capacity(n));
    for (row, label) in rows {
        convert(&mut x, row);
        y.push(i64::from(label));
    }
    let x = Tensor::from_data(TensorData::new(x, [n, WIDTH]), device);
    (x, Tensor::from_data(TensorData::new(y, [n]), device))
}

impl Source for Images {
    type Batch = Bytes;

    fn len(&self) -> usize {
        LEN
    }
    fn batch(&self, samples: &[Sample]) -> Fallible<Bytes> {
        Ok(self.bytes(samples.iter().map(|at| at.index)))
    }
}

/// What is made of bytes, on the thread that gathered them.
pub(crate) fn of_bytes((pixels, labels): Bytes, device: &Device) -> Batch {
    tensors(pixels.chunks_exact(WIDTH).zip(labels), ours, device)
}
