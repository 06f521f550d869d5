//! Adam's step against its formulas, in f64.
#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_near, numbers, refs, tensor, values};
use tch::{Kind, Tensor};
use zae_tch_sys::{AdamStep, AdamTensors, Error, adam_step};

const STEP: AdamStep = AdamStep {
    lr: 0.01,
    beta1: 0.9,
    beta2: 0.99,
    weight_decay: 0.1,
    eps: 1e-8,
    amsgrad: false,
    decoupled: true,
    maximize: false,
};

const SHAPES: [&[i64]; 3] = [&[7, 33], &[5], &[]];

/// Parameters of some shapes, with their gradients and state.
struct Model {
    params: Vec<Tensor>,
    grads: Vec<Tensor>,
    exp_avgs: Vec<Tensor>,
    exp_avg_sqs: Vec<Tensor>,
    max_exp_avg_sqs: Vec<Tensor>,
    steps: Vec<Tensor>,
}

impl Model {
    fn new(kind: Kind, amsgrad: bool) -> Self {
        let params: Vec<_> = SHAPES.iter().enumerate().map(|(i, shape)| tensor(shape, i, kind)).collect();
        let zeros = || params.iter().map(Tensor::zeros_like).collect::<Vec<_>>();
        Self {
            grads: zeros(),
            exp_avgs: zeros(),
            exp_avg_sqs: zeros(),
            max_exp_avg_sqs: if amsgrad { zeros() } else { Vec::new() },
            steps: params.iter().map(|_| Tensor::from(0.0f32)).collect(),
            params,
        }
    }

    fn step(&self, step: &AdamStep, grad_scale: Option<&Tensor>, found_inf: Option<&Tensor>) -> Result<(), Error> {
        let tensors = AdamTensors {
            params: &refs(&self.params),
            grads: &refs(&self.grads),
            exp_avgs: &refs(&self.exp_avgs),
            exp_avg_sqs: &refs(&self.exp_avg_sqs),
            max_exp_avg_sqs: &refs(&self.max_exp_avg_sqs),
            steps: &refs(&self.steps),
        };
        adam_step(&tensors, step, grad_scale, found_inf)
    }

    /// Everything in it, as text: to see that nothing has changed.
    fn bits(&self) -> String {
        let all = [&self.params, &self.grads, &self.exp_avgs, &self.exp_avg_sqs, &self.max_exp_avg_sqs, &self.steps];
        format!("{:?}", all.map(|list| list.iter().map(values).collect::<Vec<_>>()))
    }
}

/// What a parameter becomes, from the paper.
#[derive(Default, Clone, Copy)]
struct Reference {
    param: f64,
    mean: f64,
    square: f64,
    largest: f64,
}

impl Reference {
    fn step(&mut self, gradient: f64, t: i32, s: &AdamStep) {
        let mut gradient = if s.maximize { -gradient } else { gradient };
        if s.decoupled {
            self.param *= 1.0 - s.lr * s.weight_decay;
        } else {
            gradient += s.weight_decay * self.param;
        }
        self.mean = s.beta1 * self.mean + (1.0 - s.beta1) * gradient;
        self.square = s.beta2 * self.square + (1.0 - s.beta2) * gradient * gradient;
        self.largest = self.largest.max(self.square);
        let square = if s.amsgrad { self.largest } else { self.square };
        let denominator = (square / (1.0 - s.beta2.powi(t))).sqrt() + s.eps;
        self.param -= s.lr * self.mean / (1.0 - s.beta1.powi(t)) / denominator;
    }
}

#[track_caller]
fn check(step: AdamStep, kind: Kind, tolerance: f64) {
    let model = Model::new(kind, step.amsgrad);
    let mut references: Vec<Vec<Reference>> = model
        .params
        .iter()
        .map(|param| values(param).into_iter().map(|param| Reference { param, ..Reference::default() }).collect())
        .collect();
    for t in 1..=5 {
        for (i, (grad, references)) in model.grads.iter().zip(&mut references).enumerate() {
            // Ever smaller, so that the largest square is not the last.
            let numbers: Vec<f64> =
                numbers(references.len(), 10 * t as usize + i).iter().map(|g| g / f64::from(t)).collect();
            grad.shallow_clone().copy_(&Tensor::from_slice(&numbers).reshape(grad.size()));
            for (reference, gradient) in references.iter_mut().zip(numbers) {
                reference.step(gradient, t, &step);
            }
        }
        model.step(&step, None, None).unwrap();
    }
    for (i, references) in references.iter().enumerate() {
        let of = |part: fn(&Reference) -> f64| references.iter().map(part).collect::<Vec<_>>();
        assert_near(&values(&model.params[i]), &of(|r| r.param), tolerance);
        assert_near(&values(&model.exp_avgs[i]), &of(|r| r.mean), tolerance);
        assert_near(&values(&model.exp_avg_sqs[i]), &of(|r| r.square), tolerance);
        if step.amsgrad {
            assert_near(&values(&model.max_exp_avg_sqs[i]), &of(|r| r.largest), tolerance);
        }
        assert_eq!(values(&model.steps[i]), [5.0]);
    }
}

#[test]
fn the_formulas_of_adam_and_adamw() {
    for decoupled in [false, true] {
        for amsgrad in [false, true] {
            for maximize in [false, true] {
                let step = AdamStep { decoupled, amsgrad, maximize, ..STEP };
                check(step, Kind::Double, 1e-12);
                check(step, Kind::Float, 2e-6);
            }
        }
    }
}

