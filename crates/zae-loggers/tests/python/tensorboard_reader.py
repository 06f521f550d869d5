"""What TensorBoard has read of a folder: of each line of standard input a line of JSON.

`fresh` reads it anew; `reload` has the readers that began before the first line read on, as a running TensorBoard does. There
are two readers: the one for programs, and the one of TensorBoard itself.
"""

import io
import json
import sys

from PIL import Image
from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.util import tensor_util

EVERYTHING = {"scalars": 0, "tensors": 0, "images": 0, "histograms": 0}


def readers():
    modules = (event_accumulator, plugin_event_accumulator)
    return [module.EventAccumulator(sys.argv[1], size_guidance=EVERYTHING) for module in modules]


def hparams(reader):
    tag = metadata.SESSION_START_INFO_TAG
    if tag not in reader.summary_metadata:
        return None
    content = reader.SummaryMetadata(tag).plugin_data.content
    values = metadata.parse_session_start_info_plugin_data(content).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def scalars(reader):
    """As TensorBoard's plugin for scalars gets them."""
    try:
        tags = reader.PluginTagToContent("scalars")
    except KeyError:
        return {}
    number = tensor_util.make_ndarray
    return {tag: [(e.step, repr(number(e.tensor_proto).item())) for e in reader.Tensors(tag)] for tag in tags}


def image(width, height, encoded):
    """Its size and pixels."""
    decoded = Image.open(io.BytesIO(encoded))
    assert decoded.format == "PNG" and decoded.size == (int(width), int(height)), decoded
    return [int(width), int(height), decoded.tobytes().hex()]


def datum(plugin, tensor):
    values = tensor_util.make_ndarray(tensor)
    if plugin == "images":
        return image(*values)
    return values.item().decode() if plugin == "text" else values.tolist()


def media(reader):
    """As TensorBoard's plugins get it."""
    return {
        plugin: {
            tag: [(event.step, datum(plugin, event.tensor_proto)) for event in reader.Tensors(tag)]
            for tag, metadata in reader.AllSummaryMetadata().items()
            if metadata.plugin_data.plugin_name == plugin
        }
        for plugin in ("images", "histograms", "text")
    }


def images(reader):
    """As programs get them."""
    of = lambda e: (e.step, image(e.width, e.height, e.encoded_image_string))
    return {tag: [of(event) for event in reader.Images(tag)] for tag in reader.Tags()["images"]}


def histograms(reader):
    """As programs get them, with sums."""
    of = lambda own: [own.min, own.max, own.num, own.sum, own.sum_squares, list(own.bucket_limit), list(own.bucket)]
    tags = reader.Tags()["histograms"]
    return {tag: [(event.step, of(event.histogram_value)) for event in reader.Histograms(tag)] for tag in tags}


def seen(reader, plugin_reader):
    tags = reader.Tags()
    text = reader.Tensors("config/text_summary") if "config/text_summary" in tags["tensors"] else []
    return {
        "scalars": {tag: [(event.step, repr(event.value)) for event in reader.Scalars(tag)] for tag in tags["scalars"]},
        "plugin": scalars(plugin_reader),
        "media": media(plugin_reader),
        "images": images(reader),
        "histograms": histograms(reader),
        "hparams": hparams(reader),
        "text": [tensor_util.make_ndarray(event.tensor_proto).item().decode() for event in text],
        "text_plugin": [] if not text else list(reader.PluginTagToContent("text")),
    }


live = readers()
for line in sys.stdin:
    current = live if line.strip() == "reload" else readers()
    print(json.dumps(seen(*(reader.Reload() for reader in current))), flush=True)
