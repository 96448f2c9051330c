"""Makes golden/llama/lm_eval_scores.json: 200 log-likelihood requests scored by lm-eval.

lm-eval's `hf` backend on stories260k in f32, batch size 4, told to add BOS as the checkpoint's
tokenizer_config.json says. The texts are made up from word lists here. Left out is the one case
where transformers 5 and SentencePiece encode differently: text that begins with a space.

Run: python golden/make/lm_eval_scores.py
(lm_eval 0.4.13, transformers 5.23.0, torch 2.13.0, CPU)
The real checkpoint is looked for in $MEDHARNESS_SHARED, then in ../shared/data.
"""

import json
import os
import pathlib
import random
import sys
from importlib.metadata import version

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

torch.set_num_threads(1)
ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "golden" / "llama"
SHARED = pathlib.Path(os.environ.get("MEDHARNESS_SHARED", ROOT / ".." / "shared" / "data"))
SEED = 20230404

SUBJECTS = ["Lily", "Tim", "the dog", "a big bird", "Mom", "the doctor", "Ben and Max", "Zoë"]
VERBS = ["saw", "wanted", "ran to", "liked", "found", "gave aspirin to", "was afraid of"]
OBJECTS = ["a red ball", "the park", "10 mg of salt", "her friend", "the sun", "µg/dL", "a 45-year-old man"]
ENDINGS = [".", "!", ", and", "\n", ":", " because", "\nAnswer:", " The answer is", ".\n\n", "…"]
TAILS = [" it", " was happy.", " (A)", "A", " yes", "\nOne day, she", " 7", " ß", " very very sad", "ing", "B: no"]


def requests():
    rng = random.Random(SEED)
    for n in range(200):
        sentences = rng.randint(1, 6)
        context = " ".join(
            f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(OBJECTS)}{rng.choice(ENDINGS)}"
            for _ in range(sentences))
        if n % 10 == 3:
            context += rng.choice([" ", "\n", " \n"])  # white space that moves to the continuation
        if n % 25 == 7:
            context = ""
        tail = rng.choice(TAILS)
        if not context:
            tail = tail.lstrip()
        yield {"id": f"r{n:03}", "context": context, "continuation": tail}


def main():
    folder = SHARED / "checkpoints" / "stories260k"
    if not folder.is_dir():
        print("SKIPPED lm_eval_scores: no real data")
        return
    lm = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=4, add_bos_token=True)
    asked = list(requests())
    instances = [
        Instance("loglikelihood", {}, (r["context"], r["continuation"]), i) for i, r in enumerate(asked)
    ]
    answers = lm.loglikelihood(instances, disable_tqdm=True)
    for r, (log_prob, is_greedy) in zip(asked, answers):
        if r["context"]:
            context, continuation = lm._encode_pair(r["context"], r["continuation"])
        else:
            context = [lm.prefix_token_id]
            continuation = lm.tok_encode(r["continuation"], add_special_tokens=False)
        r.update(log_prob=log_prob, tokens=len(continuation), is_greedy=is_greedy,
                 context_ids=list(context), continuation_ids=list(continuation))
    golden = {
        "shows": "log-likelihoods by lm-eval's hf backend",
        "source": {name: version(name).split("+")[0] for name in ["lm_eval", "transformers", "torch"]},
        "seed": SEED,
        "requests": asked,
    }
    (OUT / "lm_eval_scores.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
