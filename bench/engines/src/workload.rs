//! What is trained.

use tch::{Device, Kind, Tensor, nn, nn::Module};

/// Of the first weights.
pub const WEIGHTS_SEED: i64 = 42;
const DATA_SEED: i64 = 43;
const BATCHES: usize = 16;
/// Small: a network that has learned all of its data has gradients so small that the arithmetic gets slow.
pub const LR: f64 = 1e-5;
/// AdamW's.
pub const WEIGHT_DECAY: f64 = 1e-2;

/// Images and labels.
pub type Batch = (Tensor, Tensor);

/// Something to do.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// How it is called in the names of what is printed.
    pub name: &'static str,
    /// The shape of a batch; none where there is no data.
    shape: &'static [i64],
}

const WORKLOADS: [Workload; 5] = [
    Workload { name: "mlp8", shape: &[8, 784] },
    Workload { name: "tiny8", shape: &[8, 64] },
    Workload { name: "cnn64", shape: &[64, 1, 28, 28] },
    Workload { name: "cnn32", shape: &[32, 1, 28, 28] },
    Workload { name: "adamw", shape: &[] },
];

impl Workload {
    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        WORKLOADS.into_iter().find(|workload| workload.name == name)
    }

    /// Noise.
    pub fn batches(self) -> Vec<Batch> {
        tch::manual_seed(DATA_SEED);
        let batch = |_| {
            let x = Tensor::randn(self.shape, (Kind::Float, Device::Cpu));
            (x, Tensor::randint(10, [self.shape[0]], (Kind::Int64, Device::Cpu)))
        };
        (0..BATCHES).map(batch).collect()
    }

    /// The same weights at every call.
    pub fn net(self, vs: &nn::Path<'_>) -> Net {
        let conv = |name, from, to| nn::conv2d(vs / name, from, to, 3, nn::ConvConfig::default());
        let (convs, widths): (_, &[i64]) = match *self.shape {
            [_, 784] => (vec![], &[784, 512, 256, 10]),
            [_, 64] => (vec![], &[64, 64, 10]),
            _ => (vec![conv("conv1", 1, 32), conv("conv2", 32, 64)], &[64 * 12 * 12, 128, 10]),
        };
        let linear = |(i, w): (usize, &[i64])| nn::linear(vs / format!("fc{i}"), w[0], w[1], Default::default());
        let net = Net { convs, linears: widths.windows(2).enumerate().map(linear).collect() };
        net.draw();
        net
    }
}

/// The batch of a step.
pub fn batch(batches: &[Batch], step: u64) -> &Batch {
    &batches[step as usize % batches.len()]
}

/// The model of every workload, one type for all: convolutions, if any, and linear layers.
#[derive(Debug)]
pub struct Net {
    convs: Vec<nn::Conv2D>,
    linears: Vec<nn::Linear>,
}

impl Net {
    /// PyTorch's own distributions, in an order that Python can repeat.
    fn draw(&self) {
        let convs = self.convs.iter().map(|layer| (&layer.ws, &layer.bs));
        let layers = convs.chain(self.linears.iter().map(|layer| (&layer.ws, &layer.bs)));
        tch::manual_seed(WEIGHTS_SEED);
        let _no_grad = tch::no_grad_guard();
        for (weight, bias) in layers {
            let bound = 1.0 / (weight.size()[1..].iter().product::<i64>() as f64).sqrt();
            for tensor in [Some(weight), bias.as_ref()].into_iter().flatten() {
                let _ = tensor.shallow_clone().uniform_(-bound, bound);
            }
        }
    }

    /// The mean loss of a batch.
    pub fn loss(&self, (x, y): &Batch) -> Tensor {
        let mut x = x.shallow_clone();
        for conv in &self.convs {
            x = conv.forward(&x).relu();
        }
        if !self.convs.is_empty() {
            x = x.max_pool2d_default(2).flatten(1, -1);
        }
        for (i, linear) in self.linears.iter().enumerate() {
            x = linear.forward(&if i == 0 { x } else { x.relu() });
        }
        x.cross_entropy_for_logits(y)
    }
}
