"""What the pages of a running TensorBoard show of a folder: of each line of standard input a line of JSON.

It is the whole program, with its data server in front of the files. Between two lines it reads on by itself.
"""

import html
import io
import json
import sys
import urllib.parse
import urllib.request

from PIL import Image
from tensorboard import default, program

# All values, not a sample of them.
SAMPLES = dict.fromkeys(("scalars", "images", "histograms", "text"), 100_000)


def start(folder):
    board = program.TensorBoard(default.get_plugins())
    options = {"logdir": folder, "host": "127.0.0.1", "port": 0, "reload_interval": 1.0, "samples_per_plugin": SAMPLES}
    board.configure(load_fast="true", **options)
    return board.launch()


def get(path, **query):
    with urllib.request.urlopen(f"{url}data/plugin/{path}?{urllib.parse.urlencode(query)}") as reply:
        return reply.read()


def of(path, tag, **more):
    return json.loads(get(path, run=".", tag=tag, **more))


def tags(plugin):
    return list(json.loads(get(f"{plugin}/tags")).get(".", []))


def image(query):
    with urllib.request.urlopen(f"{url}data/plugin/images/individualImage?{query}") as reply:
        decoded = Image.open(io.BytesIO(reply.read()))
    return [*decoded.size, decoded.tobytes().hex()]


def seen():
    number = lambda value: repr(float(value))
    scalars = {tag: [(own[1], number(own[2])) for own in of("scalars/scalars", tag)] for tag in tags("scalars")}
    images = {
        tag: [(own["step"], image(own["query"])) for own in of("images/images", tag, sample=0)] for tag in tags("images")
    }
    histograms = {
        tag: [(own[1], own[2]) for own in of("histograms/histograms", tag)] for tag in tags("histograms")
    }
    text = {
        tag: [(own["step"], html.unescape(own["text"])) for own in of("text/text", tag, markdown="false")]
        for tag in tags("text")
    }
    return {"scalars": scalars, "media": {"images": images, "histograms": histograms, "text": text}}


url = start(sys.argv[1])
for line in sys.stdin:
    print(json.dumps(seen()), flush=True)
