//! A network with a layer of every sort that PyTorch names or lays out in its own way, as `tests/python/net.py` has it.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

pub mod python;
#[cfg(feature = "tch")]
pub mod tch;

use burn::{
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Embedding, EmbeddingConfig, GroupNorm, GroupNormConfig,
        LayerNorm, LayerNormConfig, Linear, LinearConfig,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
    },
    prelude::*,
    tensor::activation::relu,
};
use zae_engine::{
    prelude::*,
    rng::{Pcg64Mcg, Rng},
};

pub const WORDS: usize = 11;
pub const CLASSES: usize = 3;

#[derive(Module, Debug)]
pub struct Block {
    pub conv: Conv2d,
    pub norm: BatchNorm,
}

#[derive(Module, Debug)]
pub struct Net {
    pub blocks: Vec<Block>,
    pub group: Option<GroupNorm>,
    pub embedding: Embedding,
    pub fc: Linear,
    pub norm: LayerNorm,
    pub dropout: Dropout,
    pub absent: Option<Linear>,
    pub head: Option<Linear>,
}

impl Net {
    pub fn new(dropout: f64) -> Self {
        Self::of_width(7, dropout)
    }

    pub fn of_width(width: usize, dropout: f64) -> Self {
        let device = Device::flex();
        let block = |from, to| Block {
            conv: Conv2dConfig::new([from, to], [3, 2]).init(&device),
            norm: BatchNormConfig::new(to).init(&device),
        };
        Self {
            blocks: vec![block(2, 4), block(4, 6)],
            group: Some(GroupNormConfig::new(2, 6).init(&device)),
            embedding: EmbeddingConfig::new(WORDS, 5).init(&device),
            fc: LinearConfig::new(6 + 5, width).init(&device),
            norm: LayerNormConfig::new(width).init(&device),
            dropout: DropoutConfig::new(dropout).init(),
            absent: None,
            head: Some(LinearConfig::new(width, CLASSES).init(&device)),
        }
    }

    pub fn forward(&self, image: Tensor<4>, words: Tensor<2, Int>) -> Tensor<2> {
        let image = self.blocks.iter().fold(image, |x, block| block.norm.forward(relu(block.conv.forward(x))));
        let image = self.group.iter().fold(image, |x, group| group.forward(x));
        let image: Tensor<2> = image.mean_dims(&[2, 3]).squeeze_dims(&[2, 3]);
        let words: Tensor<2> = self.embedding.forward(words).mean_dim(1).squeeze_dim(1);
        let x = self.fc.forward(Tensor::cat(vec![image, words], 1));
        let x = self.dropout.forward(relu(self.norm.forward(x)));
        self.head.iter().fold(x, |x, head| head.forward(x))
    }
}

pub type Batch = (Tensor<4>, Tensor<2, Int>, Tensor<1, Int>);

pub struct Classify;

impl Task for Classify {
    type Learner = BurnLearner<Net>;
    type Batch = Batch;

    fn train_step(&self, model: &Net, (image, words, y): Batch, _: &At) -> StepResult<Self> {
        let samples = y.dims()[0];
        let logits = model.forward(image, words);
        let loss = CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, y);
        Ok(Step::new(loss, samples))
    }

    fn test_step(&self, model: &Net, batch: Batch, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

/// The same samples for the same seed. Not drawn from Burn's generator, which all tests of a process share.
pub fn samples(seed: u64, n: usize) -> Batch {
    let mut rng = Pcg64Mcg::new(u128::from(seed));
    let host = Device::flex();
    let pixels: Vec<f32> = (0..n * 2 * 6 * 6).map(|_| rng.next_u32() as f32 / (1u64 << 31) as f32 - 1.0).collect();
    let mut below =
        |limit: usize, n: usize| -> Vec<i64> { (0..n).map(|_| i64::from(rng.next_u32()) % limit as i64).collect() };
    let (words, labels) = (below(WORDS, n * 4), below(CLASSES, n));
    (
        Tensor::from_data(TensorData::new(pixels, [n, 2, 6, 6]), &host),
        Tensor::from_data(TensorData::new(words, [n, 4]), &host),
        Tensor::from_data(TensorData::new(labels, [n]), &host),
    )
}