#[test]
fn leaves_that_require_gradients_are_stepped() {
    let mut model = Model::new(Kind::Float, false);
    for param in &mut model.params {
        *param = param.set_requires_grad(true);
    }
    let loss = model.params.iter().map(|param| param.square().sum(Kind::Float)).reduce(|a, b| a + b).unwrap();
    loss.backward();
    model.grads = model.params.iter().map(Tensor::grad).collect();
    let before = values(&model.params[0]);
    model.step(&STEP, None, None).unwrap();
    assert!(model.params[0].requires_grad() && model.params[0].is_leaf());
    assert_ne!(values(&model.params[0]), before);
}

#[test]
fn gradients_are_divided_by_their_scale_and_stay_so() {
    let (scaled, plain) = (Model::new(Kind::Float, false), Model::new(Kind::Float, false));
    for (i, (a, b)) in scaled.grads.iter().zip(&plain.grads).enumerate() {
        let grad = tensor(SHAPES[i], i + 9, Kind::Float);
        a.shallow_clone().copy_(&(&grad * 1024.0));
        b.shallow_clone().copy_(&grad);
    }
    scaled.step(&STEP, Some(&Tensor::from(1024.0f32)), Some(&Tensor::from(0.0f32))).unwrap();
    plain.step(&STEP, None, None).unwrap();
    assert_eq!(scaled.bits(), plain.bits());
}

#[test]
fn a_step_with_an_infinity_found_is_skipped_and_not_counted() {
    let model = Model::new(Kind::Float, true);
    for grad in &model.grads {
        let _ = grad.shallow_clone().fill_(1.0);
    }
    let before = model.bits();
    let step = AdamStep { amsgrad: true, ..STEP };
    model.step(&step, Some(&Tensor::from(2.0f32)), Some(&Tensor::from(1.0f32))).unwrap();
    assert_eq!(model.bits(), before);
    model.step(&step, Some(&Tensor::from(2.0f32)), Some(&Tensor::from(0.0f32))).unwrap();
    assert_ne!(model.bits(), before);
}

#[test]
fn layouts_other_than_rows_work_if_all_have_them() {
    let rows = Model::new(Kind::Double, false);
    let mut columns = Model::new(Kind::Double, false);
    for (i, grad) in rows.grads.iter().enumerate() {
        grad.shallow_clone().copy_(&tensor(SHAPES[i], 3, Kind::Double));
    }
    let turned = |t: &Tensor| t.tr().contiguous().tr();
    columns.params[0] = turned(&rows.params[0]);
    columns.grads[0] = turned(&rows.grads[0]);
    columns.exp_avgs[0] = turned(&rows.exp_avgs[0]);
    columns.exp_avg_sqs[0] = turned(&rows.exp_avg_sqs[0]);
    rows.step(&STEP, None, None).unwrap();
    columns.step(&STEP, None, None).unwrap();
    assert_eq!(columns.params[0].stride(), [1, 7]);
    assert_near(&values(&columns.params[0]), &values(&rows.params[0]), 1e-15);
}

/// Nothing is read or written where a kernel would go astray, and what is wrong is said in one line.
#[test]
fn lists_that_do_not_fit_are_refused_before_anything_changes() {
    type Wrong = (&'static str, fn(&mut Model));
    let wrongs: [Wrong; 10] = [
        (
            "params[2] is of type Half on cpu, params[0] of type Float on cpu: each type and device takes a step of its own",
            |m| m.params[2] = tensor(&[], 0, Kind::Half),
        ),
        ("there are 3 params, but 2 grads", |m| drop(m.grads.pop())),
        ("there are 3 params, but 2 steps", |m| drop(m.steps.pop())),
        ("grads[1] has shape [4], its parameter [5]", |m| m.grads[1] = tensor(&[4], 0, Kind::Float)),
        ("exp_avgs[1] is of type Double, its parameter of type Float", |m| {
            m.exp_avgs[1] = tensor(&[5], 0, Kind::Double);
        }),
        ("grads[0] has strides [1, 7], its parameter [33, 1]: they must be laid out alike, without gaps", |m| {
            m.grads[0] = tensor(&[33, 7], 0, Kind::Float).tr();
        }),
        ("params[1] has strides [2], its parameter [2]: they must be laid out alike, without gaps", |m| {
            m.params[1] = tensor(&[10], 0, Kind::Float).slice(0, 0, 10, 2);
        }),
        ("grads[2] is an undefined tensor", |m| m.grads[2] = Tensor::new()),
        ("steps[0] must be one number of type Float on cpu", |m| m.steps[0] = Tensor::from(1i64)),
        ("max_exp_avg_sqs are for amsgrad, which is off", |m| m.max_exp_avg_sqs.push(tensor(&[5], 0, Kind::Float))),
    ];
    for (message, wrong) in wrongs {
        let mut model = Model::new(Kind::Float, false);
        wrong(&mut model);
        let error = model.step(&STEP, None, None).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(format!("{error:?}"), message);
        assert!(model.steps.iter().all(|t| values(t)[0] < 2.0));
        assert_eq!(values(&model.exp_avg_sqs[0]), values(&Tensor::zeros_like(&model.params[0])));
    }
    let scale = Model::new(Kind::Float, false).step(&STEP, Some(&tensor(&[2], 0, Kind::Float)), None).unwrap_err();
    assert_eq!(scale.to_string(), "grad_scale must be one number of type Float");
}

#[test]
fn a_type_without_a_kernel_is_an_error_and_counts_no_step() {
    let model = Model::new(Kind::ComplexFloat, false);
    let error = model.step(&STEP, None, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "params[0] is of type ComplexFloat: fused steps are for Float, Double, Half and BFloat16"
    );
    assert_eq!(values(&model.steps[0]), [0.0]);
}

#[test]
fn nothing_to_step_is_no_error() {
    adam_step(&AdamTensors::default(), &STEP, None, None).unwrap();
}
