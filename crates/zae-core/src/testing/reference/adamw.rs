//! AdamW.

use super::net::Param;

pub(super) const BETAS: [f64; 2] = [0.9, 0.999];
pub(super) const EPSILON: f64 = 1e-8;
pub(super) const WEIGHT_DECAY: f64 = 1e-2;

/// AdamW (Loshchilov, Hutter 2019) with PyTorch's defaults. A parameter that took no part in the loss is left alone.
#[derive(Clone)]
pub(super) struct AdamW {
    pub(super) time: u64,
    /// First and second moment of each parameter, once it has had a gradient.
    pub(super) moments: Vec<Option<[Vec<f32>; 2]>>,
}

impl AdamW {
    pub(super) fn new(params: usize) -> Self {
        Self { time: 0, moments: vec![None; params] }
    }

    pub(super) fn zeros(param: &Param) -> [Vec<f32>; 2] {
        [vec![0.0; param.value.len()], vec![0.0; param.value.len()]]
    }

    pub(super) fn step(&mut self, params: &mut [Param], gradients: &[Option<Vec<f32>>], lr: f64) {
        self.time += 1;
        let [c1, c2] = BETAS.map(|beta| 1.0 - beta.powf(self.time as f64));
        let [b1, b2] = BETAS.map(|beta| beta as f32);
        for ((param, gradient), moments) in params.iter_mut().zip(gradients).zip(&mut self.moments) {
            let Some(gradient) = gradient else { continue };
            let [first, second] = moments.get_or_insert_with(|| Self::zeros(param));
            for (i, g) in gradient.iter().enumerate() {
                first[i] = b1 * first[i] + (1.0 - b1) * g;
                second[i] = b2 * second[i] + (1.0 - b2) * g * g;
                let by = (f64::from(first[i]) / c1) / ((f64::from(second[i]) / c2).sqrt() + EPSILON);
                let value = f64::from(param.value[i]);
                param.value[i] = (value * (1.0 - lr * WEIGHT_DECAY) - lr * by) as f32;
            }
        }
    }
}
