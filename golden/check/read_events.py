"""Reads a training's TensorBoard events with TensorBoard's own reader and compares them with its metrics.jsonl.

A check by a peer program: python golden/check/read_events.py OUT [OUT…]     (OUT is a training's folder)
Each update's loss, rate and gradient norm and each validation's loss must be there once, at its step, as
the same f32. Ends with 1 where anything differs. Versions: golden/check/requirements.txt.
"""

import json
import sys
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = {"update": {"train/loss": "loss", "train/learning_rate": "rate", "train/grad_norm": "norm"}, "validation": {"eval/loss": "loss"}}


def differences(out):
    """The tags of a training whose scalars are not those of metrics.jsonl, and how many scalars were compared."""
    events = EventAccumulator(str(Path(out) / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    lines = [json.loads(line) for line in (Path(out) / "metrics.jsonl").read_text().splitlines()]
    wrong, compared = [], 0
    for kind, tags in TAGS.items():
        for tag, field in tags.items():
            expected = [(line["step"], float(np.float32(line[field]))) for line in lines if line["event"] == kind]
            found = [(e.step, e.value) for e in events.Scalars(tag)] if tag in events.Tags()["scalars"] else []
            compared += len(expected)
            if found != expected:
                wrong.append(tag)
    return wrong, compared


if __name__ == "__main__":
    failed = False
    for out in sys.argv[1:]:
        wrong, compared = differences(out)
        failed |= bool(wrong) or compared == 0
        print(f"{out}: {compared} scalars compared; {'different: ' + ', '.join(wrong) if wrong else 'all the same'}")
    sys.exit(failed)
