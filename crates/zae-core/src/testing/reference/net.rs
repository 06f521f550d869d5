//! A small network with hand-derived gradients: input dropout, linear, batch norm, ReLU, linear, cross-entropy.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use rand_core::Rng;

use super::scalar::{LazyScalar, Stream};
use crate::{
    error::Fallible,
    rng::{StepRng, Stream as RngStream, generator},
    testing::{Architecture, Sizes},
};

/// Where a batch is, and whether what is computed from it is recorded for gradients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReferenceDevice {
    /// Its number.
    pub index: usize,
    /// Whether gradients are recorded on it.
    pub tracked: bool,
}

/// A batch of inputs, row-major, with their classes.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch {
    /// `rows * features` numbers.
    pub inputs: Vec<f32>,
    /// One class per row.
    pub labels: Vec<usize>,
    /// Where it is; nowhere until it is placed.
    pub device: Option<ReferenceDevice>,
}

#[derive(Clone)]
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) shape: Vec<usize>,
    pub(super) value: Vec<f32>,
    pub(super) trainable: bool,
}

/// Index of each parameter in [`Net::params`].
const W1: usize = 0;
const B1: usize = 1;
const W2: usize = 2;
const B2: usize = 3;
const GAMMA: usize = 4;
const BETA: usize = 5;

const EPSILON: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;

/// The model of the reference engine.
pub struct Net {
    sizes: Sizes,
    pub(super) params: Vec<Param>,
    /// Running mean and variance of the batch norm.
    pub(super) running: RefCell<[Vec<f32>; 2]>,
    dropout: f32,
    batch_norm: bool,
    pub(super) device: Cell<ReferenceDevice>,
    pub(super) rng: RefCell<StepRng>,
    pub(super) stream: Rc<Stream>,
}

/// What a backward pass needs of its forward pass.
pub(super) struct Graph {
    stream: Rc<Stream>,
    labels: Vec<usize>,
    input: Vec<f32>,
    normal: Vec<f32>,
    inverse_std: Vec<f32>,
    active: Vec<f32>,
    probabilities: Vec<f32>,
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.stream.graph_dropped();
    }
}

/// a [n, k] times b [m, k], transposed: [n, m].
fn matmul_transposed(a: &[f32], b: &[f32], k: usize) -> Vec<f32> {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
    a.chunks(k).flat_map(|row| b.chunks(k).map(move |other| dot(row, other))).collect()
}

/// a [n, m], transposed, times b [n, k]: [m, k].
fn transposed_matmul(a: &[f32], b: &[f32], m: usize, k: usize) -> Vec<f32> {
    let mut out = vec![0.0; m * k];
    for (row, other) in a.chunks(m).zip(b.chunks(k)) {
        for (x, out) in row.iter().zip(out.chunks_mut(k)) {
            out.iter_mut().zip(other).for_each(|(out, y)| *out += x * y);
        }
    }
    out
}

fn column_sums(a: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    a.chunks(columns).for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x));
    sums
}

fn times(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(x, y)| x * y).collect()
}

impl Net {
    /// A network whose weights are drawn by [`Learner::init`](crate::learner::Learner::init).
    #[must_use]
    pub fn new(architecture: Architecture, sizes: Sizes) -> Self {
        let Sizes { features, hidden, classes, .. } = sizes;
        let full = matches!(architecture, Architecture::Full | Architecture::Large);
        let frozen = architecture == Architecture::Frozen;
        let param =
            |name, shape: &[usize], trainable| Param { name, shape: shape.to_vec(), value: Vec::new(), trainable };
        let mut params = vec![
            param("fc1.weight", &[hidden, features], !frozen),
            param("fc1.bias", &[hidden], !frozen),
            param("fc2.weight", &[classes, hidden], true),
            param("fc2.bias", &[classes], true),
        ];
        if full {
            params.push(param("norm.weight", &[hidden], true));
            params.push(param("norm.bias", &[hidden], true));
        }
        if architecture == Architecture::Unused {
            params.push(param("unused.weight", &[hidden], true));
        }
        Self {
            sizes,
            params,
            running: RefCell::new([vec![0.0; hidden], vec![1.0; hidden]]),
            dropout: if full { 0.2 } else { 0.0 },
            batch_norm: full,
            device: Cell::default(),
            rng: RefCell::new(generator(0, RngStream::Train, 0, 0)),
            stream: Rc::default(),
        }
    }

    pub(super) fn has_norm(&self) -> bool {
        self.params.iter().any(|param| param.name == "norm.weight")
    }

    /// Parameters and buffers, in order.
    pub(super) fn weights(&mut self) -> Vec<&mut Vec<f32>> {
        let has_norm = self.has_norm();
        let running = self.running.get_mut().iter_mut().filter(|_| has_norm);
        self.params.iter_mut().map(|param| &mut param.value).chain(running).collect()
    }

