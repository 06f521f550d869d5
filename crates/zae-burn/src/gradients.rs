//! Gradients: summing, unscaling, scaling and clipping.

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    prelude::*,
    tensor::{DType, FloatDType},
};
use zae_core::{
    error::Fallible,
    learner::{Clip, in_part},
    scaler::GradScaler,
};

use crate::visit::{Path, walk};

/// Adds gradients to a sum: sum + new, in the order of the micro-batches.
pub(crate) fn add<M: Module>(model: &M, sum: GradientsParams, new: GradientsParams) -> GradientsParams {
    let mut add = Add { sum, new };
    model.visit(&mut add);
    add.sum
}

struct Add {
    sum: GradientsParams,
    new: GradientsParams,
}

impl ModuleVisitor for Add {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(new) = self.new.remove::<D>(param.id) else { return };
        let sum = match self.sum.remove::<D>(param.id) {
            Some(sum) => sum.add(new),
            None => new,
        };
        self.sum.register(param.id, sum);
    }
}

/// Drops the gradients of what is not in this part of the model.
pub(crate) fn keep_part<M: Module>(model: &M, gradients: &mut GradientsParams, part: &str) {
    model.visit(&mut KeepPart { path: Path::default(), gradients, part });
}

struct KeepPart<'a> {
    path: Path,
    gradients: &'a mut GradientsParams,
    part: &'a str,
}

impl ModuleVisitor for KeepPart<'_> {
    walk!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !in_part(self.path.as_str(), self.part) {
            drop(self.gradients.remove::<D>(param.id));
        }
    }
}

/// Takes the scale from the gradients of a window, if they have one. Returns whether they overflow; that waits for the device.
pub(crate) fn unscale<M: Module>(
    model: &M,
    gradients: &mut GradientsParams,
    scaler: &mut Option<GradScaler>,
    in_place: bool,
) -> Fallible<bool> {
    let Some(scaler) = scaler else { return Ok(false) };
    scaler.unscale(|factor| {
        let mut census = Census { gradients, all_f32: true, device: None };
        model.visit(&mut census);
        if in_place && census.all_f32 {
            let (factor, mut finite) = (factor as f32, true);
            each(model, gradients, |values| {
                for value in values {
                    *value *= factor;
                    finite &= value.is_finite();
                }
            });
            return Ok(!finite);
        }
        model.visit(&mut Map { gradients, change: Change::Number { scale: factor, limit: None } });
        let mut squares = Squares { gradients, sum: None };
        model.visit(&mut squares);
        let sum = squares.sum.map_or(Ok(0.0), Tensor::try_into_scalar::<f32>)?;
        Ok(!sum.is_finite())
    })
}

/// Multiplies by `scale` and clips. Returns the global norm between the two if the clipping needs it.
///
/// With n = sqrt(Σ g²) x |scale|, gradients become g x (scale x min(1, max / (n + 1e-6))): one multiplication, and none if
/// that factor is 1.
pub(crate) fn clip<M: Module>(
    model: &M,
    gradients: &mut GradientsParams,
    scale: f64,
    clip: Clip,
    in_place: bool,
) -> Fallible<Option<Tensor<1>>> {
    match clip {
        Clip::Norm(limit) | Clip::Value(limit) if limit.is_nan() || limit <= 0.0 => {
            return Err(format!("gradients cannot be clipped to {limit}: it must be more than 0").into());
        }
        Clip::None if scale == 1.0 => return Ok(None),
        _ => {}
    }
    let mut census = Census { gradients, all_f32: true, device: None };
    model.visit(&mut census);
    let Some(device) = census.device else { return Ok(None) };
    Ok(if in_place && census.all_f32 {
        on_host(model, gradients, scale, clip, &device)
    } else {
        on_device(model, gradients, scale, clip)
    })
}

