"""Trains with medharness in every mode on real rows, and reads the results with the real PEFT and transformers.

Run: python golden/check/trained_adapters.py PROGRAM [ROWS] [UPDATES]    (PROGRAM is the built medharness)
The base is stories260k and the rows are those of medical_meadow_small.json, both from MEDHARNESS_SHARED
(default ../shared). For each mode: the validation loss falls; what was trained loads without a missing or
unexpected key; log-probabilities of 40 answers that medharness gives for it are within 1e-4 of a token of
those of transformers; `eval --adapter` takes it; TensorBoard reads every number of its log. Ends with 1
where anything fails. Versions: golden/check/requirements.txt.
"""

import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from sentencepiece import SentencePieceProcessor
from transformers import AutoModelForCausalLM

import read_events

warnings.filterwarnings("ignore")
ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("MEDHARNESS_SHARED", ROOT.parent / "shared" / "data"))
BASE = SHARED / "checkpoints" / "stories260k"
DATA = SHARED / "training" / "medical_meadow_small.json"
RECIPE = (ROOT / "benchmarks" / "recipes" / "recommended.toml").read_text()
LORA = RECIPE[RECIPE.index("[lora]") : RECIPE.index("[text]")]
MODES = {
    "full": [(LORA, ""), ('base = "int8"', 'base = "f32"'), ("rate = 0.0003", "rate = 0.001")],
    "lora": [('base = "int8"', 'base = "f32"')],
    "lora-no-checkpointing": [('base = "int8"', 'base = "f32"'), ("recompute = true", "recompute = false")],
    "lora-bf16": [('base = "int8"', 'base = "bf16"')],
    "lora-f16": [('base = "int8"', 'base = "f16"')],
    "lora-int8": [],
    "lora-int8-no-checkpointing": [("recompute = true", "recompute = false")],
    "lora-int8-dequantized": [('base = "int8"', 'base = "int8-dequantized"')],
    "lora-grouped-padded": [("group_by_length = false", "group_by_length = true"), ('padding = "none"', 'padding = "left-2023"')],
    "lora-adamw8bit": [('base = "int8"', 'base = "f32"'), ('kind = "adamw"', 'kind = "adamw-8bit"')],
}


def log_prob(model, context, continuation):
    ids = torch.tensor([context + continuation])
    with torch.no_grad():
        scores = model(ids).logits[0].log_softmax(-1)
    return sum(scores[len(context) + i - 1, token].item() for i, token in enumerate(continuation))


def main():
    program = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 600
    updates = sys.argv[3] if len(sys.argv) > 3 else "60"
    rows = json.loads(DATA.read_text())
    short = [row for row in rows if len(row["instruction"] + row["input"] + row["output"]) < 600]
    failed = 0
    tokenizer = SentencePieceProcessor(model_file=str(BASE / "tokenizer.model"))
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        (scratch / "rows.json").write_text(json.dumps(short[:count]))
        asked = [(f"Question: {row['input']}\n\nAnswer:", " " + row["output"][:80].strip()) for row in short[count : count + 40]]
        requests = [{"id": str(i), "context": c, "continuation": a} for i, (c, a) in enumerate(asked)]
        (scratch / "requests.jsonl").write_text("".join(json.dumps(r) + "\n" for r in requests))
        for mode, changes in MODES.items():
            text = RECIPE
            for old, new in changes:
                assert old in text, old
                text = text.replace(old, new)
            if mode == "full":
                text = "\n".join(line for line in text.split("\n") if not line.startswith('"lora.'))
            text = text.replace("eval_every = 50", "eval_every = 20").replace("validation = 0.1", "validation = 40")
            recipe, out = scratch / f"{mode}.toml", scratch / mode
            recipe.write_text(text)
            command = [program, "train", "--no-progress", "--recipe", recipe, "--model", BASE, "--data", scratch / "rows.json"]
            run = subprocess.run([*command, "--out", out, "--max-steps", updates], capture_output=True, text=True)
            if run.returncode:
                print(mode, "FAILED:", run.stderr)
                failed += 1
                continue
            events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
            losses = [event["loss"] for event in events if event["event"] == "validation"]
            model = out if mode == "full" else BASE
            score = [program, "score", "--no-progress", "--dtype", "f32", "--model", model, "--requests", scratch / "requests.jsonl"]
            adapter = [] if mode == "full" else ["--adapter", out]
            subprocess.run([*score, *adapter, "--out", scratch / "scores.jsonl"], check=True, capture_output=True)
            ours = [json.loads(line) for line in (scratch / "scores.jsonl").read_text().splitlines()]
            theirs = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
            if mode != "full":
                with warnings.catch_warnings(record=True) as heard:
                    warnings.simplefilter("always")
                    theirs = PeftModel.from_pretrained(theirs, out).eval()
                keys = [str(w.message) for w in heard if "key" in str(w.message)]
                if keys:
                    print(mode, "FAILED:", keys)
                    failed += 1
            bos = theirs.config.bos_token_id
            off = 0.0
            texts = tokenizer.encode([c + a for c, a in asked])
            for own, ids in zip(ours, texts):
                ids = [bos, *ids]
                split = len(ids) - own["tokens"]
                off = max(off, abs(own["log_prob"] - log_prob(theirs, ids[:split], ids[split:])) / own["tokens"])
            taken = "-"
            if mode != "full":
                evaluate = [program, "eval", "--no-progress", "--model", BASE, "--adapter", out]
                exam = ROOT / "golden" / "exams" / "own.jsonl"
                rest = ["--exam", exam, "--protocol", "mmlu-letter", "--out", scratch / f"run-{mode}"]
                run = subprocess.run([*evaluate, *rest], capture_output=True, text=True)
                taken = "taken" if run.returncode == 0 else f"REFUSED {run.stderr}"
            wrong, scalars = read_events.differences(out)
            good = losses[-1] < losses[0] and off < 1e-4 and "REFUSED" not in taken and scalars > 0 and not wrong
            failed += not good
            verdict = "" if good else "  FAILED"
            print(f"{mode}: validation {losses[0]:.4f} to {losses[-1]:.4f}; log-probabilities a token within {off:.1e}; eval {taken}; {scalars} scalars read, {len(wrong)} tags other{verdict}", flush=True)
    sys.exit(failed > 0)


main()