    /// Their names and shapes.
    pub(super) fn names(&self) -> Vec<(&'static str, Vec<usize>)> {
        let running = ["norm.running_mean", "norm.running_var"].into_iter().filter(|_| self.has_norm());
        let params = self.params.iter().map(|param| (param.name, param.shape.clone()));
        params.chain(running.map(|name| (name, vec![self.sizes.hidden]))).collect()
    }

    /// Draws the weights that are not there yet: uniform in +-1/sqrt(inputs), as PyTorch's linear layer.
    pub(super) fn init(&mut self, seed: u64) {
        let mut rng = generator(seed, RngStream::Init, 0, 0);
        for param in self.params.iter_mut().filter(|param| param.value.is_empty()) {
            let bound = 1.0 / (*param.shape.last().unwrap_or(&1) as f32).sqrt();
            let len = param.shape.iter().product();
            param.value = match param.name {
                "norm.weight" => vec![1.0; len],
                "norm.bias" => vec![0.0; len],
                _ => (0..len).map(|_| bound * (2.0 * uniform(&mut rng) - 1.0)).collect(),
            };
        }
    }

    /// Mean cross-entropy over the rows, and how many were right.
    ///
    /// # Errors
    /// When the batch is not on the model's device, or has the wrong shape.
    pub fn loss(&self, batch: &Batch) -> Fallible<(LazyScalar, LazyScalar)> {
        let Sizes { features, hidden, classes, .. } = self.sizes;
        let n = batch.labels.len();
        if batch.device != Some(self.device.get()) {
            return Err(format!("the batch is on {:?}, the model on {:?}", batch.device, self.device.get()).into());
        }
        if batch.inputs.len() != n * features || batch.labels.iter().any(|&label| label >= classes) {
            let inputs = batch.inputs.len();
            return Err(format!("{n} labels below {classes} need {n} rows of {features}, not {inputs} numbers").into());
        }
        let train = self.device.get().tracked;
        let mut input = batch.inputs.clone();
        if train && self.dropout > 0.0 {
            let (mut rng, keep) = (self.rng.borrow_mut(), 1.0 - self.dropout);
            input.iter_mut().for_each(|x| *x = if uniform(&mut rng) < keep { *x / keep } else { 0.0 });
        }
        let [w1, b1, w2, b2] = [W1, B1, W2, B2].map(|i| &self.params[i].value);
        let add = |mut rows: Vec<f32>, bias: &[f32]| {
            rows.chunks_mut(bias.len()).for_each(|row| row.iter_mut().zip(bias).for_each(|(x, b)| *x += b));
            rows
        };
        let mut normal = add(matmul_transposed(&input, w1, features), b1);
        let mut inverse_std = Vec::new();
        let mut active = normal.clone();
        if self.batch_norm {
            inverse_std = self.normalise(&mut normal, n, train);
            let (gamma, beta) = (&self.params[GAMMA].value, &self.params[BETA].value);
            active = add(normal.chunks(hidden).flat_map(|row| times(row, gamma)).collect(), beta);
        }
        active.iter_mut().for_each(|x| *x = x.max(0.0));
        let mut probabilities = add(matmul_transposed(&active, w2, hidden), b2);
        let (mut loss, mut hits) = (0.0, 0.0);
        for (row, &label) in probabilities.chunks_mut(classes).zip(&batch.labels) {
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            hits += f64::from(u8::from(row[label] == max));
            row.iter_mut().for_each(|x| *x = (*x - max).exp());
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|x| *x /= sum);
            loss -= row[label].ln();
        }
        let graph = train.then(|| {
            let stream = Rc::clone(&self.stream);
            stream.graph_made();
            let labels = batch.labels.clone();
            Rc::new(Graph { stream, labels, input, normal, inverse_std, active, probabilities })
        });
        let loss = self.stream.scalar(&[f64::from(loss / n as f32)], graph.clone());
        Ok((loss, self.stream.scalar(&[hits], graph)))
    }

    /// A number that does not depend on the model.
    #[must_use]
    pub fn constant(&self, values: &[f64]) -> LazyScalar {
        self.stream.scalar(values, None)
    }

    /// Batch norm without its affine part, in place. Returns 1 / standard deviation per column.
    fn normalise(&self, rows: &mut [f32], n: usize, train: bool) -> Vec<f32> {
        let hidden = self.sizes.hidden;
        let mut running = self.running.borrow_mut();
        let (mut mean, mut var) = (running[0].clone(), running[1].clone());
        if train {
            mean = column_sums(rows, hidden).iter().map(|sum| sum / n as f32).collect();
            let squares: Vec<f32> =
                rows.chunks(hidden).flat_map(|row| row.iter().zip(&mean).map(|(x, m)| (x - m) * (x - m))).collect();
            var = column_sums(&squares, hidden).iter().map(|sum| sum / n as f32).collect();
            let unbiased = n as f32 / (n.max(2) - 1) as f32;
            for i in 0..hidden {
                running[0][i] += MOMENTUM * (mean[i] - running[0][i]);
                running[1][i] += MOMENTUM * (var[i] * unbiased - running[1][i]);
            }
        }
        let inverse_std: Vec<f32> = var.iter().map(|var| 1.0 / (var + EPSILON).sqrt()).collect();
        for row in rows.chunks_mut(hidden) {
            for i in 0..hidden {
                row[i] = (row[i] - mean[i]) * inverse_std[i];
            }
        }
        inverse_std
    }

    /// The gradients of weight x loss, one for each parameter that took part.
    pub(super) fn gradients(&self, graph: &Graph, weight: f64) -> Vec<Option<Vec<f32>>> {
        let Sizes { features, hidden, classes, .. } = self.sizes;
        let n = graph.labels.len() as f32;
        let mut out = graph.probabilities.clone();
        for (row, &label) in out.chunks_mut(classes).zip(&graph.labels) {
            row[label] -= 1.0;
            row.iter_mut().for_each(|x| *x /= n);
        }
        if weight != 1.0 {
            out.iter_mut().for_each(|x| *x *= weight as f32);
        }
        let mut gradients = vec![None; self.params.len()];
        gradients[W2] = Some(transposed_matmul(&out, &graph.active, classes, hidden));
        gradients[B2] = Some(column_sums(&out, classes));
        // out [n, classes] times W2 [classes, hidden], by rows
        let w2 = &self.params[W2].value;
        let mut inner: Vec<f32> = out.chunks(classes).flat_map(|row| transposed_matmul(row, w2, 1, hidden)).collect();
        inner.iter_mut().zip(&graph.active).for_each(|(d, a)| *d = if *a > 0.0 { *d } else { 0.0 });
        if self.batch_norm {
            gradients[GAMMA] = Some(column_sums(&times(&inner, &graph.normal), hidden));
            gradients[BETA] = Some(column_sums(&inner, hidden));
            inner = self.normalise_backward(&inner, graph);
        }
        gradients[W1] = Some(transposed_matmul(&inner, &graph.input, hidden, features));
        gradients[B1] = Some(column_sums(&inner, hidden));
        for (gradient, param) in gradients.iter_mut().zip(&self.params) {
            if !param.trainable {
                *gradient = None;
            }
        }
        gradients
    }

    /// Ioffe, Szegedy 2015, section 3: dx = inverse_std / n * (n dxhat - sum dxhat - xhat sum (dxhat xhat)).
    fn normalise_backward(&self, inner: &[f32], graph: &Graph) -> Vec<f32> {
        let hidden = self.sizes.hidden;
        let n = graph.labels.len() as f32;
        let gamma = &self.params[GAMMA].value;
        let dxhat: Vec<f32> = inner.chunks(hidden).flat_map(|row| times(row, gamma)).collect();
        let sum = column_sums(&dxhat, hidden);
        let along = column_sums(&times(&dxhat, &graph.normal), hidden);
        let at = |j: usize| {
            let i = j % hidden;
            graph.inverse_std[i] / n * (n * dxhat[j] - sum[i] - graph.normal[j] * along[i])
        };
        (0..inner.len()).map(at).collect()
    }
}

