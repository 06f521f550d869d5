//! The same network and samples in LibTorch's words.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use burn::prelude::TensorData;
use tch::{
    Kind, Tensor,
    nn::{self, Module, ModuleT},
};
use zae_engine::prelude::*;

use super::{CLASSES, WORDS};

#[derive(Debug)]
pub struct Net {
    blocks: Vec<(nn::Conv<[i64; 2]>, nn::BatchNorm)>,
    group: nn::GroupNorm,
    pub embedding: nn::Embedding,
    fc: nn::Linear,
    norm: nn::LayerNorm,
    head: nn::Linear,
}

impl Net {
    pub fn new(path: &nn::Path<'_>) -> Self {
        let (blocks, linear) = (path / "blocks", nn::LinearConfig::default());
        let block = |i: usize, from, to| {
            let path = &blocks / i;
            let conv = nn::conv(&path / "conv", from, to, [3, 2], nn::ConvConfigND::<[i64; 2]>::default());
            (conv, nn::batch_norm2d(&path / "norm", to, nn::BatchNormConfig::default()))
        };
        Self {
            blocks: vec![block(0, 2, 4), block(1, 4, 6)],
            group: nn::group_norm(path / "group", 2, 6, nn::GroupNormConfig::default()),
            embedding: nn::embedding(path / "embedding", WORDS as i64, 5, nn::EmbeddingConfig::default()),
            fc: nn::linear(path / "fc", 6 + 5, 7, linear),
            norm: nn::layer_norm(path / "norm", vec![7], nn::LayerNormConfig::default()),
            head: nn::linear(path / "head", 7, CLASSES as i64, linear),
        }
    }

    pub fn forward(&self, image: &Tensor, words: &Tensor, train: bool) -> Tensor {
        let image = self
            .blocks
            .iter()
            .fold(image.shallow_clone(), |x, (conv, norm)| norm.forward_t(&conv.forward(&x).relu(), train));
        let image = self.group.forward(&image).mean_dim([2i64, 3].as_slice(), false, Kind::Float);
        let words = self.embedding.forward(words).mean_dim([1i64].as_slice(), false, Kind::Float);
        let x = self.fc.forward(&Tensor::cat(&[image, words], 1));
        self.head.forward(&self.norm.forward(&x).relu())
    }
}

pub type Batch = (Tensor, Tensor, Tensor);

pub struct Classify;

impl Task for Classify {
    type Learner = TchLearner<Net>;
    type Batch = Batch;

    fn train_step(&self, model: &Net, (image, words, y): Batch, at: &At) -> StepResult<Self> {
        let loss = model.forward(&image, &words, at.mode.is_training()).cross_entropy_for_logits(&y);
        Ok(Step::new(loss, y.size()[0] as usize))
    }

    fn test_step(&self, model: &Net, batch: Batch, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

/// A tensor of Burn.
pub fn tensor(data: &TensorData) -> Tensor {
    let shape: Vec<i64> = data.shape().iter().map(|&size| size as i64).collect();
    let flat = match data.dtype() {
        burn::tensor::DType::F32 => Tensor::from_slice(data.as_slice::<f32>().unwrap()),
        _ => Tensor::from_slice(&data.iter::<i64>().collect::<Vec<_>>()),
    };
    flat.reshape(shape)
}

/// Those of Burn.
pub fn samples(seed: u64, n: usize) -> Batch {
    let (image, words, labels) = super::samples(seed, n);
    (tensor(&image.into_data()), tensor(&words.into_data()), tensor(&labels.into_data()))
}

/// A tensor as Burn has it.
pub fn data(tensor: &Tensor) -> TensorData {
    let shape: Vec<usize> = tensor.size().into_iter().map(|size| size as usize).collect();
    let flat = tensor.detach().reshape([-1]);
    match tensor.kind() {
        Kind::Float => TensorData::new(Vec::<f32>::try_from(flat).unwrap(), shape),
        _ => TensorData::new(Vec::<i64>::try_from(flat).unwrap(), shape),
    }
}

/// The logits in evaluation mode.
pub fn logits(trainer: &mut Trainer<Classify>, (image, words, _): &Batch) -> Tensor {
    tch::no_grad(|| trainer.model().unwrap().forward(image, words, false))
}
