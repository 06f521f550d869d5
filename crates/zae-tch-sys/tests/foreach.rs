//! Operations over many tensors against one at a time.
#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_near, refs, tensor, values};
use tch::{Device, Kind, Tensor};
use zae_tch_sys::{norm, scale_, scale_by_, unscale_};

fn some(kind: Kind) -> Vec<Tensor> {
    [&[30, 20][..], &[7], &[]].iter().enumerate().map(|(i, shape)| tensor(shape, i, kind)).collect()
}

#[test]
fn the_norm_is_that_of_all_numbers_together() {
    for (kind, tolerance) in [(Kind::Double, 1e-14), (Kind::Float, 1e-6), (Kind::Half, 1e-6), (Kind::BFloat16, 1e-6)] {
        let grads = some(kind);
        let found = norm(&refs(&grads)).unwrap();
        let expected = grads.iter().flat_map(values).map(|g| g * g).sum::<f64>().sqrt();
        assert_near(&values(&found), &[expected], tolerance);
        assert_eq!(found.size(), [0i64; 0]);
        assert_eq!(found.kind(), if kind == Kind::Double { Kind::Double } else { Kind::Float });
    }
}

/// In f16 its own square would be infinite.
#[test]
fn the_norm_of_half_precision_does_not_overflow() {
    let grads = [Tensor::full([4], 60_000.0, (Kind::Half, Device::Cpu))];
    assert_eq!(values(&norm(&refs(&grads)).unwrap()), [120_000.0]);
}

#[test]
fn the_norm_takes_kinds_together_and_shows_what_is_not_finite() {
    let mixed = [tensor(&[5], 0, Kind::Half), tensor(&[5], 1, Kind::Float)];
    let expected = mixed.iter().flat_map(values).map(|g| g * g).sum::<f64>().sqrt();
    assert_near(&values(&norm(&refs(&mixed)).unwrap()), &[expected], 1e-6);
    let infinite = [tensor(&[5], 0, Kind::Float), Tensor::from(f32::INFINITY)];
    assert_eq!(values(&norm(&refs(&infinite)).unwrap()), [f64::INFINITY]);
    let nan = [tensor(&[5], 0, Kind::Float), Tensor::from(f32::NAN)];
    assert!(values(&norm(&refs(&nan)).unwrap())[0].is_nan());
}

#[test]
fn the_norm_of_nothing_is_zero() {
    let found = norm(&[]).unwrap();
    assert_eq!((values(&found), found.kind()), (vec![0.0], Kind::Float));
}

#[test]
fn the_norm_keeps_no_graph() {
    let grads = [tensor(&[5], 0, Kind::Float).set_requires_grad(true)];
    assert!(!norm(&refs(&grads)).unwrap().requires_grad());
}

#[test]
fn scaling_is_multiplying_each_in_place() {
    let factor = 0.37f32;
    for kind in [Kind::Double, Kind::Float, Kind::Half] {
        let (by_number, by_tensor) = (some(kind), some(kind));
        let addresses: Vec<_> = by_number.iter().chain(&by_tensor).map(Tensor::data_ptr).collect();
        scale_(&refs(&by_number), f64::from(factor)).unwrap();
        scale_by_(&refs(&by_tensor), &Tensor::from(factor)).unwrap();
        // In half precision it depends on the kernel whether the factor is rounded first.
        let tolerance = if kind == Kind::Half { 1e-3 } else { 0.0 };
        for ((original, a), b) in some(kind).iter().zip(&by_number).zip(&by_tensor) {
            let expected = values(&(original * f64::from(factor)));
            assert_near(&values(a), &expected, tolerance);
            assert_near(&values(b), &expected, tolerance);
            assert_eq!((a.kind(), b.kind()), (kind, kind));
        }
        assert_eq!(by_number.iter().chain(&by_tensor).map(Tensor::data_ptr).collect::<Vec<_>>(), addresses);
    }
}

#[test]
fn scaling_nothing_is_no_error() {
    scale_(&[], 2.0).unwrap();
    scale_by_(&[], &Tensor::from(2.0f32)).unwrap();
    unscale_(&[], &Tensor::from(0.0f32), &Tensor::from(1.0f32)).unwrap();
}

#[test]
fn leaves_that_require_gradients_are_scaled() {
    let leaf = [tensor(&[5], 0, Kind::Float).set_requires_grad(true)];
    scale_(&refs(&leaf), 0.0).unwrap();
    assert_eq!(values(&leaf[0]), [0.0; 5]);
}

#[test]
fn unscaling_divides_and_finds_what_is_not_finite() {
    let (found_inf, inv_scale) = (Tensor::from(0.0f32), Tensor::from(0.25f32));
    let grads = some(Kind::Float);
    let expected: Vec<_> = grads.iter().map(|t| values(&(t * 0.25))).collect();
    unscale_(&refs(&grads), &found_inf, &inv_scale).unwrap();
    assert_eq!(grads.iter().map(values).collect::<Vec<_>>(), expected);
    assert_eq!(values(&found_inf), [0.0]);

    for bad in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        let found_inf = Tensor::from(0.0f32);
        let grads = some(Kind::Float);
        let _ = grads[0].get(29).get(19).fill_(bad);
        unscale_(&refs(&grads), &found_inf, &inv_scale).unwrap();
        assert_eq!(values(&found_inf), [1.0], "{bad}");
        // It is not unset by gradients that are fine.
        unscale_(&refs(&some(Kind::Float)), &found_inf, &inv_scale).unwrap();
        assert_eq!(values(&found_inf), [1.0]);
    }
}

#[test]
fn what_cpp_throws_comes_back_as_one_line() {
    let grads = [tensor(&[5], 0, Kind::Float), Tensor::new()];
    let one = Tensor::from(1.0f32);
    let errors = [
        norm(&refs(&grads)).unwrap_err(),
        norm(&[&tensor(&[2], 0, Kind::Int64)]).unwrap_err(),
        scale_(&refs(&grads), 2.0).unwrap_err(),
        scale_by_(&refs(&grads[..1]), &tensor(&[2], 0, Kind::Float)).unwrap_err(),
        scale_by_(&refs(&grads[..1]), &Tensor::new()).unwrap_err(),
        unscale_(&refs(&grads[..1]), &Tensor::new(), &one).unwrap_err(),
        unscale_(&refs(&grads[..1]), &one, &Tensor::from(1.0f64)).unwrap_err(),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(!text.is_empty() && !text.contains('\n') && !text.contains("Exception raised"), "{text}");
    }
    assert_eq!(norm(&refs(&grads)).unwrap_err().to_string(), "grads[1] is an undefined tensor");
}
