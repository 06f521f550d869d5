//! Lending tensors to visitors as `&mut [f32]`: on the CPU in their own memory, from elsewhere there and back.

use tch::{Kind, Tensor};
use zae_core::{
    engine::{ParamInfo, Visit},
    error::Fallible,
};

use crate::{
    saved::{shape, short},
    variables::Variable,
};

/// Lends every floating-point parameter and buffer.
pub(crate) fn parameters(variables: &[Variable], visit: Visit<'_>) -> Fallible {
    for variable in variables {
        let kind = variable.tensor.f_kind().map_err(short)?;
        if matches!(kind, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16) {
            lend(variable, &variable.tensor, visit)?;
        }
    }
    Ok(())
}

/// Lends the gradient of every trainable parameter. `grads` are those there are, by variable.
///
/// A parameter that took no part in the window has none. It is lent one of `-0.0`, the number that changes no sum, and
/// gets a gradient only if something else is in it afterwards.
pub(crate) fn gradients(variables: &[Variable], grads: &[(usize, Tensor)], visit: Visit<'_>) -> Fallible {
    let mut grads = grads.iter().peekable();
    for (i, variable) in variables.iter().enumerate() {
        if let Some((_, grad)) = grads.next_if(|(place, _)| *place == i) {
            lend(variable, grad, visit)?;
        } else if variable.trainable() {
            only_f32(variable, &variable.tensor)?;
            let mut values = vec![-0.0f32; variable.tensor.numel()];
            visit(&ParamInfo::new(&variable.name, &shape(&variable.tensor), true), &mut values)?;
            if values.iter().any(|value| value.to_bits() != (-0.0f32).to_bits()) {
                let mut grad = variable.tensor.f_detach().and_then(|param| param.f_zeros_like()).map_err(short)?;
                write(&mut grad, &values)?;
                zae_tch_sys::set_grad(&variable.tensor, &grad)?;
            }
        }
    }
    Ok(())
}

fn only_f32(variable: &Variable, tensor: &Tensor) -> Fallible {
    match tensor.f_kind().map_err(short)? {
        Kind::Float => Ok(()),
        kind => Err(format!("`{}` is of type {kind:?}: only f32 can be lent", variable.name).into()),
    }
}

/// Lends `tensor`, which is `variable` itself or its gradient.
fn lend(variable: &Variable, tensor: &Tensor, visit: Visit<'_>) -> Fallible {
    only_f32(variable, tensor)?;
    let shape = shape(tensor);
    let info = ParamInfo::new(&variable.name, &shape, variable.trainable());
    let mut tensor = tensor.f_detach().map_err(short)?;
    let mut use_ = |values: &mut [f32]| visit(&info, values);
    // SAFETY: the learner is borrowed for this visit, so no step, snapshot or evaluation uses the model meanwhile, and a
    // visitor is given nothing but these numbers.
    #[allow(unsafe_code)]
    let lent = unsafe { zae_tch_sys::with_f32s(&mut tensor, &mut use_) };
    let Err(use_) = lent else { return lent.unwrap_or(Ok(())) };
    let mut values = vec![0.0; tensor.numel()];
    if !values.is_empty() {
        tensor.f_copy_data(&mut values, tensor.numel()).map_err(short)?;
    }
    use_(&mut values)?;
    write(&mut tensor, &values)
}

fn write(tensor: &mut Tensor, values: &[f32]) -> Fallible {
    let _no_grad = tch::no_grad_guard();
    let values = Tensor::f_from_slice(values).and_then(|values| values.f_reshape(tensor.size())).map_err(short)?;
    tensor.f_copy_(&values).map_err(short)
}
