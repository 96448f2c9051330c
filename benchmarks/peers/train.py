"""Fine-tuning steps beside PEFT + transformers, in one run, in the layout of MedAlpaca's memory table.

    python benchmarks/peers/train.py --medharness target/release/medharness --shape m --steps 5 --repeats 5

For each row (full, LoRA, LoRA + 8-bit; with and without recomputation) both programs make the same
updates on the same random weights (`medharness synth`) and rows of 256 tokens, in turn, each in a
process of its own. Step time is the median over the updates but the first and over the repeats; memory is
the largest resident size of the process. The tokens differ, their number does not. `-rounded` rounds activations
and gradients to bf16 where they meet weights, as torch does in bf16; without it only the weights are rounded.
Needs torch, transformers, peft, bitsandbytes (golden/make/requirements.txt); 2 threads.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import turns

ROWS = [
    # name, LoRA, bases of medharness, base of the peer, recomputation
    ("full", False, ["f32"], "f32", False),
    ("full", False, ["f32"], "f32", True),
    ("LoRA f32", True, ["f32"], "f32", False),
    ("LoRA f32", True, ["f32"], "f32", True),
    ("LoRA bf16", True, ["bf16", "bf16-rounded"], "bf16", False),
    ("LoRA bf16", True, ["bf16", "bf16-rounded"], "bf16", True),
    ("LoRA + 8-bit", True, ["int8", "int8-rounded"], "int8", False),
    ("LoRA + 8-bit", True, ["int8", "int8-rounded"], "int8", True),
]
TOKENS = 256


def recipe(lora, base, recompute, steps):
    adapter = '[lora]\nrank = 8\nalpha = 16.0\ndropout = 0.0\ntargets = ["q_proj", "v_proj"]\nseed = 42\n' if lora else ""
    return f"""name = "bench"
about = "For the bench."
[weights]
base = "{base}"
recompute = {str(recompute).lower()}
{adapter}[text]
template = "medalpaca"
max_length = {TOKENS}
bos = false
end = "none"
train_on_inputs = true
[data]
validation = 0
seed = 42
order = "current"
group_by_length = false
[batch]
micro = 1
accumulation = 1
normalisation = "tokens"
remainder = "own"
padding = "none"
[optimizer]
kind = "adamw"
rate = 2e-5
beta1 = 0.9
beta2 = 0.999
eps = 1e-8
weight_decay = 0.0
max_norm = 1.0
[schedule]
shape = {{ kind = "constant" }}
warmup = 0.0
epochs = 1.0
max_steps = {steps}
[run]
eval_every = 0
save_every = 0
keep = 1
keep_best = false
patience = 0
on_bad_step = "stop"
[sources]
"""


def ours(arguments, model, data, row, base, folder):
    _, lora, _, _, recompute = row
    path = pathlib.Path(folder) / "recipe.toml"
    path.write_text(recipe(lora, base, recompute, arguments.steps))
    out = pathlib.Path(folder) / "out"
    command = [arguments.medharness, "train", "--recipe", path, "--model", model, "--data", data, "--out", out, "--threads", "2"]
    subprocess.run([*map(str, command), "--ignore-memory"], check=True, stdout=subprocess.DEVNULL)
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    times = [event["wall_s"] for event in events if event["event"] == "update"]
    peak = re.search(r"largest memory \| (\d+) MiB", (out / "train_report.md").read_text())
    return [b - a for a, b in zip(times, times[1:])], int(peak[1])


PEER = """
import json, resource, sys, time
import torch
torch.set_num_threads(2)
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from peft import LoraConfig, get_peft_model
model_path, ids_path, lora, base, recompute, steps = sys.argv[1:]
ids = torch.tensor([json.load(open(ids_path))])
quantization = {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)} if base == "int8" else {}
dtype = torch.float32 if base == "f32" else torch.bfloat16
model = AutoModelForCausalLM.from_pretrained(model_path, dtype=dtype, **quantization)
if lora == "True":
    torch.manual_seed(42)
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], lora_dropout=0.0, task_type="CAUSAL_LM"))
if recompute == "True":
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
model.train()
model.config.use_cache = False
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-5, weight_decay=0.0)
times = []
for _ in range(int(steps)):
    begun = time.time()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    times.append(time.time() - begun)
