"""PyTorch and Lightning take over a run of the reference engine: continue_run.py CKPT CASE."""

import sys

import lightning
import torch

ckpt, case = sys.argv[1:]
case = torch.load(case, weights_only=True)
inputs, labels = case["inputs"], case["labels"]


class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        features, hidden, classes = case["sizes"]
        self.fc1 = torch.nn.Linear(features, hidden)
        self.fc2 = torch.nn.Linear(hidden, classes)
        self.norm = torch.nn.BatchNorm1d(hidden) if case["norm"] else torch.nn.Identity()

    def forward(self, x):
        return self.fc2(torch.relu(self.norm(self.fc1(x))))


net = Net.load_from_checkpoint(ckpt)
net.eval()
loss = torch.nn.functional.cross_entropy(net(inputs), labels).item()
assert abs(loss - case["loss"]) < 1e-5, (loss, case["loss"])

file = torch.load(ckpt, weights_only=True)
plain = Net()
plain.load_state_dict(file["state_dict"], strict=True)
for own, other in zip(net.state_dict().values(), plain.state_dict().values()):
    assert torch.equal(own, other)
assert file["global_step"] == case["steps"]

if case["next"]:
    plain.train()
    # The hyperparameters are the file's: these are wrong on purpose.
    optimizer = torch.optim.AdamW(plain.parameters(), lr=123.0, betas=(0.5, 0.5), eps=1.0, weight_decay=0.5)
    optimizer.load_state_dict(file["optimizer_states"][0])
    assert optimizer.param_groups[0]["lr"] == file["lr_schedulers"][0]["_last_lr"][0]
    state = optimizer.state[plain.fc1.weight]
    assert state["step"].item() == case["steps"] and state["exp_avg"].shape == plain.fc1.weight.shape
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    torch.nn.functional.cross_entropy(plain(inputs), labels).backward()
    optimizer.step()
    for name, expected in case["next"].items():
        found = plain.state_dict()[name]
        difference = (found - expected).abs().max().item()
        moved = (found - before[name]).abs().max().item()
        assert moved > 1e-4, (name, "did not move", moved)
        assert difference <= 1e-6, (name, difference)
