"""Writes update_bn.csv: what `torch.optim.swa_utils.update_bn` makes of known data. `python update_bn.py > update_bn.csv`.

A row for each sample: its batch and its numbers. Then one row each with the mean and the variance that
a batch norm ends with, and that variance as Burn has it.
"""

import torch
from torch.optim.swa_utils import update_bn

torch.manual_seed(1)
features = 6
batches = [torch.randn(rows, features) * 3 + torch.arange(features) for rows in (5, 3, 4, 5, 2)]
norm = torch.nn.BatchNorm1d(features)
norm.running_mean.fill_(7.0)
update_bn(batches, norm)


def row(name, numbers):
    print(",".join([name, *(repr(number) for number in numbers.tolist())]))


print(f"# torch {torch.__version__}")
for index, batch in enumerate(batches):
    for sample in batch:
        row(str(index), sample)
row("mean", norm.running_mean)
row("var", norm.running_var)
# Burn keeps the variance of the batch itself, PyTorch the estimate for what it is drawn from.
row("biased", torch.stack([batch.var(0, unbiased=False) for batch in batches]).mean(0))
