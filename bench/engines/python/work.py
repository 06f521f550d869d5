"""What the loops share: models, weights and data, as `workload.rs` has them, and running by turns, as `turns.rs` has it."""

import math
import os
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

WEIGHTS_SEED = 42
DATA_SEED = 43
BATCHES = 16
ADAMW = dict(lr=1e-5, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)

# Answers alone go to the bench; what libraries print goes where their warnings go.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 512)
        self.fc2 = nn.Linear(512, 256)
        self.fc3 = nn.Linear(256, 10)

    def forward(self, x):
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.fc1 = nn.Linear(64 * 12 * 12, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(torch.flatten(x, 1))))


WORKLOADS = {"mlp8": (Mlp, [8, 784]), "cnn64": (Cnn, [64, 1, 28, 28]), "cnn32": (Cnn, [32, 1, 28, 28])}


def draw_weights(net):
    """PyTorch's own distributions, in an order that Rust can repeat."""
    torch.manual_seed(WEIGHTS_SEED)
    with torch.no_grad():
        for layer in net.children():
            bound = 1 / math.sqrt(layer.weight[0].numel())
            layer.weight.uniform_(-bound, bound)
            layer.bias.uniform_(-bound, bound)


def model_and_batches(workload):
    make, shape = WORKLOADS[workload]
    net = make()
    draw_weights(net)
    torch.manual_seed(DATA_SEED)
    batches = [(torch.randn(shape), torch.randint(10, [shape[0]])) for _ in range(BATCHES)]
    return net, batches


class Turns:
    """Stops a loop at the start of a step until it is told to make some more."""

    def __init__(self, threads, versions=f"PyTorch {torch.__version__}"):
        torch.set_num_threads(threads)
        self.versions = versions
        self.ready = False
        self.steps = self.left = 0

    def answer(self, *words):
        print(*words, file=answers, flush=True)

    def next_lap(self):
        """The number of its steps; None when no more are wanted."""
        if not self.ready:
            self.answer("ready", torch.get_num_threads(), self.versions)
            self.ready = True
        line = sys.stdin.readline()
        return int(line) if line else None

    def step_starts(self):
        if self.left == 0:
            if self.ready:
                wall, cpu = time.perf_counter() - self.since[0], time.process_time() - self.since[1]
                self.answer(wall * 1e6 / self.steps, cpu * 1e6 / self.steps)
            # None: the last step; or the bench is gone, and answering fails.
            self.steps = self.left = self.next_lap() or 1
            self.since = (time.perf_counter(), time.process_time())
        self.left -= 1

    def finish(self, mean_loss):
        status = open("/proc/self/status").read() if os.path.exists("/proc/self/status") else ""
        peak = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
        self.answer(repr(mean_loss), *peak)
