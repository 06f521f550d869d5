//! A batch norm over ranks, against LibTorch's own over all their samples at once.
#![allow(clippy::unwrap_used)]

mod ranks;

use std::time::Instant;

use ranks::{TIMEOUT, all};
use tch::{Device, Kind, Tensor};
use zae_tch_sys::BatchNormLane;

const EPS: f64 = 1e-5;
const CHANNELS: i64 = 3;

/// The same at each call, around another number for each channel.
fn numbers(sizes: &[i64], salt: i64) -> Tensor {
    let count: i64 = sizes.iter().product();
    let all = (Tensor::arange(count, (Kind::Double, Device::Cpu)) * (7.3 + salt as f64)).sin();
    let shift = Tensor::from_slice(&[10.0, -3.0, 0.0]);
    let mut shape = vec![1; sizes.len()];
    shape[1] = CHANNELS;
    (all.reshape(sizes) + shift.reshape(shape.as_slice())).to_kind(Kind::Float)
}

fn weights() -> [Tensor; 2] {
    [[0.5f32, 2.0, -1.0], [0.1, 0.2, 0.3]].map(|numbers| Tensor::from_slice(&numbers).set_requires_grad(true))
}

/// A loss that no constant is missing from.
fn loss(y: &Tensor, target: &Tensor) -> Tensor {
    (y * target).sum(y.kind()) + y.pow_tensor_scalar(3).sum(y.kind())
}

fn close(found: &Tensor, expected: &Tensor, what: &str) {
    let apart = (found.to_kind(Kind::Double) - expected.to_kind(Kind::Double)).abs().max().double_value(&[]);
    let most = expected.abs().max().double_value(&[]);
    assert!(apart <= 1e-4 * most.max(1.0), "{what}: {apart} of {most}");
}

/// The samples of each rank, from all.
fn part(all: &Tensor, counts: &[i64], rank: usize) -> Tensor {
    all.narrow(0, counts[..rank].iter().sum(), counts[rank])
}

#[test]
fn any_parts_of_a_batch_are_normalised_as_the_whole() {
    for (counts, rest) in
        [(&[4, 4][..], &[5, 2][..]), (&[1, 6], &[]), (&[3, 1, 2], &[4]), (&[2; 5], &[2, 2, 2]), (&[3], &[2])]
    {
        let sizes = [&[counts.iter().sum(), CHANNELS], rest].concat();
        let (x, target) = (numbers(&sizes, 0), numbers(&sizes, 1));
        // In twice as many digits.
        let double = |tensor: &Tensor| tensor.detach().to_kind(Kind::Double).set_requires_grad(true);
        let whole = double(&x);
        let [weight, bias] = weights().map(|tensor| double(&tensor));
        let [mean, var] = [
            Tensor::zeros([CHANNELS], (Kind::Double, Device::Cpu)),
            Tensor::ones([CHANNELS], (Kind::Double, Device::Cpu)),
        ];
        // With a momentum of 1 the running statistics are those of the batch.
        let y = whole.batch_norm(Some(&weight), Some(&bias), Some(&mean), Some(&var), true, 1.0, EPS, false);
        loss(&y, &target).backward();
        let expected =
            [&y, &whole.grad(), &weight.grad(), &bias.grad(), &mean, &var].map(|tensor| tensor.detach().copy());
        let found = all(counts.len(), |rank, gloo| {
            let lane = BatchNormLane::new(gloo).unwrap();
            let x = part(&numbers(&sizes, 0), counts, rank).copy().set_requires_grad(true);
            let [weight, bias] = weights();
            let normed = lane.batch_norm(&x, &weight, &bias, EPS).unwrap();
            loss(&normed.y, &part(&numbers(&sizes, 1), counts, rank)).backward();
            [normed.y.detach(), x.grad(), weight.grad(), bias.grad(), normed.mean, normed.unbiased_var]
        });
        let sums = |i: usize| {
            found
                .iter()
                .map(|rank| &rank[i])
                .fold(Tensor::zeros([CHANNELS], (Kind::Float, Device::Cpu)), |sum, own| sum + own)
        };
        for (rank, own) in found.iter().enumerate() {
            close(&own[0], &part(&expected[0], counts, rank), "y");
            close(&own[1], &part(&expected[1], counts, rank), "the gradient of x");
            close(&own[4], &expected[4], "the mean");
            close(&own[5], &expected[5], "the variance");
        }
        close(&sums(2), &expected[2], "the gradient of the weight");
        close(&sums(3), &expected[3], "the gradient of the bias");
    }
}

