//! MNIST's training images as bytes, and as tensors.

use std::path::Path;

use burn::prelude::*;
use zae_engine::{
    data::{Idx, Sample, Source},
    error::Fallible,
    rng::seed_for,
};

use crate::Batch;

pub(crate) const LEN: usize = 60_000;
pub(crate) const WIDTH: usize = 28 * 28;
pub(crate) const BATCH: usize = 64;

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
}

/// The mean and standard deviation are those that everybody uses for MNIST.
fn normalised(pixel: u8) -> f32 {
    f32::from(pixel) * (1.0 / 255.0 / 0.3081) - 0.1307 / 0.3081
}

/// What all loaders make of their rows.
pub(crate) fn tensors<'a>(rows: impl ExactSizeIterator<Item = (&'a [u8], u8)>, device: &Device) -> Batch {
    let n = rows.len();
    let (mut x, mut y) = (Vec::with_capacity(n * WIDTH), Vec::with_capacity(n));
    for (row, label) in rows {
        x.extend(row.iter().map(|&pixel| normalised(pixel)));
        y.push(i64::from(label));
    }
    let x = Tensor::from_data(TensorData::new(x, [n, WIDTH]), device);
    (x, Tensor::from_data(TensorData::new(y, [n]), device))
}

impl Source for Images {
    type Batch = Batch;

    fn len(&self) -> usize {
        LEN
    }
    fn batch(&self, samples: &[Sample]) -> Fallible<Batch> {
        let row = |at: &Sample| (self.row(at.index), self.label(at.index));
        Ok(tensors(samples.iter().map(row), &Device::flex()))
    }
}
