"""PyTorch writes what it writes: write_theirs.py FOLDER."""

import collections
import io
import sys
import zipfile
from pathlib import Path

import torch

from compare import described

folder = Path(sys.argv[1])
DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool".split()
torch.manual_seed(1)

tensors = {}
for name in DTYPES:
    pattern = torch.arange(1, 49, dtype=torch.uint8) % (2 if name == "bool" else 251)
    tensors[name] = pattern.view(getattr(torch, name)).clone()

base = torch.randn(6, 8)
tensors |= {
    "base": base,
    "transposed": base.t(),
    "slice": base[1:5:2, 3:],
    "row": base[4],
    "permuted": torch.randn(2, 3, 4).permute(2, 0, 1),
    "channels last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
    "expanded": torch.randn(3, 1).expand(3, 5),
    "number": torch.tensor(1.5, dtype=torch.bfloat16),
    "one": torch.randn(1, 1, 1),
    "empty": torch.zeros(0),
    "empty matrix": torch.zeros(3, 0, 2),
    "parameter": torch.nn.Parameter(torch.randn(3)),
    "requires grad": torch.randn(2, requires_grad=True),
}
attributed = torch.randn(4)
attributed.note = "a tensor with an attribute"
tensors["attributed"] = attributed

for protocol in (2, 3, 4, 5):
    torch.save(described(tensors), folder / f"tensors-{protocol}.pt", pickle_protocol=protocol)
    containers = {
        "none": None,
        "bools": [True, False],
        "ints": [0, 255, 256, 65536, -1, 2**31, -(2**31) - 1, 2**63 - 1, -(2**63), 2**64 - 1],
        "beyond": 2**80,
        "floats": [0.1 + 0.2, float("-inf")],
        "text": "naïve ✓",
        "long text": "x" * 300,
        "bytes": bytes(range(256)),
        "no bytes": b"",
        "bytearray": bytearray(b"abc"),
        "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "ordered": collections.OrderedDict(b=1, a=2),
        "default": collections.defaultdict(list, {"x": [1]}),
        "set": {7},
        "frozen": frozenset([7]),
        "size": torch.Size([2, 3]),
        "device": torch.device("cpu"),
        "cuda": torch.device("cuda:1"),
        "dtype": torch.bfloat16,
        "class": collections.Counter,
        "path": Path("a/b"),
        "complex": 1 + 2j,
        "complex tensor": torch.zeros(2, dtype=torch.complex64),
        "negated": torch.zeros(2, dtype=torch.complex64).conj().imag,
        "float8": torch.zeros(2).to(torch.float8_e4m3fn),
        "shared": [containers := [1, 2], containers],
        7: "an integer as key",
    }
    torch.save(containers, folder / f"containers-{protocol}.pt", pickle_protocol=protocol)

net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
net.note = "bias and weight tied"
net[2].extra = net[0].weight
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
net(torch.randn(5, 3)).sum().backward()
optimizer.step()
torch.save(net.state_dict(), folder / "state_dict.pt")
torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, folder / "training.pt")
torch.save(described(dict(net.state_dict())), folder / "tensors-net.pt")

torch.save(net, folder / "refused-module.pt")
torch.save(net.state_dict(), folder / "refused-legacy.pt", _use_new_zipfile_serialization=False)
torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), folder / "refused-script.pt")


def repacked(name, compression=zipfile.ZIP_STORED, change=lambda name, data: data):
    with zipfile.ZipFile(folder / "state_dict.pt") as old, zipfile.ZipFile(folder / name, "w", compression) as new:
        for entry in old.namelist():
            new.writestr(entry, change(entry, old.read(entry)))


repacked("repacked.pt")
repacked("refused-deflated.pt", zipfile.ZIP_DEFLATED)
repacked("refused-big-endian.pt", change=lambda name, data: b"big" if name.endswith("byteorder") else data)
