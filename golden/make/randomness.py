"""Golden draws of numpy and torch: permutations, uniforms, and the seeds a training run derives.

Makes golden/train/randomness.json. Run: python golden/make/randomness.py
Versions: numpy 2.4.6, torch 2.13.0, datasets 5.2.0 (recorded in the file).
"""

import json
import struct
from pathlib import Path

import numpy
import torch
from datasets import Dataset

OUT = Path(__file__).resolve().parents[1] / "train" / "randomness.json"


def bits(values):
    """float32 as hex of its bits, so that nothing is rounded on the way."""
    return [struct.pack(">f", float(value)).hex() for value in values]


def digest(values):
    """A number that any change of any element moves: a polynomial over the elements."""
    total = 0
    for value in values:
        total = (total * 1_000_003 + int(value) + 1) % (1 << 61)
    return total


def main():
    numpy_cases = []
    for seed in [0, 1, 7, 42, 1234, 2**32 - 1, 2**32, 2**63]:
        for n in [1, 2, 10, 1000, 5942, 70_000]:
            permutation = numpy.random.default_rng(seed).permutation(n)
            numpy_cases.append(
                {
                    "seed": seed,
                    "n": n,
                    "head": [int(x) for x in permutation[:10]],
                    "digest": digest(permutation),
                }
            )
    splits = []
    for n, test_size in [(200, 0.1), (5942, 0.1), (5942, 2000), (13, 0.25), (11, 3)]:
        halves = Dataset.from_dict({"row": list(range(n))}).train_test_split(
            test_size=test_size, shuffle=True, seed=42
        )
        splits.append(
            {
                "n": n,
                "test_size": test_size,
                "test_rows": len(halves["test"]),
                "test_digest": digest(halves["test"]["row"]),
                "train_rows": len(halves["train"]),
                "train_digest": digest(halves["train"]["row"]),
            }
        )
    torch_cases = []
    for seed in [0, 1, 42, 43, 2**32 - 1, 2**32 + 5]:
        generator = torch.Generator().manual_seed(seed)
        words = torch.empty(700, dtype=torch.int64)
        words.random_(0, 2**32, generator=generator)
        for n in [1, 2, 10, 1000, 5347]:
            generator.manual_seed(seed)
            permutation = torch.randperm(n, generator=generator).tolist()
            torch_cases.append(
                {"seed": seed, "n": n, "head": permutation[:10], "digest": digest(permutation)}
            )
    uniforms = []
    for seed, low, high, n in [(0, 0.0, 1.0, 20), (42, -0.5, 0.5, 700), (7, -0.0625, 0.0625, 33)]:
        generator = torch.Generator().manual_seed(seed)
        values = torch.empty(n).uniform_(low, high, generator=generator)
        uniforms.append({"seed": seed, "low": low, "high": high, "bits": bits(values)})
    torch.manual_seed(42)
    trainer_seed = int(torch.empty((), dtype=torch.int64).random_().item())
    OUT.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "source": "golden/make/randomness.py",
        "versions": {
            "numpy": numpy.__version__,
            "torch": torch.__version__.split("+")[0],
            "datasets": __import__("datasets").__version__,
        },
        "numpy_permutation": numpy_cases,
        "train_test_split": splits,
        "torch_randperm": torch_cases,
        "torch_uniform": uniforms,
        "torch_sampler_seed_after_manual_seed_42": trainer_seed,
    }
    OUT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
