"""Writes `torch_rates.txt`: what the schedules of torch.optim.lr_scheduler give over 500 steps.

    python torch_rates.py > torch_rates.txt

Needs torch 2.13.0: the versions are those of `crates/zae-checkpoint/tests/python/requirements.txt`. Each schedule is a
block: its name, then its rates, every one in the shortest decimal that reads back as the same double, with the number of
steps in a row that have it.
"""

import itertools
import warnings

import torch
from torch.optim import lr_scheduler as S

STEPS = 500


def rates(make, lr=0.1, steps=STEPS, metric=None):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = make(optimizer)
    for step in range(steps):
        if metric is None:
            yield optimizer.param_groups[0]["lr"]
        optimizer.step()
        schedule.step(*(() if metric is None else (metric(step),)))
        if metric is not None:
            yield optimizer.param_groups[0]["lr"]


def loss(step):
    """Goes down and jumps about; only what every machine computes alike."""
    return 1 / (1 + step / 50) + step * 7919 % 101 / 1000


def show(name, values):
    print(f"\n{name}")
    for value, run in itertools.groupby(values):
        print(f"{float(value)!r} {len(list(run))}")


warnings.simplefilter("error")
print(f"# Made by torch_rates.py with torch {torch.__version__.split('+')[0]}.")

show("step", rates(lambda o: S.StepLR(o, 30, 0.7)))
show("multi_step", rates(lambda o: S.MultiStepLR(o, [30, 80, 80, 400], 0.3)))
show("exponential", rates(lambda o: S.ExponentialLR(o, 0.99)))
show("constant", rates(lambda o: S.ConstantLR(o, 0.25, 40)))
show("linear_default", rates(lambda o: S.LinearLR(o)))
show("linear_up", rates(lambda o: S.LinearLR(o, 1e-3, 1.0, 120)))
show("linear_down", rates(lambda o: S.LinearLR(o, 1.0, 0.0, STEPS)))
show("polynomial", rates(lambda o: S.PolynomialLR(o, STEPS, 1.0)))
show("polynomial_power", rates(lambda o: S.PolynomialLR(o, 300, 2.5)))
show("cosine", rates(lambda o: S.CosineAnnealingLR(o, STEPS)))
# Behind T_max, PyTorch's goes up again: there we differ.
show("cosine_min", rates(lambda o: S.CosineAnnealingLR(o, 200, 1e-3), steps=201))
show("restarts", rates(lambda o: S.CosineAnnealingWarmRestarts(o, 50)))
show("restarts_mult", rates(lambda o: S.CosineAnnealingWarmRestarts(o, 10, 3, 1e-3)))
show("one_cycle", rates(lambda o: S.OneCycleLR(o, 0.1, total_steps=STEPS)))
show(
    "one_cycle_linear",
    rates(lambda o: S.OneCycleLR(o, 0.1, total_steps=333, pct_start=0.25, anneal_strategy="linear", div_factor=10.0,
                                 final_div_factor=100.0), steps=333),
)
show("one_cycle_three_phase", rates(lambda o: S.OneCycleLR(o, 0.1, total_steps=STEPS, pct_start=0.41, three_phase=True)))
show("cyclic", rates(lambda o: S.CyclicLR(o, 1e-3, 0.1, 20, 33, cycle_momentum=False)))
show("cyclic_triangular2", rates(lambda o: S.CyclicLR(o, 1e-3, 0.1, 40, mode="triangular2", cycle_momentum=False)))
show(
    "cyclic_exp_range",
    rates(lambda o: S.CyclicLR(o, 1e-3, 0.1, 37, mode="exp_range", gamma=0.995, cycle_momentum=False)),
)
show("lambda", rates(lambda o: S.LambdaLR(o, lambda step: 1 / (1 + step / 10))))
show("multiplicative", rates(lambda o: S.MultiplicativeLR(o, lambda step: 0.98)))
show("chained", rates(lambda o: S.ChainedScheduler([S.ConstantLR(o, 0.1, 20), S.ExponentialLR(o, 0.99)])))
show("chained_cosine", rates(lambda o: S.ChainedScheduler([S.LinearLR(o, 0.1, 1.0, 50), S.CosineAnnealingLR(o, STEPS)])))
show(
    "sequential",
    rates(lambda o: S.SequentialLR(
        o, [S.ConstantLR(o, 0.1, 20), S.ExponentialLR(o, 0.99), S.StepLR(o, 25, 0.5)], [20, 150])),
)
show(
    "sequential_cosine",
    rates(lambda o: S.SequentialLR(o, [S.LinearLR(o, 0.01, 1.0, 30), S.CosineAnnealingLR(o, STEPS - 30)], [30])),
)
show("plateau", rates(lambda o: S.ReduceLROnPlateau(o, factor=0.5, patience=4, cooldown=3, min_lr=1e-4), metric=loss))
show(
    "plateau_max",
    rates(lambda o: S.ReduceLROnPlateau(o, mode="max", factor=0.9, patience=6, threshold=0.01, min_lr=1e-4),
          metric=lambda step: 3 - loss(step)),
)
