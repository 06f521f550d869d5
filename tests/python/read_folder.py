"""Python reads the weights in a checkpoint's folder, by the layout beside them: read_folder.py CASE FOLDER."""

import json
import sys
from pathlib import Path

import safetensors.torch
import torch
from net import Net, agree

case, folder = sys.argv[1], Path(sys.argv[2])
case = torch.load(case, weights_only=True)
found = safetensors.torch.load_file(folder / "model.safetensors")
layout = json.loads((folder / "trainer.json").read_text())["layout"]["tensors"]
assert found.keys() == {tensor["name"] for tensor in layout}
state_dict = {}
for tensor in layout:
    own = found[tensor["name"]]
    state_dict[tensor["torch"]] = own.T if tensor["transposed"] else own
net = Net()
net.load_state_dict(state_dict, strict=True)
image, words, _ = case["batches"][0]
print("logits", agree("logits", net.eval()(image, words), case["logits"], 1e-5))
