"""Golden updates of torch.optim.AdamW and clip_grad_norm_ in float32.

Makes golden/train/adamw.json. Parameters and gradients are torch's own uniform draws from a seed,
so that a reader can draw them again. Run: python golden/make/adamw.py     Versions: torch 2.13.0.
"""

import json
import struct
from pathlib import Path

import torch

OUT = Path(__file__).resolve().parents[1] / "train" / "adamw.json"
STEPS = 60
SHAPES = [[37], [16, 8], [300]]
CASES = [
    {"rate": 1e-3, "weight_decay": 0.0, "betas": [0.9, 0.999], "eps": 1e-8, "max_norm": 1.0, "scale": 1.0},
    {"rate": 3e-4, "weight_decay": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "max_norm": 1.0, "scale": 1e-3},
    {"rate": 2e-5, "weight_decay": 0.1, "betas": [0.9, 0.95], "eps": 1e-6, "max_norm": 0.0, "scale": 1e3},
]


def bits(tensor):
    return "".join(struct.pack(">f", x).hex() for x in tensor.flatten().tolist())


def run(case, seed):
    generator = torch.Generator().manual_seed(seed)
    parameters = [torch.nn.Parameter(torch.empty(s).uniform_(-1, 1, generator=generator)) for s in SHAPES]
    optimizer = torch.optim.AdamW(
        parameters, lr=case["rate"], betas=case["betas"], eps=case["eps"], weight_decay=case["weight_decay"]
    )
    norms, snapshots = [], {}
    for step in range(1, STEPS + 1):
        for parameter in parameters:
            draw = torch.empty(parameter.shape).uniform_(-1, 1, generator=generator)
            parameter.grad = draw * case["scale"]
        if case["max_norm"]:
            norms.append(struct.pack(">f", torch.nn.utils.clip_grad_norm_(parameters, case["max_norm"]).item()).hex())
        optimizer.step()
        if step in (1, 2, 5, STEPS):
            snapshots[str(step)] = [bits(p.detach()) for p in parameters]
    return {**case, "seed": seed, "norms": norms, "parameters": snapshots}


def main():
    torch.set_num_threads(1)
    record = {
        "source": "golden/make/adamw.py",
        "versions": {"torch": torch.__version__.split("+")[0]},
        "shapes": SHAPES,
        "steps": STEPS,
        "cases": [run(case, seed) for seed, case in enumerate(CASES)],
    }
    OUT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
