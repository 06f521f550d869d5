"""What an MLflow server has of the only run of an experiment, by MLflow's own client: its files, pixels, tags and points.

Arguments: the server's address, the experiment.
"""

import base64
import json
import sys
import tempfile

import mlflow
from PIL import Image

uri, experiment = sys.argv[1:]
mlflow.set_tracking_uri(uri)
client = mlflow.MlflowClient()
experiment_id = client.get_experiment_by_name(experiment).experiment_id
[run] = client.search_runs([experiment_id])
run_id = run.info.run_id


def paths(below=None):
    for entry in client.list_artifacts(run_id, below):
        if entry.is_dir:
            yield from paths(entry.path)
        else:
            yield entry.path


def text(data):
    return base64.b64encode(data).decode()


files, images = {}, {}
with tempfile.TemporaryDirectory() as folder:
    # All at once, as people do it.
    mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=folder)
    for path in paths():
        with open(f"{folder}/{path}", "rb") as file:
            files[path] = text(file.read())
        if path.endswith(".png"):
            with Image.open(f"{folder}/{path}") as image:
                images[path] = {"mode": image.mode, "size": image.size, "pixels": text(image.tobytes())}

points = {
    name: [[point.step, point.value] for point in client.get_metric_history(run_id, name)] for name in run.data.metrics
}

# How MLflow itself names an image.
with mlflow.start_run(experiment_id=experiment_id, run_name="own") as own:
    client.log_image(own.info.run_id, Image.new("RGB", (2, 2)), key="valid/samples", step=8, timestamp=5)
    named = [entry.path for entry in client.list_artifacts(own.info.run_id, "images")]
    tag = client.get_run(own.info.run_id).data.tags["mlflow.loggedImages"]
client.delete_run(own.info.run_id)

print(
    json.dumps(
        {
            "status": run.info.status,
            "tags": run.data.tags,
            "files": files,
            "images": images,
            "points": points,
            "own": {"images": named, "tag": tag},
        }
    )
)
