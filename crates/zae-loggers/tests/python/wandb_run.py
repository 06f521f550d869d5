"""The run of `tests/wandb_python.rs`, logged by W&B's own client."""

import sys

import wandb

run = wandb.init(
    project="digits",
    name="first",
    group="g",
    job_type="train",
    notes="n",
    tags=["a", "b"],
    config={"dropout": 0.1, "sizes": [3, 4], "nested": {"x": None}},
    dir=sys.argv[1],
)
run.define_metric("trainer/global_step")
run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
for step in range(5):
    run.log({"train/loss": 1.0 / (step + 3), "épsilon": float("nan"), "inf": float("inf"), "trainer/global_step": step, "epoch": 0})
run.finish(exit_code=0)
