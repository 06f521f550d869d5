//! SGD's step against its formulas, in f64.
#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_near, numbers, refs, tensor, values};
use tch::{Kind, Tensor};
use zae_tch_sys::{Error, SgdStep, SgdTensors, sgd_step};

const STEP: SgdStep = SgdStep {
    lr: 0.1,
    momentum: 0.9,
    dampening: 0.0,
    weight_decay: 0.01,
    nesterov: false,
    maximize: false,
    is_first_step: false,
};

const SHAPES: [&[i64]; 2] = [&[4, 9], &[3]];

struct Model {
    params: Vec<Tensor>,
    grads: Vec<Tensor>,
    momentum_buffers: Vec<Tensor>,
}

impl Model {
    fn new(kind: Kind, momentum: bool) -> Self {
        let params: Vec<_> = SHAPES.iter().enumerate().map(|(i, shape)| tensor(shape, i, kind)).collect();
        let zeros = || params.iter().map(Tensor::zeros_like).collect::<Vec<_>>();
        Self { grads: zeros(), momentum_buffers: if momentum { zeros() } else { Vec::new() }, params }
    }

    fn step(&self, step: &SgdStep, grad_scale: Option<&Tensor>, found_inf: Option<&Tensor>) -> Result<(), Error> {
        let tensors = SgdTensors {
            params: &refs(&self.params),
            grads: &refs(&self.grads),
            momentum_buffers: &refs(&self.momentum_buffers),
        };
        sgd_step(&tensors, step, grad_scale, found_inf)
    }
}

#[track_caller]
fn check(step: SgdStep, kind: Kind, tolerance: f64) {
    let model = Model::new(kind, step.momentum != 0.0);
    let mut references: Vec<Vec<(f64, f64)>> =
        model.params.iter().map(|param| values(param).into_iter().map(|param| (param, 0.0)).collect()).collect();
    for t in 0..4 {
        let step = SgdStep { is_first_step: t == 0, ..step };
        for (i, (grad, references)) in model.grads.iter().zip(&mut references).enumerate() {
            let numbers = numbers(references.len(), 10 * t + i);
            grad.shallow_clone().copy_(&Tensor::from_slice(&numbers).reshape(grad.size()));
            for ((param, momentum), gradient) in references.iter_mut().zip(numbers) {
                let mut gradient = if step.maximize { -gradient } else { gradient } + step.weight_decay * *param;
                if step.momentum != 0.0 {
                    let kept = (1.0 - step.dampening) * gradient;
                    *momentum = if t == 0 { gradient } else { step.momentum * *momentum + kept };
                    gradient = if step.nesterov { gradient + step.momentum * *momentum } else { *momentum };
                }
                *param -= step.lr * gradient;
            }
        }
        model.step(&step, None, None).unwrap();
    }
    for (i, references) in references.iter().enumerate() {
        let (params, momenta): (Vec<f64>, Vec<f64>) = references.iter().copied().unzip();
        assert_near(&values(&model.params[i]), &params, tolerance);
        if step.momentum != 0.0 {
            assert_near(&values(&model.momentum_buffers[i]), &momenta, tolerance);
        }
    }
}

#[test]
fn the_formulas_of_sgd() {
    let plain = SgdStep { momentum: 0.0, ..STEP };
    let dampened = SgdStep { dampening: 0.3, ..STEP };
    let nesterov = SgdStep { nesterov: true, ..STEP };
    for step in [plain, STEP, dampened, nesterov] {
        for maximize in [false, true] {
            let step = SgdStep { maximize, ..step };
            check(step, Kind::Double, 1e-13);
            check(step, Kind::Float, 2e-6);
        }
    }
}

#[test]
fn scaled_gradients_are_divided_and_a_step_with_an_infinity_found_is_skipped() {
    let model = Model::new(Kind::Float, true);
    for grad in &model.grads {
        let _ = grad.shallow_clone().fill_(8.0);
    }
    let all =
        || [&model.params, &model.grads, &model.momentum_buffers].map(|l| l.iter().map(values).collect::<Vec<_>>());
    let before = all();
    let first = SgdStep { is_first_step: true, weight_decay: 0.0, ..STEP };
    model.step(&first, Some(&Tensor::from(4.0f32)), Some(&Tensor::from(1.0f32))).unwrap();
    assert_eq!(all(), before);
    model.step(&first, Some(&Tensor::from(4.0f32)), Some(&Tensor::from(0.0f32))).unwrap();
    assert_eq!(values(&model.grads[1]), [2.0; 3]);
    assert_eq!(values(&model.momentum_buffers[1]), [2.0; 3]);
    let stepped: Vec<f64> = before[0][1].iter().map(|param| param - 0.2).collect();
    assert_near(&values(&model.params[1]), &stepped, 1e-6);
}

#[test]
fn buffers_are_there_exactly_if_there_is_momentum() {
    let without = Model::new(Kind::Float, false).step(&STEP, None, None).unwrap_err();
    assert_eq!(without.to_string(), "there are 2 params, but 0 momentum_buffers");
    let with = Model::new(Kind::Float, true).step(&SgdStep { momentum: 0.0, ..STEP }, None, None).unwrap_err();
    assert_eq!(with.to_string(), "momentum_buffers are for momentum, which is 0");
}

#[test]
fn nothing_to_step_is_no_error() {
    sgd_step(&SgdTensors::default(), &STEP, None, None).unwrap();
}
