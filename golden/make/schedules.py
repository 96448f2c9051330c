"""Golden learning rates of transformers' schedules.

Makes golden/train/schedules.json: for each schedule the multiplier's float64 bits at every step.
Run: python golden/make/schedules.py     Versions: transformers 5.23.0, torch 2.13.0.
"""

import json
import struct
from pathlib import Path

import torch
import transformers
from transformers import get_scheduler

OUT = Path(__file__).resolve().parents[1] / "train" / "schedules.json"
BASE = 2e-5

CASES = [
    ("linear", 0, 20, {}),
    ("linear", 3, 17, {}),
    ("cosine", 2, 6, {}),
    ("cosine", 19, 609, {}),
    ("cosine", 100, 123, {}),
    ("cosine", 0, 10, {"num_cycles": 1.25}),
    ("cosine_with_restarts", 4, 40, {"num_cycles": 3}),
    ("cosine_with_min_lr", 5, 30, {"min_lr_rate": 0.1}),
    ("polynomial", 3, 25, {"lr_end": 1e-7, "power": 2.0}),
    ("polynomial", 0, 12, {}),
    ("constant", 0, 5, {}),
    ("constant_with_warmup", 4, 9, {}),
    ("inverse_sqrt", 6, 30, {}),
    ("inverse_sqrt", 0, 30, {"timescale": 12}),
]


def rates(name, warmup, total, extra):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=BASE)
    schedule = get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=total, scheduler_specific_kwargs=extra
    )
    found = []
    for _ in range(total + 2):
        found.append(struct.pack(">d", optimizer.param_groups[0]["lr"]).hex())
        optimizer.step()
        schedule.step()
    return found


def main():
    cases = []
    for name, warmup, total, extra in CASES:
        cases.append(
            {"schedule": name, "warmup": warmup, "total": total, "extra": extra, "rates": rates(name, warmup, total, extra)}
        )
    record = {
        "source": "golden/make/schedules.py",
        "versions": {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]},
        "base": BASE,
        "cases": cases,
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
