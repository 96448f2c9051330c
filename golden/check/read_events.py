"""Reads a TensorBoard event file with TensorBoard's own reader and prints its scalars as JSON.

A check by a peer program, not a golden: `python golden/check/read_events.py OUT/tensorboard` after a
training. Needs tensorboard 2.20 (pip install tensorboard).
"""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1])
events.Reload()
print(json.dumps({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}, indent=1))
