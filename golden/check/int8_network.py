"""Asks the program and transformers with bitsandbytes the same of one checkpoint, both in LLM.int8().

Run: python golden/check/int8_network.py PROGRAM MODEL_DIR TOKENIZER_MODEL [--requests N] [--adapter DIR]
PROGRAM is an optimised medharness; MODEL_DIR e.g. what `medharness synth --shape tinyllama --dtype bf16`
wrote, with a tokenizer.model in it; TOKENIZER_MODEL that file. Texts are random pieces, seed 11. The
program scores one token behind each and says the likeliest; log-probabilities must lie within the
probable bound of int8_network_lib.py, and the likeliest token be the same unless the two largest
logits are closer than it. What disagrees is listed. Ends with 1 where it must not. Versions:
golden/make/requirements.txt.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "make"))
import int8_network_lib as lib
import sentencepiece
import torch

arguments = argparse.ArgumentParser()
arguments.add_argument("program")
arguments.add_argument("model")
arguments.add_argument("tokenizer")
arguments.add_argument("--requests", type=int, default=64)
arguments.add_argument("--adapter")
arguments = arguments.parse_args()

rng = random.Random(11)
pieces = sentencepiece.SentencePieceProcessor(model_file=arguments.tokenizer)
words = [i for i in range(300, pieces.vocab_size()) if pieces.id_to_piece(i).startswith("▁") and pieces.id_to_piece(i)[1:].isalpha()]
requests = []
while len(requests) < arguments.requests:
    text = pieces.decode(rng.sample(words, rng.randint(1, 24)))
    word = " " + pieces.decode([rng.choice(words)])
    context, whole = pieces.encode(text), pieces.encode(text + word)
    if whole[:-1] == context:
        requests.append({"id": len(requests), "context": text, "prompt": text, "continuation": word, "ids": context, "target": whole[-1]})

with tempfile.TemporaryDirectory() as scratch:
    asked, out = pathlib.Path(scratch) / "asked.jsonl", pathlib.Path(scratch) / "out.jsonl"
    asked.write_text("".join(json.dumps(r) + "\n" for r in requests))

    def ask(command, *more):
        run = [arguments.program, command, "--model", arguments.model, "--dtype", "int8", "--bos", "none", "--out", out, *more]
        began = time.time()
        subprocess.run(run + (["--adapter", arguments.adapter] if arguments.adapter else []), check=True)
        print(f"{command}: {time.time() - began:.0f} s")
        return {line["id"]: line for line in map(json.loads, out.read_text().splitlines())}

    scores = ask("score", "--requests", asked)
    replies = ask("generate", "--prompts", asked, "--greedy", "--max-new-tokens", "1")

model = lib.load_in_8bit(arguments.model)
if arguments.adapter:
    import peft

    model = peft.PeftModel.from_pretrained(model, arguments.adapter).eval()
wrong, differences, bounds, same = [], [], [], 0
for request in requests:
    ours = replies[request["id"]]["ids"][0]

    def scored(row):
        return torch.log_softmax(row.double(), 0)[request["target"]]

    def apart(row):
        return row[int(row.detach().argmax())] - row[ours]

    logits, [(log_prob, _, bound)] = lib.run(model, request["ids"], [scored], with_worst=False)
    difference = abs(scores[request["id"]]["log_prob"] - log_prob)
    differences.append(difference)
    bounds.append(bound)
    if difference > bound:
        wrong.append((request["id"], "log-probability", difference, bound))
    if ours == int(logits.argmax()):
        same += 1
    else:
        _, [(margin, _, bound)] = lib.run(model, request["ids"], [apart], with_worst=False)
        print(f"request {request['id']}: {ours}, bitsandbytes {int(logits.argmax())}, margin {margin:.4g}, bound {bound:.4g}")
        if margin > bound:
            wrong.append((request["id"], "argmax", margin, bound))
    print(f"request {request['id']}, {len(request['ids'])} tokens: difference {difference:.3g}, bound {bounds[-1]:.3g}", flush=True)
differences.sort()
print(f"{len(requests)} requests: difference median {differences[len(differences) // 2]:.3g}, largest {differences[-1]:.3g}; "
      f"bound {min(bounds):.3g} to {max(bounds):.3g}; same argmax {same}")
print(f"outside: {wrong}")
sys.exit(1 if wrong else 0)
