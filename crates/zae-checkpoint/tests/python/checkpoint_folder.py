"""Reads and writes checkpoint folders as docs/checkpoint-format.md says.

Usage: checkpoint_folder.py OURS THEIRS
Reads the folder OURS, prints what it found as JSON, and writes the folder THEIRS with the same run and other weights.
"""

import json
import pathlib
import sys

import numpy as np
import xxhash
from safetensors import safe_open
from safetensors.numpy import save_file


def check(condition, what):
    if not condition:
        sys.exit(f"not as documented: {what}")


def read_manifest(folder):
    data = (folder / "manifest.json").read_bytes()
    manifest = json.loads(data)
    check(manifest["format"] == 1, "the format's version")
    body = data[: data.rindex(b'"check"')]
    check(xxhash.xxh3_64_hexdigest(body) == manifest["check"], "the manifest's checksum")
    for file in manifest["files"]:
        content = (folder / file["name"]).read_bytes()
        check(len(content) == file["bytes"], f"the length of {file['name']}")
        check(xxhash.xxh3_64_hexdigest(content) == file["xxh3"], f"the checksum of {file['name']}")
    return manifest


def raw_tensors(path):
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        content = data[8 + length + start : 8 + length + end]
        tensors[name] = {"dtype": entry["dtype"], "shape": entry["shape"], "bytes": content.hex()}
    return tensors


def read_part(path):
    found = raw_tensors(path)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        check(list(metadata) == ["zae"], "one key of metadata")
        zae = json.loads(metadata["zae"])
        check(zae["format"] == 1, f"the format's version in {path.name}")
        check(set(file.keys()) == set(found), f"the names in {path.name}")
        for name, entry in found.items():
            # NumPy has no bfloat16.
            if entry["dtype"] != "BF16":
                tensor = file.get_tensor(name)
                check(list(tensor.shape) == entry["shape"], f"the shape of {name}")
                check(tensor.tobytes().hex() == entry["bytes"], f"the bytes of {name}")
    return {"numbers": zae["numbers"], "tensors": found}


def write_manifest(folder, manifest):
    manifest = {key: value for key, value in manifest.items() if key != "check"}
    manifest["engine"] = "numpy"
    manifest["made with"] = ["numpy", {"version": np.__version__}]
    manifest["files"] = [
        {"name": path.name, "bytes": path.stat().st_size, "xxh3": xxhash.xxh3_64_hexdigest(path.read_bytes())}
        for path in sorted(folder.iterdir())
    ]
    body = json.dumps(manifest)[:-1] + ", "
    text = f'{body}"check": "{xxhash.xxh3_64_hexdigest(body.encode())}"\n}}\n'
    (folder / "manifest.json").write_text(text)


def main():
    ours, theirs = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    manifest = read_manifest(ours)
    trainer = json.loads((ours / "trainer.json").read_text())
    check(trainer["format"] == 1, "the format's version in trainer.json")
    check(trainer["run"]["progress"]["step"] == manifest["step"], "the step")
    parts = {
        file["name"].removesuffix(".safetensors"): read_part(ours / file["name"])
        for file in manifest["files"]
        if file["name"].endswith(".safetensors")
    }
    json.dump({"parts": parts, "metrics": manifest["metrics"]}, sys.stdout)

    theirs.mkdir()
    weights = {
        "b": np.arange(6, dtype=np.float64).reshape(2, 3) / 7,
        "a": np.array([True, False]),
        "h": np.array([1.5, -0.0], dtype=np.float16),
        "e": np.zeros((0, 4), dtype=np.int8),
    }
    save_file(weights, theirs / "model.safetensors", metadata={"made with": "numpy"})
    numbers = {"format": 1, "numbers": {"b/time": {"UInt": 2**64 - 1}, "b/beta": {"Float": 0.1}}}
    moments = {"b/moment": np.array([2**63, 1], dtype=np.uint64)}
    save_file(moments, theirs / "optimizer.safetensors", metadata={"zae": json.dumps(numbers)})
    (theirs / "trainer.json").write_bytes((ours / "trainer.json").read_bytes())
    write_manifest(theirs, manifest)


main()
