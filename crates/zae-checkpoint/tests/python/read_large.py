"""PyTorch reads a file beyond 4 GiB: read_large.py FILE."""

import sys
import zipfile

import torch

path = sys.argv[1]
assert zipfile.ZipFile(path).testzip() is None
found = torch.load(path, weights_only=True, mmap=True)
assert found["large"].shape == (found["len"],) and found["large"][-1] == 0
assert found["after"].tolist() == [1, 2, 3, 4]