print(json.dumps([times[1:], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]))
"""


def peers(arguments, model, ids, row):
    _, lora, _, base, recompute = row
    command = [sys.executable, "-W", "ignore", "-c", PEER, model, ids, lora, base, recompute, arguments.steps]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def measure(arguments, model, data, ids, row):
    """One record a program: a process each a round, the first update of a process left out."""
    programs = {f"medharness {base}": base for base in row[2]}
    if not arguments.no_peer:
        programs["PEFT + transformers"] = None
    rounds = {name: [] for name in programs}
    for _ in range(arguments.repeats):
        for name, base in programs.items():
            if base is None:
                rounds[name].append(peers(arguments, model, ids, row))
            else:
                with tempfile.TemporaryDirectory() as place:
                    rounds[name].append(ours(arguments, model, data, row, base, place))
            time.sleep(1)
    peer = rounds.get("PEFT + transformers")
    found = []
    for name, processes in rounds.items():
        times = [step for steps, _ in processes for step in steps]
        record = {"what": f"{row[0]}, recomputation {'yes' if row[4] else 'no'}", "program": name, "unit": "tokens/s",
                  "median": TOKENS / statistics.median(times), "least": TOKENS / max(times), "most": TOKENS / min(times),
                  "rounds": len(processes), "updates": len(times), "peak_mib": max(peak for _, peak in processes),
                  "lora": row[1], "int8": "8-bit" in row[0], "weights": row[3], "recompute": row[4]}
        if peer and programs[name] is not None:
            halves = [(statistics.median(theirs[0]) / statistics.median(mine[0])) for mine, theirs in zip(processes, peer)]
            record["this_over_peer"] = statistics.median(halves)
            record["memory_over_peer"] = record["peak_mib"] / max(peak for _, peak in peer)
        found.append(record)
        print(f"{record['what']}: {name}: {TOKENS / record['median']:.2f} s/step, {record['peak_mib']} MiB", flush=True)
    return found


def layout(found):
    """The records as MedAlpaca's README has its memory: what is 8-bit, LoRA, 16-bit and recomputed, memory and time."""
    lines = ["| 8bit | LoRA | weights | gradient ckpt | program | memory GB | of PEFT | s/step | tokens/s | of PEFT |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    share = lambda row, key: f"{row[key]:.2f}" if key in row else ""
    for row in found:
        lines.append(f"| {row['int8']} | {row['lora']} | {row['weights']} | {row['recompute']} | {row['program']} "
                     f"| {row['peak_mib'] / 953.674:.2f} | {share(row, 'memory_over_peer')} | {TOKENS / row['median']:.2f} "
                     f"| {row['median']:.0f} | {share(row, 'this_over_peer')} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--medharness", required=True)
    parser.add_argument("--shape", default="m")
    parser.add_argument("--tokenizer", required=True, help="a tokenizer of 32,000 tokens")
    parser.add_argument("--model", help="a checkpoint of `medharness synth`, in place of a new one")
    parser.add_argument("--rows", default="full,LoRA f32,LoRA bf16,LoRA + 8-bit", help="names of rows")
    parser.add_argument("--no-recomputation", action="store_true", help="leave out the rows that compute activations again")
    parser.add_argument("--name", help="of the record; the shape's where it is not said")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    before = turns.load()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model, data, ids = pathlib.Path(arguments.model or folder / "model"), folder / "rows.json", folder / "ids.json"
        if not arguments.model:
            run = [arguments.medharness, "synth", "--shape", arguments.shape, "--dtype", "bf16", "--tokenizer", arguments.tokenizer, model]
            subprocess.run(list(map(str, run)), check=True, stdout=subprocess.DEVNULL)
        text = "The liver makes bile, and the kidney makes urine. " * 60
        data.write_text(json.dumps([{"instruction": "Repeat.", "input": "", "output": text}] * (arguments.steps + 1)))
        ids.write_text(json.dumps(list(range(3, 3 + TOKENS))))
        for row in ROWS:
            if row[0] in arguments.rows.split(",") and not (row[4] and arguments.no_recomputation):
                found += measure(arguments, model, data, ids, row)
    turns.write(arguments.out, f"train {arguments.name or arguments.shape}", turns.versions("torch", "transformers", "peft", "bitsandbytes"),
                found, before)
    print(layout(found))


if __name__ == "__main__":
    main()
