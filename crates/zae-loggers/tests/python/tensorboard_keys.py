"""100,000 names, each with the steps 0 and 1."""

import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

reader = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0}).Reload()
names = reader.Tags()["scalars"]
assert len(names) == 100_000, len(names)
for name in names:
    layout, _, index = name.split(" ")[1].split("/")
    events = [(event.step, event.value) for event in reader.Scalars(name)]
    assert events == [(step, int(index) + int(layout)) for step in (0, 1)], (name, events)
