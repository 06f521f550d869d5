//! The network, and what is done with it, in Burn.

use burn::{
    nn::{
        Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig,
        attention::generate_autoregressive_mask,
        loss::CrossEntropyLossConfig,
        transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput},
    },
    optim::AdamWConfig,
    prelude::*,
};
use zae_engine::prelude::*;

use crate::{Prompt, Size, Windows};

/// A transformer of which each place sees only those before it.
#[derive(Module, Debug)]
pub(crate) struct Gpt {
    token: Embedding,
    place: Embedding,
    layers: TransformerEncoder,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    fn new(characters: usize, size: Size, device: &Device) -> Self {
        let Size { context, layers, width, heads, dropout } = size;
        // As GPT-2.
        let small = Initializer::Normal { mean: 0.0, std: 0.02 };
        let embedding = |n| EmbeddingConfig::new(n, width).with_initializer(small.clone()).init(device);
        Self {
            token: embedding(characters),
            place: embedding(context),
            layers: TransformerEncoderConfig::new(width, 4 * width, heads, layers)
                .with_norm_first(true)
                .with_dropout(dropout)
                .init(device),
            norm: LayerNormConfig::new(width).init(device),
            head: LinearConfig::new(width, characters).with_bias(false).with_initializer(small).init(device),
        }
    }

    /// `[batch, context]` to `[batch, context, characters]`.
    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let ([rows, length], device) = (tokens.dims(), tokens.device());
        let places = Tensor::arange(0..length as i64, &device).reshape([1, length]);
        let x = self.token.forward(tokens) + self.place.forward(places);
        let mask = generate_autoregressive_mask(rows, length, &device);
        let x = self.layers.forward(TransformerEncoderInput::new(x).mask_attn(mask));
        self.head.forward(self.norm.forward(x))
    }
}

pub(crate) struct Writer {
    context: usize,
}

impl Writer {
    pub(crate) fn new(context: usize) -> Self {
        Self { context }
    }
}

impl Task for Writer {
    type Learner = BurnLearner<Gpt>;
    type Batch = (Tensor<2, Int>, Tensor<1, Int>);

    fn train_step(&self, model: &Gpt, (tokens, next): Self::Batch, _: &At) -> StepResult<Self> {
        let logits = model.forward(tokens).flatten(0, 1);
        let loss = CrossEntropyLossConfig::new().init(&logits.device()).forward(logits.clone(), next.clone());
        Ok(Step::new(loss, next.dims()[0]).metric("accuracy", accuracy(logits, next)))
    }
    fn test_step(&self, model: &Gpt, batch: Self::Batch, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

impl Predict for Writer {
    type Input = Prompt;
    type Output = Vec<i64>;

    fn predict(&self, model: &Gpt, prompt: Prompt, at: &At) -> Fallible<Vec<i64>> {
        let device = model.devices().remove(0);
        prompt.go_on(self.context, at, |tokens| {
            let length = tokens.len();
            let logits = model.forward(Tensor::<1, Int>::from_ints(tokens, &device).reshape([1, length]));
            Ok(logits.slice([0..1, length - 1..length]).try_into_data()?.iter::<f32>().collect())
        })
    }
}

pub(crate) fn learner(characters: usize, size: Size, device: &Device) -> BurnLearner<Gpt> {
    BurnLearner::new(Gpt::new(characters, size, device), AdamWConfig::new().with_weight_decay(0.1), device)
}

pub(crate) fn batch(Windows { rows, tokens, next }: Windows) -> Fallible<(Tensor<2, Int>, Tensor<1, Int>)> {
    let host = Device::flex();
    let shape = [rows, tokens.len() / rows];
    let targets = [next.len()];
    Ok((
        Tensor::from_data(TensorData::new(tokens, shape), &host),
        Tensor::from_data(TensorData::new(next, targets), &host),
    ))
}
