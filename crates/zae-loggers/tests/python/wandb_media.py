"""The run of `tests/wandb_python_media.rs`, logged by W&B's own client. A table needs what our server has not, so it is logged only to a file."""

import os
import sys

import numpy
import wandb

folder = sys.argv[1]
run = wandb.init(project="digits", dir=folder)
run.define_metric("trainer/global_step")
run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
run.define_metric("valid/loss", step_metric="trainer/global_step", summary="min,mean,last,first")
run.define_metric("hidden/x", step_metric="trainer/global_step", hidden=True, summary="none")
head = {"trainer/global_step": 0, "epoch": 0}
image = numpy.array([[0, 255]], dtype=numpy.uint8)
run.log({"samples/größe": wandb.Image(image, caption="a <b>"), **head})
run.log({"weights": wandb.Histogram(np_histogram=([1, 2], [0.0, 1.0, 2.5])), **head})
run.log({"said": wandb.Html("<pre>x</pre>", inject=False), **head})
if run.offline:
    run.log({"t": wandb.Table(columns=["a", "b"], data=[[1, "x"], [2, None]]), **head})
for value in [3.0, 1.0, 2.0]:
    run.log({"valid/loss": value, "hidden/x": value, **head})
print("one <é>")
print("\x1b[32mtwo\x1b[0m")
path = os.path.join(folder, "kept.txt")
with open(path, "w") as file:
    file.write("as it is")
run.save(path, base_path=folder, policy="now")
run.alert("high", 'It is "high"', level=wandb.AlertLevel.WARN)
run.finish(exit_code=0)
