"""One of two processes of a PyTorch loop: `ddp.py WORKLOAD STEPS THREADS RANK [PORT]`. Without a port it trains alone."""

import os
import sys

import torch
from torch import distributed
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from work import ADAMW, Turns, model_and_batches

RANKS = 2


def main(workload, steps, threads, rank, port=""):
    turns, steps, rank = Turns(int(threads)), int(steps), int(rank)
    net, batches = model_and_batches(workload)
    if port:
        distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS)
        net = DistributedDataParallel(net)
    optimizer = torch.optim.AdamW(net.parameters(), **ADAMW, fused=True)
    losses = 0.0
    for step in range(steps):
        x, y = batches[(step * RANKS + rank) % len(batches)]
        turns.step_starts()
        loss = F.cross_entropy(net(x), y)
        losses += loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    mean = torch.tensor(losses / steps, dtype=torch.float64)
    if port:
        distributed.all_reduce(mean)
        mean /= RANKS
    turns.finish(mean.item())
    # Who takes a group apart while the other one has gone fails now and then, and nothing is measured any more.
    sys.stdout.flush()
    os._exit(0)


main(*sys.argv[1:])
