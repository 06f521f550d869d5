"""Tensors as bytes, so that either side can compare them without knowing the other's types."""

import torch


def raw(tensor):
    """The elements, row-major, little-endian."""
    own = tensor.detach().clone(memory_format=torch.contiguous_format)
    return bytes(own.untyped_storage().tolist())


def described(tensors):
    """A dictionary that holds tensors and what is to be read of them."""
    return {
        "tensors": tensors,
        "bytes": {name: raw(tensor) for name, tensor in tensors.items()},
        "dtypes": {name: str(tensor.dtype) for name, tensor in tensors.items()},
        "shapes": {name: tuple(tensor.shape) for name, tensor in tensors.items()},
    }


def check(found, strides=None):
    """Whether the tensors are what is said of them beside them."""
    assert found["tensors"].keys() == found["bytes"].keys()
    for name, tensor in found["tensors"].items():
        assert raw(tensor) == found["bytes"][name], name
        assert str(tensor.dtype) == found["dtypes"][name], (name, tensor.dtype)
        assert tuple(tensor.shape) == found["shapes"][name], (name, tensor.shape)
    for name, stride in (strides or {}).items():
        assert found["tensors"][name].stride() == stride, (name, found["tensors"][name].stride())