/// The same gradients, all of them `f32`, in their own memory: half the time, for nothing is allocated.
fn on_host<M: Module>(
    model: &M,
    gradients: &mut GradientsParams,
    scale: f64,
    clip: Clip,
    device: &Device,
) -> Option<Tensor<1>> {
    match clip {
        Clip::Value(limit) => {
            let (scale, limit) = (scale as f32, limit as f32);
            each(model, gradients, |values| values.iter_mut().for_each(|v| *v = (*v * scale).clamp(-limit, limit)));
            None
        }
        Clip::None => {
            multiply(model, gradients, scale as f32);
            None
        }
        Clip::Norm(max) => {
            let mut squares = 0.0;
            each(model, gradients, |values| squares += sum_of_squares(values));
            let norm = (squares.sqrt() * scale.abs()) as f32;
            // `min` also turns a quotient that is no number into 1: a norm that is not finite leaves all as it is.
            let coefficient = (max as f32 / (norm + 1e-6)).min(1.0);
            multiply(model, gradients, (scale * f64::from(coefficient)) as f32);
            Some(Tensor::from_data(TensorData::new(vec![norm], [1]), (device, DType::F32)))
        }
    }
}

fn multiply<M: Module>(model: &M, gradients: &mut GradientsParams, factor: f32) {
    if factor != 1.0 {
        each(model, gradients, |values| values.iter_mut().for_each(|v| *v *= factor));
    }
}

/// Squares are summed in f32 over short blocks, in lanes, and the blocks in f64: fast, and the same bits every time.
fn sum_of_squares(values: &[f32]) -> f64 {
    const LANES: usize = 16;
    let block = |block: &[f32]| -> f64 {
        let mut lanes = [0.0f32; LANES];
        let chunks = block.chunks_exact(LANES);
        let rest: f32 = chunks.remainder().iter().map(|v| v * v).sum();
        for chunk in chunks {
            for (lane, v) in lanes.iter_mut().zip(chunk) {
                *lane += v * v;
            }
        }
        f64::from(lanes.iter().sum::<f32>()) + f64::from(rest)
    };
    values.chunks(64 * LANES).map(block).sum()
}

fn each<M: Module>(model: &M, gradients: &mut GradientsParams, apply: impl FnMut(&mut [f32])) {
    model.visit(&mut InPlace { gradients, apply });
}

struct InPlace<'a, F> {
    gradients: &'a mut GradientsParams,
    apply: F,
}

impl<F: FnMut(&mut [f32])> ModuleVisitor for InPlace<'_, F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return };
        let device = gradient.device();
        let mut data = gradient.into_data();
        if let Ok(values) = data.as_mut_slice::<f32>() {
            (self.apply)(values);
        }
        self.gradients.register(param.id, Tensor::<D>::from_data(data, (&device, DType::F32)));
    }
}

/// The same as operations of the device: lazy, nothing is read.
fn on_device<M: Module>(model: &M, gradients: &mut GradientsParams, scale: f64, clip: Clip) -> Option<Tensor<1>> {
    let Clip::Norm(max) = clip else {
        let limit = if let Clip::Value(limit) = clip { Some(limit) } else { None };
        model.visit(&mut Map { gradients, change: Change::Number { scale, limit } });
        return None;
    };
    let mut squares = Squares { gradients, sum: None };
    model.visit(&mut squares);
    let norm = squares.sum?.sqrt().mul_scalar(scale.abs());
    if max.is_infinite() {
        if scale != 1.0 {
            model.visit(&mut Map { gradients, change: Change::Number { scale, limit: None } });
        }
    } else {
        let factor = norm.clone().add_scalar(1e-6).recip().mul_scalar(max).clamp_max(1.0).mul_scalar(scale);
        model.visit(&mut Map { gradients, change: Change::Lazy(Box::new(factor)) });
    }
    Some(norm)
}

struct Squares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.get::<D>(param.id) else { return };
        // In half precision squares of ordinary gradients vanish or overflow.
        let square = gradient.cast(FloatDType::F32).square().sum();
        self.sum = Some(match self.sum.take() {
            Some(sum) => sum.add(square),
            None => square,
        });
    }
}

enum Change {
    Number { scale: f64, limit: Option<f64> },
    Lazy(Box<Tensor<1>>),
}

struct Map<'a> {
    gradients: &'a mut GradientsParams,
    change: Change,
}

impl ModuleVisitor for Map<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return };
        let dtype = gradient.dtype();
        let changed = match &self.change {
            Change::Lazy(factor) => {
                let product = gradient.cast(FloatDType::F32).mul(Tensor::clone(factor).reshape([1; D]));
                product.cast(FloatDType::from(dtype))
            }
            Change::Number { scale, limit } => {
                let scaled = if *scale == 1.0 { gradient } else { gradient.mul_scalar(*scale) };
                match limit {
                    Some(limit) => scaled.clamp(-limit, *limit),
                    None => scaled,
                }
            }
        };
        self.gradients.register(param.id, changed);
    }
}

