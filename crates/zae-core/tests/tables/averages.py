"""Writes averages.csv: what PyTorch makes of known weights. `python averages.py > averages.csv`; needs torch.

Columns: the weight after each step (the same number everywhere in the model), then its average by
`torch.optim.swa_utils.AveragedModel`: as it is (equal, SWA), and with `get_ema_multi_avg_fn` of two decays.
"""

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

torch.manual_seed(1)
model = torch.nn.Linear(1, 1, bias=False)
averages = [
    AveragedModel(model),
    AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9)),
    AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.4)),
]
print(f"# torch {torch.__version__}")
print("weight,equal,ema_0.9,ema_0.4")
with torch.no_grad():
    for step in range(24):
        model.weight.fill_(torch.randn(()).item() * 10.0 ** (step % 5 - 2))
        for average in averages:
            average.update_parameters(model)
        numbers = [model.weight, *(average.module.weight for average in averages)]
        print(",".join(repr(number.item()) for number in numbers))
