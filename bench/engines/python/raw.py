"""A hand-written PyTorch loop: `raw.py WORKLOAD STEPS THREADS [fused]`."""

import sys

import torch
from torch.nn import functional as F
from work import ADAMW, Turns, model_and_batches


def main(workload, steps, threads, fused=""):
    turns, steps = Turns(int(threads)), int(steps)
    net, batches = model_and_batches(workload)
    # `None` is PyTorch's default, which on the CPU is a loop over the parameters.
    optimizer = torch.optim.AdamW(net.parameters(), **ADAMW, fused=fused == "fused" or None)
    losses = 0.0
    for step in range(steps):
        x, y = batches[step % len(batches)]
        turns.step_starts()
        loss = F.cross_entropy(net(x), y)
        losses += loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    turns.finish(losses / steps)


main(*sys.argv[1:])