/// Whether there are gradients, and of which sort.
struct Census<'a> {
    gradients: &'a GradientsParams,
    all_f32: bool,
    device: Option<Device>,
}

impl ModuleVisitor for Census<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.get::<D>(param.id) else { return };
        self.all_f32 &= gradient.dtype() == DType::F32;
        self.device.get_or_insert_with(|| gradient.device());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::nn::{Linear, LinearConfig};
    use zae_core::precision::Precision;

    use super::*;

    fn gradients(model: &Linear) -> GradientsParams {
        let x = Tensor::<1, Int>::arange(0..300, &Device::flex()).float().reshape([10, 30]).sin();
        GradientsParams::from_grads(model.forward(x.autodiff()).square().mean().backward(), model)
    }

    fn flat(model: &Linear, gradients: &GradientsParams) -> Vec<f32> {
        let weight = gradients.get::<2>(model.weight.id).unwrap().into_data();
        let bias = gradients.get::<1>(model.bias.as_ref().unwrap().id).unwrap().into_data();
        weight.iter::<f32>().chain(bias.iter()).collect()
    }

    #[test]
    fn both_ways_of_clipping_agree() {
        let model: Linear = LinearConfig::new(30, 20).init(&Device::flex().autodiff());
        let clips = [Clip::None, Clip::Norm(1e-3), Clip::Norm(1e3), Clip::Norm(f64::INFINITY), Clip::Value(1e-3)];
        for (clip_to, scale) in clips.into_iter().flat_map(|clip| [(clip, 1.0), (clip, 0.5)]) {
            let results = [true, false].map(|in_place| {
                let mut gradients = gradients(&model);
                let norm = clip(&model, &mut gradients, scale, clip_to, in_place).unwrap();
                (flat(&model, &gradients), norm.map(|norm| norm.into_scalar::<f32>()))
            });
            let [(host, host_norm), (device, device_norm)] = results;
            assert!(host.iter().zip(device).all(|(a, b)| (a - b).abs() < 1e-6), "{clip_to:?}");
            match (host_norm, device_norm) {
                (Some(a), Some(b)) => assert!((a - b).abs() < 1e-5 * a, "{a} {b}"),
                (a, b) => assert_eq!(a, b),
            }
        }
    }

    #[test]
    fn both_ways_of_unscaling_agree() {
        let model: Linear = LinearConfig::new(30, 20).init(&Device::flex().autodiff());
        for in_place in [true, false] {
            for (spoiled, overflows) in [(None, false), (Some(f32::INFINITY), true), (Some(f32::NAN), true)] {
                let mut gradients = gradients(&model);
                let mut expected = flat(&model, &gradients);
                if let Some(value) = spoiled {
                    let bias = model.bias.as_ref().unwrap().id;
                    gradients.remove::<1>(bias);
                    gradients.register(bias, Tensor::<1>::full([20], value, &Device::flex()));
                    expected[30 * 20..].fill(value);
                }
                let mut scaler = GradScaler::new(Precision::F16);
                let found = unscale(&model, &mut gradients, &mut scaler, in_place).unwrap();
                assert_eq!(found, overflows, "{spoiled:?}, in place: {in_place}");
                let unscaled = flat(&model, &gradients);
                let same = unscaled.iter().zip(&expected).all(|(a, b)| (a * 65536.0).to_bits() == b.to_bits());
                assert!(same || spoiled.is_some_and(f32::is_nan), "{spoiled:?}, in place: {in_place}");
                // Once only.
                unscale(&model, &mut gradients, &mut scaler, in_place).unwrap();
                assert!(flat(&model, &gradients).iter().zip(&unscaled).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        }
        assert!(!unscale(&model, &mut gradients(&model), &mut None, true).unwrap());
    }

    #[test]
    fn squares_are_summed_whatever_the_length() {
        for length in [0, 1, 15, 16, 17, 1024, 5000] {
            let values: Vec<f32> = (0..length).map(|i| i as f32 / 10.0).collect();
            let exact: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
            assert!((sum_of_squares(&values) - exact).abs() <= 1e-6 * exact, "{length}");
        }
    }
}
