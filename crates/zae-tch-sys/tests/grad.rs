//! Gradients at their parameters, and the memory of tensors.
#![allow(clippy::unwrap_used)]

mod common;

use common::{refs, values};
use tch::{Kind, Tensor};
use zae_tch_sys::{clear_grads, grads, set_grad, short_errors, with_f32s};

fn leaf(numbers: &[f32]) -> Tensor {
    Tensor::from_slice(numbers).set_requires_grad(true)
}

#[test]
fn gradients_are_those_of_the_backward_pass_and_shared_with_the_parameter() {
    let params = [leaf(&[1.0, 2.0]), leaf(&[5.0])];
    params[0].square().sum(Kind::Float).backward();
    let mut found = grads(&refs(&params)).unwrap();
    assert!(found[1].is_none());
    let first = found[0].as_mut().unwrap();
    assert_eq!(values(first), [2.0, 4.0]);
    let _ = first.fill_(7.0);
    assert_eq!(values(&params[0].grad()), [7.0, 7.0]);
}

#[test]
fn a_gradient_that_was_taken_is_not_there() {
    let params = [leaf(&[1.0]), leaf(&[5.0])];
    params[0].square().sum(Kind::Float).backward();
    clear_grads(&refs(&params)).unwrap();
    assert!(grads(&refs(&params)).unwrap().iter().all(Option::is_none));
    set_grad(&params[1], &Tensor::from_slice(&[3.0f32])).unwrap();
    assert_eq!(values(&params[1].grad()), [3.0]);
}

#[test]
fn a_gradient_that_does_not_fit_is_refused() {
    let param = leaf(&[1.0]);
    let wrong = [Tensor::from_slice(&[1.0f32, 2.0]), Tensor::from_slice(&[1.0f64])];
    for gradient in wrong {
        assert!(set_grad(&param, &gradient).unwrap_err().to_string().contains("the gradient is"), "{gradient:?}");
    }
    let computed = &param * 2.0;
    assert!(set_grad(&computed, &Tensor::from_slice(&[1.0f32])).unwrap_err().to_string().contains("leaf"));
    assert!(grads(&[&param]).unwrap()[0].is_none());
}

#[test]
fn memory_is_lent_only_where_it_is_that_of_plain_numbers() {
    let mut tensor = Tensor::from_slice2(&[[1.0f32, 2.0], [3.0, 4.0]]);
    let same = tensor.shallow_clone();
    // SAFETY: nobody looks at `same` meanwhile.
    #[allow(unsafe_code)]
    let lent = unsafe { with_f32s(&mut tensor, |numbers| numbers[1] = 9.0) };
    assert!(lent.is_ok());
    assert_eq!(values(&same), [1.0, 9.0, 3.0, 4.0]);
    for mut other in [tensor.transpose(0, 1), tensor.to_kind(Kind::Double), Tensor::new()] {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        let refused = unsafe { with_f32s(&mut other, |_| ()) };
        assert!(refused.is_err());
    }
}

#[test]
fn errors_of_tch_are_short_if_asked_for() {
    short_errors();
    let error = Tensor::from_slice(&[1.0f32]).f_matmul(&Tensor::from_slice(&[1.0f32, 2.0])).unwrap_err().to_string();
    assert!(!error.contains("frame #") && !error.contains(".so"), "{error}");
}
