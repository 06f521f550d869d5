"""A Lightning trainer without add-ons: `with_lightning.py WORKLOAD STEPS THREADS [barebones]`."""

import sys

import lightning
import torch
from torch.nn import functional as F
from work import ADAMW, Turns, model_and_batches

# What a trainer without add-ons leaves out; the rest are Lightning's defaults.
PLAIN = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)


class Module(lightning.LightningModule):
    def __init__(self, net, turns):
        super().__init__()
        self.net = net
        self.turns = turns
        self.losses = 0.0

    def training_step(self, batch, _):
        x, y = batch
        self.turns.step_starts()
        loss = F.cross_entropy(self.net(x), y)
        self.losses += loss.item()
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), **ADAMW, fused=True)


class Loader:
    """Batches that are in memory, over and over."""

    def __init__(self, batches, steps):
        self.batches, self.steps = batches, steps

    def __len__(self):
        return self.steps

    def __iter__(self):
        return (self.batches[step % len(self.batches)] for step in range(self.steps))


def main(workload, steps, threads, barebones=""):
    turns, steps = Turns(int(threads), f"Lightning {lightning.__version__}"), int(steps)
    net, batches = model_and_batches(workload)
    module = Module(net, turns)
    options = dict(barebones=True) if barebones == "barebones" else PLAIN
    trainer = lightning.Trainer(accelerator="cpu", devices=1, max_epochs=1, **options)
    trainer.fit(module, Loader(batches, steps))
    turns.finish(module.losses / steps)


main(*sys.argv[1:])
