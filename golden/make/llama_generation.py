"""Makes golden/llama/sampling.json and generation.json.

sampling.json: the distribution that transformers' own logits processors leave of random logits,
ties included. Their top-p sorts; torch leaves the order of equals open (since its AVX-512 sort it
is not by index, and differs between processors), so the sort is made stable here, as torch's CPU
sort of 2023 was. generation.json: greedy continuations of stories260k by transformers' generate().

Run: python golden/make/llama_generation.py   (torch 2.13.0, transformers 5.23.0, CPU)
The real checkpoint is looked for in $MEDHARNESS_SHARED, then in ../shared/data.
"""

import functools
import json
import os
import pathlib
import random

os.environ["OMP_NUM_THREADS"] = "1"
import torch
import transformers
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

torch.set_num_threads(1)
torch.sort = functools.partial(torch.sort, stable=True)
ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "golden" / "llama"
SHARED = pathlib.Path(os.environ.get("MEDHARNESS_SHARED", ROOT / ".." / "shared" / "data"))
VERSIONS = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
SEED = 20230404


def distribution(logits, temperature, top_k, top_p):
    """The processors in the order in which generate() applies them."""
    scores = torch.tensor([logits], dtype=torch.float32)
    ids = torch.zeros((1, 1), dtype=torch.long)
    if temperature != 1.0:
        scores = TemperatureLogitsWarper(temperature)(ids, scores)
    if top_k:
        scores = TopKLogitsWarper(top_k)(ids, scores)
    if top_p < 1.0:
        scores = TopPLogitsWarper(top_p)(ids, scores)
    return torch.softmax(scores, dim=-1)[0]


def sampling():
    rng = random.Random(SEED)
    cases = []
    for n in range(300):
        size = rng.choice([2, 5, 17, 40])
        kind = n % 4
        if kind == 0:
            logits = [rng.gauss(0, 3) for _ in range(size)]
        elif kind == 1:  # many ties
            logits = [float(rng.randint(-2, 3)) for _ in range(size)]
        elif kind == 2:  # all equal
            logits = [0.5] * size
        else:  # some impossible
            logits = [rng.choice([rng.gauss(0, 1), -float("inf")]) for _ in range(size - 1)] + [1.0]
        logits = [float(torch.tensor(x, dtype=torch.float32)) for x in logits]
        temperature = rng.choice([1.0, 0.4, 0.7, 1.5])
        top_k = rng.choice([0, 1, 3, 10, 50])
        top_p = rng.choice([1.0, 0.9, 0.75, 0.5, 0.1, 0.0])
        kept = distribution(logits, temperature, top_k, top_p)
        cases.append({
            "logits": [None if x == -float("inf") else x for x in logits],
            "temperature": temperature, "top_k": top_k, "top_p": top_p,
            "kept": [[i, float(p)] for i, p in enumerate(kept) if p > 0],
        })
    golden = {
        "shows": "distribution after temperature, top-k and top-p; a logit of null is -infinity",
        "source": VERSIONS, "seed": SEED, "cases": cases,
    }
    (OUT / "sampling.json").write_text(json.dumps(golden) + "\n")


def generation():
    folder = SHARED / "checkpoints" / "stories260k"
    if not folder.is_dir():
        print("SKIPPED generation: no real data")
        return
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    cases = []
    for prompt in [[1], [1, 403, 407, 261, 378], [1, 338], [1, 410, 408, 419, 292, 411, 322, 265], [5]]:
        with torch.no_grad():
            out = model.generate(
                torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                do_sample=False, max_new_tokens=60, pad_token_id=0)
        cases.append({"prompt": prompt, "ids": out[0, len(prompt):].tolist()})
    golden = {"shows": "60 greedy tokens of stories260k", "source": VERSIONS, "cases": cases}
    (OUT / "generation.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    sampling()
    generation()
