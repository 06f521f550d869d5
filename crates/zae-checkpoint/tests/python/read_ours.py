"""PyTorch reads a file that zae-checkpoint wrote: read_ours.py FILE."""

import math
import sys
import zipfile

import torch
from torch.utils.serialization import config

from compare import check, raw

path = sys.argv[1]
assert zipfile.ZipFile(path).testzip() is None

whole = torch.load(path, weights_only=True)
mapped = torch.load(path, weights_only=True, mmap=True)
# PyTorch may compute where the tensors are from how its own writer places them.
config.load.calculate_storage_offsets = True
computed = torch.load(path, weights_only=True, mmap=True)
for found in (whole, mapped, computed):
    check(found, {"transposed": (1, 3), "column": (4,)})
    views = [found["tensors"][name].untyped_storage().data_ptr() for name in ("matrix", "column", "row")]
    assert len(set(views)) == 1, "views of one storage share it"

plain = whole["plain"]
assert math.isnan(plain.pop("nan"))
assert plain == {
    "none": None,
    "true": True,
    "false": False,
    "byte": 255,
    "negative": -5,
    "long": 1 << 40,
    "least": -(1 << 63),
    "u64": (1 << 64) - 1,
    "float": 0.1 + 0.2,
    "infinity": -math.inf,
    "text": "naïve ✓",
    "bytes": bytes(range(256)),
    "list": [1, [], [2.0, "two"]],
    "tuple": (1, (), ("one",)),
    "empty": {},
    3: "an integer as key",
}, plain

# What PyTorch saves of it again is the same to it (who writes empty bytes as what `weights_only` refuses to read).
torch.save(whole, path + ".again")
for name, tensor in torch.load(path + ".again", weights_only=False)["tensors"].items():
    assert raw(tensor) == whole["bytes"][name]
