"""Unpacks from wheels what LibTorch is without Python: `unpack.py FOLDER cpu|cuda WHEEL..`."""

import re
import sys
import zipfile

folder, device, *wheels = sys.argv[1:]
# `torch.libs` is what the wheels for aarch64 bring along.
parts = r"torch/include/|torch/lib/(?!libtorch_python|libshm)|torch\.libs/"
if device == "cuda":
    wanted = re.compile(parts + r"|nvidia/[^/]+/lib/.*\.so")
else:
    wanted = re.compile(parts.replace("libshm", "libshm|libtorch_cuda|libtorch_nvshmem|libc10_cuda|libcaffe2_nvrtc")
                        + r"|nvidia/cu13/lib/lib(cudart|cupti)\.so")
for wheel in wheels:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, filter(wanted.match, archive.namelist()))
