//! The network, and what is done with it, in LibTorch.

use tch::{
    Kind, Tensor,
    nn::{self, Module, ModuleT},
};
use zae_engine::{
    prelude::*,
    tch::{AdamW, accuracy, local_device},
};

use crate::{Prompt, Size, Windows};

/// Attention and two linear layers, each after a norm and beside what it adds to.
#[derive(Debug)]
struct Block {
    norm1: nn::LayerNorm,
    attention: nn::Linear,
    together: nn::Linear,
    norm2: nn::LayerNorm,
    wide: nn::Linear,
    narrow: nn::Linear,
    heads: i64,
    dropout: f64,
}

/// As GPT-2.
fn linear(path: nn::Path<'_>, from: i64, to: i64, bias: bool) -> nn::Linear {
    let ws_init = nn::Init::Randn { mean: 0.0, stdev: 0.02 };
    nn::linear(path, from, to, nn::LinearConfig { ws_init, bs_init: Some(nn::Init::Const(0.0)), bias })
}

impl Block {
    fn new(path: &nn::Path<'_>, width: i64, heads: i64, dropout: f64) -> Self {
        Self {
            norm1: nn::layer_norm(path / "norm1", vec![width], Default::default()),
            attention: linear(path / "attention", width, 3 * width, true),
            together: linear(path / "together", width, width, true),
            norm2: nn::layer_norm(path / "norm2", vec![width], Default::default()),
            wide: linear(path / "wide", width, 4 * width, true),
            narrow: linear(path / "narrow", 4 * width, width, true),
            heads,
            dropout,
        }
    }
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let (rows, length, width) = x.size3().unwrap_or_default();
        let split = |part: &Tensor| part.reshape([rows, length, self.heads, width / self.heads]).transpose(1, 2);
        let parts = self.attention.forward(&self.norm1.forward(x)).chunk(3, 2);
        let [query, key, value] = [0, 1, 2].map(|i| split(&parts[i]));
        let dropout = if train { self.dropout } else { 0.0 };
        let seen =
            Tensor::scaled_dot_product_attention::<Tensor>(&query, &key, &value, None, dropout, true, None, false);
        let seen = seen.transpose(1, 2).reshape([rows, length, width]);
        let x = x + self.together.forward(&seen).dropout(self.dropout, train);
        let inner = self.wide.forward(&self.norm2.forward(&x)).gelu("none");
        &x + self.narrow.forward(&inner).dropout(self.dropout, train)
    }
}

/// A transformer of which each place sees only those before it.
#[derive(Debug)]
pub(crate) struct Gpt {
    token: nn::Embedding,
    place: nn::Embedding,
    blocks: Vec<Block>,
    norm: nn::LayerNorm,
    head: nn::Linear,
}

impl Gpt {
    fn new(path: &nn::Path<'_>, characters: usize, size: Size) -> Self {
        let (characters, width) = (characters as i64, size.width as i64);
        let small = nn::EmbeddingConfig { ws_init: nn::Init::Randn { mean: 0.0, stdev: 0.02 }, ..Default::default() };
        let block = |i| Block::new(&(path / "blocks" / i), width, size.heads as i64, size.dropout);
        Self {
            token: nn::embedding(path / "token", characters, width, small),
            place: nn::embedding(path / "place", size.context as i64, width, small),
            blocks: (0..size.layers).map(block).collect(),
            norm: nn::layer_norm(path / "norm", vec![width], Default::default()),
            head: linear(path / "head", width, characters, false),
        }
    }
}

impl ModuleT for Gpt {
    /// `[batch, context]` to `[batch, context, characters]`.
    fn forward_t(&self, tokens: &Tensor, train: bool) -> Tensor {
        let places = Tensor::arange(tokens.size()[1], (Kind::Int64, tokens.device()));
        let x = self.token.forward(tokens) + self.place.forward(&places);
        let x = self.blocks.iter().fold(x, |x, block| block.forward_t(&x, train));
        self.head.forward(&self.norm.forward(&x))
    }
}

/// How many characters it sees at once.
pub(crate) struct Writer(pub(crate) usize);

impl Task for Writer {
    type Learner = TchLearner<Gpt>;
    type Batch = (Tensor, Tensor);

    fn train_step(&self, model: &Gpt, (tokens, next): Self::Batch, at: &At) -> StepResult<Self> {
        let logits = model.forward_t(&tokens, at.mode.is_training()).flatten(0, 1);
        let loss = logits.cross_entropy_for_logits(&next);
        Ok(Step::new(loss, next.numel()).metric("accuracy", accuracy(&logits, &next)?))
    }
    fn test_step(&self, model: &Gpt, batch: Self::Batch, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

impl Predict for Writer {
    type Input = Prompt;
    type Output = Vec<i64>;

    fn predict(&self, model: &Gpt, prompt: Prompt, at: &At) -> Fallible<Vec<i64>> {
        let device = local_device();
        prompt.go_on(self.0, at, |tokens| {
            let tokens = Tensor::from_slice(tokens).unsqueeze(0).to_device(device);
            let last = model.forward_t(&tokens, false).select(1, -1).flatten(0, 1);
            Ok(Vec::<f32>::try_from(&last)?)
        })
    }
}

pub(crate) fn learner(characters: usize, size: Size) -> TchLearner<Gpt> {
    let build = move |path: &nn::Path<'_>| Gpt::new(path, characters, size);
    TchLearner::new(build, AdamW::new().weight_decay(0.1), local_device())
}

pub(crate) fn batch(Windows { rows, tokens, next }: Windows) -> Fallible<(Tensor, Tensor)> {
    Ok((Tensor::from_slice(&tokens).reshape([rows as i64, -1]), Tensor::from_slice(&next)))
}
