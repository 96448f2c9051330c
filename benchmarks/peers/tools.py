"""Tokenising, auditing and reporting, ours beside what there is.

    python benchmarks/peers/tools.py --medharness BIN --network BENCH --rows ROWS.json --tokenizer FILE
        [--rounds N] [--out RECORD.json]

BENCH is the program that `cargo bench --bench network --no-run` names, FILE a `tokenizer.json`. ROWS are training
rows, repeated with numbered outputs to 160,000. Both tokenise the same texts on 2 threads, ours and Hugging Face
tokenizers' batch mode, and must come to the same number of tokens. The audit (which has a minute's half as its mark)
and the report on 100,000 attempts of a stub model have no peer.
(tokenizers 0.23.3)
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import turns
from infer import Program

ROWS = 160_000
ATTEMPTS = 100_000
# Of `paper-2023-04`, which asks until it reads a letter: the stub's reply can be read in seven of ten tries.
ATTEMPTS_A_QUESTION = 1.425


def timed(command):
    begun = time.perf_counter()
    done = subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    taken = time.perf_counter() - begun
    if done.returncode:
        raise RuntimeError(f"{command[:3]}: {done.stderr}")
    return taken


def tokenising(arguments, folder, texts):
    from tokenizers import Tokenizer

    path = folder / "texts.json"
    path.write_text(json.dumps(texts))
    ours = Program([arguments.network, "--bench", "--tokenizer", arguments.tokenizer, "--texts", path, "--threads", "2"])
    tokenizer = Tokenizer.from_file(str(arguments.tokenizer))
    counts = {}

    def mine():
        answer = ours.ask("tokenize")
        counts["ours"] = answer["tokens"]
        return answer["seconds"]

    def batch():
        begun = time.perf_counter()
        kept = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        taken = time.perf_counter() - begun
        counts["theirs"] = sum(len(encoding) for encoding in kept)
        return taken

    seconds = turns.turns({"medharness": mine, "tokenizers batch": batch}, arguments.rounds)
    ours.end()
    assert counts["ours"] == counts["theirs"], counts
    return turns.rows(f"tokenising {len(texts)} texts, {counts['ours']} tokens", counts["ours"], "tokens/s", seconds, "medharness")


def audit(arguments, folder, rows):
    data = folder / "rows.json"
    data.write_text(json.dumps(rows))
    command = [arguments.medharness, "corpus", "audit", data, "--no-progress", "--out", folder / "audit.txt"]
    seconds = turns.turns({
        "medharness corpus audit": lambda: timed(command),
        "medharness corpus audit --tokenizer": lambda: timed([*command, "--tokenizer", arguments.tokenizer]),
    }, arguments.rounds)
    return turns.rows(f"{len(rows)} rows", len(rows), "rows/s", seconds, "medharness corpus audit")


def report(arguments, folder):
    letters = "ABCDE"
    count = int(ATTEMPTS / ATTEMPTS_A_QUESTION)
    questions = [{"id": f"q{at}", "step": 1 + at % 3, "question": f"Question {at}?",
                  "options": [{"letter": letter, "text": f"{letter} of {at}"} for letter in letters], "answer": letters[at % 5],
                  "has_image": False, "source": "bench"} for at in range(count)]
    exam, run = folder / "exam.jsonl", folder / "run"
    exam.write_text("".join(json.dumps(question) + "\n" for question in questions))
    timed([arguments.medharness, "eval", "--no-progress", "--model", "stub:noisy", "--exam", exam, "--protocol",
           "paper-2023-04", "--out", run])
    attempts = sum(1 for _ in (run / "attempts.jsonl").open())
    assert attempts > 0.98 * ATTEMPTS, attempts
    seconds = turns.turns({"medharness report": lambda: timed([arguments.medharness, "report", "--no-progress", run])},
                          arguments.rounds)
    return turns.rows(f"report on {attempts} attempts", attempts, "attempts/s", seconds, "medharness report")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--medharness", required=True)
    parser.add_argument("--network", required=True)
    parser.add_argument("--rows", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True, help="tokenizer.json")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = "2"
    before = turns.load()
    small = json.loads(arguments.rows.read_text())
    rows = [{**row, "output": f"{row['output']} ({at})"} for at in range(-(-ROWS // len(small))) for row in small][:ROWS]
    # Every question of a run is synced, which is not what is measured here: in memory where the system has that.
    memory = pathlib.Path("/dev/shm")
    place = memory if memory.is_dir() and shutil.disk_usage(memory).free > 2 << 30 else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        folder = pathlib.Path(folder)
        texts = [row["instruction"] + row["input"] + row["output"] for row in rows]
        found = tokenising(arguments, folder, texts) + audit(arguments, folder, rows) + report(arguments, folder)
    turns.write(arguments.out, "tools", turns.versions("tokenizers"), found, before)


if __name__ == "__main__":
    main()
