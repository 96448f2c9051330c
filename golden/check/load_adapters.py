"""Loads adapters and merged checkpoints that medharness wrote with the real PEFT and transformers.

Run: python golden/check/load_adapters.py PROGRAM     (PROGRAM is the built medharness)
Each adapter of golden/lora/networks is rewritten by `medharness adapter convert` and loaded by PEFT on
golden/quant/checkpoint, and merged into that base in f32 by `medharness merge`. Logits of both must be
within 1e-4 of those PEFT gave for its own files. A key of the adapter that PEFT misses or does not
expect fails. Ends with 1 where anything differs. Versions: golden/make/requirements.txt.
"""

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

warnings.filterwarnings("ignore")
GOLDEN = Path(__file__).resolve().parents[1]
TINY = GOLDEN / "quant" / "checkpoint"
IDS = torch.tensor([[1, 7, 30, 22, 5, 39, 0, 11], [3, 3, 14, 15, 9, 26, 5, 35]])
# The output matrix of its enlarged vocabulary is in no file.
LOST = "resized-embedding"


def load(folder, rows=None):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    if rows:
        model.resize_token_embeddings(rows, mean_resizing=False)
    return model.eval()


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


failed = 0
for folder in sorted((GOLDEN / "lora" / "networks").iterdir()):
    if folder.name == "stories260k" or folder.name.startswith("tied"):
        continue
    want = load_file(folder / "expected.safetensors")["logits"]
    with tempfile.TemporaryDirectory() as scratch:
        ours, merged = Path(scratch) / "ours", Path(scratch) / "merged"
        subprocess.run([sys.argv[1], "adapter", "convert", folder, "--out", ours], check=True, capture_output=True)
        base = load(TINY, 41 if folder.name.startswith("resized") else None)
        model = PeftModel.from_pretrained(base, ours).eval()
        found = set_peft_model_state_dict(model, load_file(ours / "adapter_model.safetensors"))
        trained = [k for k in found.missing_keys if "lora_" in k or "modules_to_save" in k]
        odd = trained + list(found.unexpected_keys)
        off = (logits(model) - want).abs().max().item()
        line = f"{folder.name:16} by PEFT off by {off:.1e}"
        failed += off > 1e-4 or bool(odd)
        if folder.name != LOST:
            float_base = Path(scratch) / "base"
            load(TINY).save_pretrained(float_base)
            command = [sys.argv[1], "merge", "--base", float_base, "--adapter", folder, "--out", merged]
            subprocess.run(command, check=True, capture_output=True)
            off = (logits(load(merged)) - want).abs().max().item()
            line += f", merged off by {off:.1e}"
            failed += off > 1e-4
        print(line, *odd[:3])
sys.exit(1 if failed else 0)
