"""Prompts of 256 tokens and decoding, ours beside torch and llama.cpp, in turns.

    python benchmarks/peers/infer.py --network BENCH --model DIR [--llama PYTHON --gguf FILE …] [--out RECORD.json]

BENCH is the program that `cargo bench --bench network --no-run` names. DIR is a checkpoint of `medharness synth`.
Each program is a process that holds the model and obeys: transformers in bf16 and f32, torch's dynamic int8,
and llama.cpp through llama-cpp-python, which lives in an environment of its own (PYTHON). Token ids are the
same for all; 2 threads. In each round the machine's own peak takes its turn too, as the time in which it would do
the job: what the layers multiply (attention left out) at the rate of its int8, bf16 or f32 multiply-adds, or the
bytes of the weights at the rate at which memory is read; `bf16` multiplies in f32 where there are no matrix units
and has none. "Ours over" a ceiling is the share of it. The answer of a prompt is compared where the weights are: ours in f32 and transformers'.
(torch 2.13.0, transformers 5.23.0, llama-cpp-python 0.3.36)
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import turns

TORCH = """
import json, sys, time, torch
torch.set_num_threads(2)
from transformers import AutoModelForCausalLM
path, kind = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16 if kind == "bf16" else torch.float32)
model.eval()
if kind == "int8":
    model = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
ids = lambda sequence, count: [(at * 7919 + sequence * 104729) % (model.config.vocab_size - 3) + 3 for at in range(count)]
print(json.dumps({"loaded": True}), flush=True)
with torch.inference_mode():
    for line in sys.stdin:
        words = line.split()
        if words[0] == "prompt":
            x = torch.tensor([ids(0, int(words[1]))])
            begun = time.perf_counter()
            out = model(input_ids=x, use_cache=True, logits_to_keep=1)
            print(json.dumps({"seconds": time.perf_counter() - begun, "next": int(out.logits[0, -1].argmax())}), flush=True)
        else:
            count, tokens = int(words[1]), int(words[2])
            x = torch.tensor([ids(sequence, 8) for sequence in range(count)])
            out = model(input_ids=x, use_cache=True, logits_to_keep=1)
            begun = time.perf_counter()
            for _ in range(tokens):
                nexts = out.logits[:, -1].argmax(-1, keepdim=True)
                out = model(input_ids=nexts, past_key_values=out.past_key_values, use_cache=True)
            print(json.dumps({"seconds": time.perf_counter() - begun}), flush=True)
"""

LLAMA = """
import ctypes, json, sys, time, llama_cpp
path = sys.argv[1]
many = 32
llama_cpp.llama_backend_init()
parameters = llama_cpp.llama_model_default_params()
model = llama_cpp.llama_model_load_from_file(path.encode(), parameters)
settings = llama_cpp.llama_context_default_params()
settings.n_ctx = 512 * many; settings.n_batch = 512; settings.n_ubatch = 512; settings.n_seq_max = many
settings.n_threads = 2; settings.n_threads_batch = 2
context = llama_cpp.llama_init_from_model(model, settings)
memory = llama_cpp.llama_get_memory(context)
vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
batch = llama_cpp.llama_batch_init(512, 0, 1)
def feed(entries):
    batch.n_tokens = len(entries)
    for at, (token, position, sequence, wanted) in enumerate(entries):
        batch.token[at] = token; batch.pos[at] = position
        batch.n_seq_id[at] = 1; batch.seq_id[at][0] = sequence; batch.logits[at] = wanted
    assert llama_cpp.llama_decode(context, batch) == 0
    llama_cpp.llama_synchronize(context)
ids = lambda sequence, count: [(at * 7919 + sequence * 104729) % (vocabulary - 3) + 3 for at in range(count)]
print(json.dumps({"loaded": True}), flush=True)
for line in sys.stdin:
    words = line.split()
    llama_cpp.llama_memory_clear(memory, False)
    if words[0] == "prompt":
        tokens = ids(0, int(words[1]))
        begun = time.perf_counter()
        feed([(token, at, 0, at + 1 == len(tokens)) for at, token in enumerate(tokens)])
        print(json.dumps({"seconds": time.perf_counter() - begun}), flush=True)
    else:
        count, tokens = int(words[1]), int(words[2])
        for sequence in range(count):
            feed([(token, at, sequence, at == 7) for at, token in enumerate(ids(sequence, 8))])
        begun = time.perf_counter()
        for step in range(tokens):
            feed([(100 + step, 8 + step, sequence, True) for sequence in range(count)])
        print(json.dumps({"seconds": time.perf_counter() - begun}), flush=True)
