"""Steps of AdamW alone, as many as are asked for: `adamw.py WORKLOAD STEPS THREADS`."""

import sys
import time

import torch
from work import ADAMW, WEIGHTS_SEED, Turns

TENSORS, ELEMENTS = 200, 25_000


def main(threads):
    turns, steps = Turns(int(threads)), 0
    torch.manual_seed(WEIGHTS_SEED)
    params = [torch.nn.Parameter(torch.empty(ELEMENTS).uniform_(-1, 1)) for _ in range(TENSORS)]
    optimizer = torch.optim.AdamW(params, **ADAMW, fused=True)
    losses = 0.0
    while lap := turns.next_lap():
        steps += lap
        wall, cpu = 0.0, 0.0
        for _ in range(lap):
            loss = torch.stack([param.square().sum() for param in params]).sum()
            loss.backward()
            losses += loss.item()
            since = (time.perf_counter(), time.process_time())
            optimizer.step()
            optimizer.zero_grad()
            wall += time.perf_counter() - since[0]
            cpu += time.process_time() - since[1]
        turns.answer(wall * 1e6 / lap, cpu * 1e6 / lap)
    turns.finish(losses / steps)


main(sys.argv[3])