#[test]
fn a_large_mean_costs_no_digits_of_the_variance() {
    // So many channels that Gloo gathers them in another way.
    let wide = |tensor: &Tensor| tensor.repeat([100]);
    let of = |rank: usize| (numbers(&[50, CHANNELS], rank as i64) + 3000.0 * (rank as f64 + 1.0)).repeat([1, 100]);
    let expected = Tensor::cat(&[of(0), of(1)], 0).to_kind(Kind::Double).var_dim(0, true, false);
    let found = all(2, |rank, gloo| {
        let lane = BatchNormLane::new(gloo).unwrap();
        let [weight, bias] = weights();
        lane.batch_norm(&of(rank), &wide(&weight), &wide(&bias), EPS).unwrap().unbiased_var
    });
    for own in found {
        let apart = (own.to_kind(Kind::Double) / &expected - 1.0).abs().max().double_value(&[]);
        assert!(apart < 1e-5, "{apart}");
    }
}

#[test]
fn half_precision_comes_out_as_it_came_in() {
    let found = all(2, |rank, gloo| {
        let lane = BatchNormLane::new(gloo).unwrap();
        let x = numbers(&[4, CHANNELS, 2], rank as i64).to_kind(Kind::BFloat16).set_requires_grad(true);
        let [weight, bias] = weights();
        let normed = lane.batch_norm(&x, &weight, &bias, EPS).unwrap();
        normed.y.to_kind(Kind::Float).square().sum(Kind::Float).backward();
        (normed.y.kind(), x.grad().kind(), normed.mean.kind(), weight.grad().kind())
    });
    assert_eq!(found, [(Kind::BFloat16, Kind::BFloat16, Kind::Float, Kind::Float); 2]);
}

#[test]
fn who_leaves_is_not_waited_for() {
    let errors = all(3, |rank, gloo| {
        let lane = BatchNormLane::new(gloo).unwrap();
        let [weight, bias] = weights();
        let x = numbers(&[2, CHANNELS], 0);
        let normed = lane.batch_norm(&x, &weight, &bias, EPS).unwrap();
        if rank == 2 {
            lane.close();
        }
        let since = Instant::now();
        let (forward, backward) = if rank == 0 {
            (None, normed.y.sum(Kind::Float).f_backward().err().map(|e| e.to_string()))
        } else {
            (lane.batch_norm(&x, &weight, &bias, EPS).err().map(|e| e.to_string()), None)
        };
        assert!(since.elapsed() < TIMEOUT / 2 && lane.check().is_err());
        let after = lane.batch_norm(&x, &weight, &bias, EPS).unwrap_err().to_string();
        assert_eq!(after, "another rank has left the micro-batch that this one computes");
        forward.or(backward)
    });
    assert!(errors.iter().all(Option::is_some), "{errors:?}");
}

#[test]
fn what_does_not_fit_is_an_error_before_anything_is_sent() {
    all(2, |_, gloo| {
        let lane = BatchNormLane::new(gloo).unwrap();
        let [weight, bias] = weights();
        let error = |x: &Tensor| lane.batch_norm(x, &weight, &bias, EPS).unwrap_err().to_string();
        assert!(error(&numbers(&[2, CHANNELS], 0).transpose(0, 1)).contains("the batch norm has weights Float [3]"));
        assert!(error(&Tensor::zeros([CHANNELS], (Kind::Float, Device::Cpu))).contains("samples, channels"));
        assert!(error(&Tensor::zeros([0, CHANNELS], (Kind::Float, Device::Cpu))).contains("not an empty one"));
        assert!(error(&Tensor::zeros([2, CHANNELS], (Kind::Int64, Device::Cpu))).contains("floating-point"));
        assert!(error(&Tensor::new()).contains("samples, channels"));
        assert!(lane.check().is_ok());
    });
}