"""


def work_of(model, dtype):
    """Multiply-adds a token of the layers, of the output matrix, and the bytes of both."""
    config = json.loads((model / "config.json").read_text())
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    kv = hidden // heads * config.get("num_key_value_heads", heads)
    layers = config["num_hidden_layers"] * hidden * (2 * hidden + 2 * kv + 3 * config["intermediate_size"])
    head = config["vocab_size"] * hidden
    size = {"f32": 4, "int8": 1}.get(dtype, 2)
    return layers, head, layers * size + head * (4 if dtype == "f32" else 2)


def ceiling_of(program, model, dtype, job):
    """The seconds that the machine would take for a job at the rates it comes to now."""
    layers, head, size = work_of(model, dtype)
    words = job.split()
    if words[0] == "prompt":
        rate = program.ask({"int8": "int8", "f32": "f32"}.get(dtype, "bf16"))["giga_a_second"]
        return 2 * (layers * int(words[1]) + head) / rate / 1e9
    sequences, tokens = int(words[1]), int(words[2])
    reading = size * tokens / program.ask("memory")["giga_a_second"] / 1e9
    rate = program.ask({"int8": "int8", "f32": "f32"}.get(dtype, "bf16"))["giga_a_second"]
    return max(reading, 2 * (layers + head) * sequences * tokens / rate / 1e9)


def has_ceiling(program, dtype):
    """Whether the machine has the instructions of a format, and the format uses them."""
    return dtype != "bf16" and program.ask({"int8": "int8", "f32": "f32"}.get(dtype, "bf16"))["giga_a_second"] > 0


class Program:
    """A process that holds a model and answers one line for one."""

    def __init__(self, command):
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, text=True, env=environment)
        self.loaded = self.answer()

    def answer(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self.errors.seek(0)
        raise RuntimeError(f"{self.process.args[:2]} ended: {self.errors.read()[-2000:]}")

    def ask(self, line):
        print(line, file=self.process.stdin, flush=True)
        return self.answer()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", required=True)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--ours", default="int8,bf16,bf16-rounded,f32")
    parser.add_argument("--torch", default="int8,bf16,f32", help="empty for none")
    parser.add_argument("--llama", help="a Python with llama-cpp-python")
    parser.add_argument("--gguf", action="append", default=[], help="files for llama.cpp")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--decode", type=int, default=16)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    before = turns.load()
    programs = {}
    for dtype in filter(None, arguments.ours.split(",")):
        programs[f"medharness {dtype}"] = Program(
            [arguments.network, "--bench", "--model", arguments.model, "--dtype", dtype, "--threads", "2"])
    for kind in filter(None, arguments.torch.split(",")):
        programs[f"torch {kind}"] = Program([sys.executable, "-W", "ignore", "-c", TORCH, arguments.model, kind])
    for gguf in arguments.gguf:
        programs[f"llama.cpp {pathlib.Path(gguf).stem}"] = Program([arguments.llama, "-c", LLAMA, gguf])
    first = {name: program.ask("prompt 256").get("next") for name, program in programs.items()}
    if {"medharness f32", "torch f32"} <= first.keys():
        assert first["medharness f32"] == first["torch f32"], "the likeliest token differs"
    found = []
    jobs = [("prompt of 256", "prompt 256", 256), ("decode 1", f"decode 1 {arguments.decode}", arguments.decode),
            ("decode 32", f"decode 32 {arguments.decode}", 32 * arguments.decode)]
    ceilings = Program([arguments.network, "--bench", "--ceilings", "--threads", "2"])
    for what, line, tokens in jobs:
        work = {name: (lambda program=program: program.ask(line)["seconds"]) for name, program in programs.items()}
        for dtype in (dtype for dtype in arguments.ours.split(",") if dtype and has_ceiling(ceilings, dtype)):
            work[f"ceiling {dtype}"] = lambda dtype=dtype, line=line: ceiling_of(ceilings, arguments.model, dtype, line)
        seconds = turns.turns(work, arguments.rounds)
        for ours in (name for name in programs if name.startswith("medharness")):
            own = {ours, f"ceiling {ours.split()[1]}"}
            theirs = {name: times for name, times in seconds.items() if name in own or name.split()[0] not in ("medharness", "ceiling")}
            found += [{**row, "ours": ours} for row in turns.rows(what, tokens, "tokens/s", theirs, ours)]
    for program in [*programs.values(), ceilings]:
        program.end()
    turns.write(arguments.out, f"infer {arguments.model.name}", turns.versions("torch", "transformers"), found, before)


if __name__ == "__main__":
    main()
