//! Lazy scalars, brought to the host.

use tch::{Device, Kind, Tensor};
use zae_core::{error::Fallible, learner::Readout};

use crate::{device::is_synchronous, saved::short};

/// On the CPU each by itself; from elsewhere in one transfer.
pub(crate) fn read(lazy: &[Tensor], device: Device, out: &mut Readout) -> Fallible {
    let _no_grad = tch::no_grad_guard();
    if is_synchronous(device) {
        for scalar in lazy {
            if scalar.numel() == 1 && scalar.dim() == 0 {
                out.push(&[scalar.f_double_value(&[]).map_err(short)?]);
            } else {
                out.push(&numbers(scalar)?);
            }
        }
        return Ok(());
    }
    let flat = lazy.iter().map(|scalar| scalar.f_reshape([-1])?.f_to_kind(Kind::Double)?.f_to_device(device));
    let flat = flat.collect::<Result<Vec<_>, _>>().map_err(short)?;
    if flat.is_empty() {
        return Ok(());
    }
    let all = numbers(&Tensor::f_cat(&flat, 0).map_err(short)?)?;
    let mut rest = &*all;
    for scalar in lazy {
        let (own, others) = rest.split_at(scalar.numel().min(rest.len()));
        out.push(own);
        rest = others;
    }
    Ok(())
}

/// All numbers of a tensor.
fn numbers(tensor: &Tensor) -> Fallible<Vec<f64>> {
    let flat = tensor.f_reshape([-1]).and_then(|flat| flat.f_to_kind(Kind::Double)).map_err(short)?;
    Vec::try_from(flat).map_err(short)
}
