//! Gradients: adding, unscaling, scaling and clipping.

use tch::{Device, Kind, Tensor};
use zae_core::{
    error::{BoxError, Fallible},
    learner::Clip,
    scaler::GradScaler,
};

use crate::{saved::short, variables::Variable};

/// Adds gradients to those that parameters have. One that took no part has an undefined one, and is left alone. Returns whether
/// any took part.
pub(crate) fn add(variables: &[&Variable], new: &[Tensor]) -> Fallible<bool> {
    let _no_grad = tch::no_grad_guard();
    let mut any = false;
    for (variable, new) in variables.iter().zip(new).filter(|(_, new)| new.defined()) {
        any = true;
        let mut sum = variable.tensor.grad();
        if sum.defined() {
            let _ = sum.f_add_(new).map_err(short)?;
        } else {
            // Its memory may be another gradient's too.
            let mut own = variable.tensor.f_empty_like().map_err(short)?;
            own.f_copy_(new).map_err(short)?;
            zae_tch_sys::set_grad(&variable.tensor, &own)?;
        }
    }
    Ok(any)
}

/// Takes the scale from the gradients of a window, if they have one. Returns whether they overflow; that waits for the device.
pub(crate) fn unscale(grads: &[(usize, Tensor)], scaler: &mut Option<GradScaler>, device: Device) -> Fallible<bool> {
    let Some(scaler) = scaler else { return Ok(false) };
    scaler.unscale(|factor| {
        let on_device = |value: f32| Tensor::f_from_slice(&[value]).and_then(|tensor| tensor.f_to_device(device));
        let (found, factor) = (on_device(0.0).map_err(short)?, on_device(factor as f32).map_err(short)?);
        zae_tch_sys::unscale_(&grads.iter().map(|(_, grad)| grad).collect::<Vec<_>>(), &found, &factor)?;
        Ok(found.f_double_value(&[0]).map_err(short)? != 0.0)
    })
}

/// Why gradients cannot be used, by the name of the parameter, where that is known. It is looked for only now.
pub(crate) fn explained(error: BoxError, variables: &[Variable], grads: &[(usize, Tensor)]) -> BoxError {
    let odd = grads.iter().find_map(|(i, grad)| {
        let name = &variables[*i].name;
        if grad.is_sparse() {
            Some(format!("`{name}` has a sparse gradient, which no optimizer here takes: build the embedding with `sparse: false`"))
        } else {
            let kind = grad.kind();
            matches!(kind, Kind::ComplexFloat | Kind::ComplexDouble | Kind::ComplexHalf)
                .then(|| format!("`{name}` is of type {kind:?}: parameters have to be real numbers"))
        }
    });
    odd.map_or(error, Into::into)
}

/// Multiplies by `scale` and clips. Returns the global norm between the two if the clipping needs it.
///
/// With n = |scale| x sqrt(Σ g²) in f32, gradients become g x (scale x min(1, max / (n + 1e-6))), as
/// `torch.nn.utils.clip_grad_norm_` has it: one multiplication. Where the norm can be had at once (`synchronous`) there is none
/// if the factor is 1; elsewhere nobody waits for it.
pub(crate) fn clip(grads: &[&Tensor], scale: f64, clip: Clip, synchronous: bool) -> Fallible<Option<Tensor>> {
    match clip {
        Clip::Norm(limit) | Clip::Value(limit) if limit.is_nan() || limit <= 0.0 => {
            Err(format!("gradients cannot be clipped to {limit}: it must be more than 0").into())
        }
        Clip::None => multiply(grads, scale).map(|()| None),
        Clip::Value(limit) => {
            let _no_grad = tch::no_grad_guard();
            multiply(grads, scale)?;
            for grad in grads {
                let _ = grad.shallow_clone().f_clamp_(-limit, limit).map_err(short)?;
            }
            Ok(None)
        }
        Clip::Norm(max) => {
            let norm = zae_tch_sys::norm(grads)?;
            let norm = if scale == 1.0 { norm } else { norm.f_mul_scalar(scale.abs()).map_err(short)? };
            if max.is_infinite() {
                multiply(grads, scale)?;
            } else if synchronous {
                let value = norm.f_double_value(&[]).map_err(short)? as f32;
                // `min` also turns a quotient that is no number into 1: a norm that is not finite leaves all as it is.
                let coefficient = (max as f32 / (value + 1e-6)).min(1.0);
                multiply(grads, scale * f64::from(coefficient))?;
            } else {
                let quotient = norm.f_add_scalar(1e-6).and_then(|norm| norm.f_reciprocal()?.f_mul_scalar(max));
                let factor = quotient.and_then(|factor| factor.f_clamp_max(1.0)?.f_mul_scalar(scale)).map_err(short)?;
                zae_tch_sys::scale_by_(grads, &factor)?;
            }
            Ok(Some(norm))
        }
    }
}

fn multiply(grads: &[&Tensor], factor: f64) -> Fallible {
    if factor != 1.0 {
        zae_tch_sys::scale_(grads, factor)?;
    }
    Ok(())
}
