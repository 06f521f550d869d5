//! Copies in the memory of the host.
#![allow(clippy::unwrap_used)]

use tch::{Device, Kind, Tensor};
use zae_tch_sys::HostTensor;

const KINDS: [Kind; 6] = [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16, Kind::Int64, Kind::Uint8];

/// Row-major, as `tch` copies it.
fn bytes(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

#[test]
fn a_copy_has_the_bytes_of_any_tensor_row_major() {
    for kind in KINDS {
        let tensor = Tensor::arange(24, (Kind::Float, Device::Cpu)).reshape([2, 3, 4]).to_kind(kind);
        for tensor in [tensor.transpose(0, 2), tensor.select(1, 1), tensor.reshape([-1]).get(3), tensor] {
            for pinned in [false, true] {
                let mut copy = HostTensor::like(&tensor, pinned).unwrap();
                copy.copy_(&tensor).unwrap();
                assert_eq!(copy.as_ref(), bytes(&tensor), "{tensor:?}");
            }
        }
    }
    let nothing = Tensor::zeros([0, 3], (Kind::Float, Device::Cpu));
    let mut copy = HostTensor::like(&nothing, true).unwrap();
    copy.copy_(&nothing).unwrap();
    assert!(copy.as_ref().is_empty());
}

#[test]
fn a_copy_is_no_part_of_a_graph_and_can_be_read_on_any_thread() {
    let weights = Tensor::ones([4], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let mut copy = HostTensor::like(&weights, false).unwrap();
    copy.copy_(&weights).unwrap();
    let _ = weights.detach().fill_(2.0);
    let read = || copy.as_ref().to_vec();
    let read = std::thread::scope(|scope| [scope.spawn(read), scope.spawn(read)].map(|thread| thread.join().unwrap()));
    assert_eq!(read, [0, 1].map(|_| bytes(&Tensor::ones([4], (Kind::Float, Device::Cpu)))));
    copy.copy_(&weights).unwrap();
    assert_eq!(copy.as_ref(), bytes(&weights));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let ones = Tensor::ones([2, 2], (Kind::Float, Device::Cpu));
    let mut copy = HostTensor::like(&ones, false).unwrap();
    copy.copy_(&ones).unwrap();
    // Each could be spread or converted.
    for other in [ones.select(0, 0) * 3.0, ones.to_kind(Kind::Double) * 3.0] {
        assert!(!copy.fits(&other));
        assert!(copy.copy_(&other).unwrap_err().to_string().contains("does not fit"));
    }
    assert_eq!(copy.as_ref(), bytes(&ones));
    assert!(HostTensor::like(&Tensor::new(), false).is_err());
}
