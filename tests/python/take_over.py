"""PyTorch takes over runs: take_over.py ENGINE FOLDER..."""

import sys
from pathlib import Path

import torch
from net import Net, agree

LOGITS = 1e-5
# Of the largest step that a number of the same tensor makes. A weight of 1 that moves by 1e-4 is rounded to 1e-3 of that:
# each step may set it off by one unit in its last place besides.
STEP = 5e-4
# Burn takes the variance over n values, PyTorch over n - 1: the second layer sees 96 in each batch.
VARIANCE = {"burn": 2e-2, "libtorch": STEP}


def take_over(engine, folder):
    case = torch.load(folder / "case.pt", weights_only=True)
    file = torch.load(folder / "run.ckpt", weights_only=True)
    assert file["zae"]["engine"] == engine
    net = Net()
    net.load_state_dict(file["state_dict"], strict=True)
    image, words, _ = case["batches"][0]
    yield "logits", agree("logits", net.eval()(image, words), case["logits"], LOGITS)

    net.embedding.requires_grad_(not case["frozen"])
    groups = [{"params": [*net.parameters()]}]
    if case["groups"]:
        special = [[*net.embedding.parameters()], [*net.head.parameters()]]
        taken = {id(parameter) for group in special for parameter in group}
        rest = [parameter for parameter in net.parameters() if id(parameter) not in taken]
        groups = [{"params": group} for group in (rest, *special)]
    # The hyperparameters are the file's: these are wrong on purpose.
    optimizer = getattr(torch.optim, case["class"])(groups, lr=123.0, weight_decay=0.5)
    optimizer.load_state_dict(file["optimizer_states"][0])
    assert [group["lr"] for group in optimizer.param_groups] == file["lr_schedulers"][0]["_last_lr"]

    for i, (image, words, labels) in enumerate(case["batches"]):
        before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        net.train()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(image, words), labels).backward()
        optimizer.step()
        state_dict = net.state_dict()
        for name, expected in torch.load(folder / f"next-{i}.pt", weights_only=True).items():
            if case["frozen"] and name == "embedding.weight":
                assert torch.equal(state_dict[name], before[name]) and torch.equal(expected, before[name])
                continue
            kind, tolerance = ("variance", VARIANCE[engine]) if name.endswith("running_var") else ("step", STEP)
            yield kind, agree((name, i), state_dict[name], expected, tolerance, expected - before[name], i + 1)
    names = {name for name in state_dict if not name.endswith("num_batches_tracked")}
    assert names == file["state_dict"].keys() == torch.load(folder / "next-0.pt", weights_only=True).keys()


engine, *folders = sys.argv[1:]
for folder in map(Path, folders):
    try:
        worst = {}
        for kind, error in take_over(engine, folder):
            worst[kind] = max(worst.get(kind, 0), error)
    except Exception as error:
        raise SystemExit(f"{folder.name}: {error!r}")
    print(folder.name, {kind: f"{error:.1e}" for kind, error in worst.items()})