/// A number in [0, 1) of 24 random bits.
fn uniform(rng: &mut StepRng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1 << 24) as f32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn net(architecture: Architecture) -> Net {
        let mut net = Net::new(architecture, Sizes { features: 4, hidden: 5, classes: 3, rows: 6 });
        net.init(7);
        net.device.set(ReferenceDevice { index: 0, tracked: true });
        net
    }

    fn loss(net: &Net, batch: &Batch) -> (f64, Rc<Graph>) {
        *net.rng.borrow_mut() = generator(3, RngStream::Train, 0, 0);
        let (loss, _) = net.loss(batch).unwrap();
        let mut out = crate::learner::Readout::default();
        net.stream.read(std::slice::from_ref(&loss), &mut out);
        (out.get(0)[0], loss.graph.unwrap())
    }

    /// Central differences in f32 are good to about three digits.
    #[test]
    fn hand_derived_gradients_agree_with_differences() {
        for architecture in [Architecture::Plain, Architecture::Full] {
            let mut net = net(architecture);
            let samples = crate::testing::Samples::random(6, 4, 3, 1);
            let device = Some(net.device.get());
            let batch = Batch { inputs: samples.inputs, labels: samples.labels, device };
            let gradients = net.gradients(&loss(&net, &batch).1, 1.0);
            for (p, gradient) in gradients.iter().enumerate() {
                let gradient = gradient.as_ref().unwrap();
                for (i, expected) in gradient.iter().enumerate() {
                    let value = net.params[p].value[i];
                    let mut shifted = |by: f32| {
                        net.params[p].value[i] = value + by;
                        let loss = loss(&net, &batch).0;
                        net.params[p].value[i] = value;
                        loss
                    };
                    let slope = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
                    let name = net.params[p].name;
                    assert!((slope - f64::from(*expected)).abs() < 5e-3, "{name}[{i}]: {slope} and {expected}");
                }
            }
        }
    }
}
