"""Tokenising, auditing, reporting and loading, ours beside what there is.

    python benchmarks/peers/tools.py --medharness BIN --rows ROWS.json --tokenizer DIR [--times N] [--out RECORD.json]

ROWS are training rows, repeated with numbered outputs to 160,000; DIR holds `tokenizer.json`. Tokenising is timed
through `corpus audit` without and with `--tokenizer`, the peer is Hugging Face tokenizers' batch mode on the same
texts. A report is one over 100,000 attempts of a stub model.
(tokenizers 0.23.3)
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import turns

ROWS = 160_000
ATTEMPTS = 100_000


def timed(command):
    begun = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--medharness", required=True)
    parser.add_argument("--rows", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True, help="tokenizer.json")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = "2"
    from tokenizers import Tokenizer

    before = turns.load()
    small = json.loads(arguments.rows.read_text())
    rows = [{**row, "output": f"{row['output']} ({at})"} for at in range(-(-ROWS // len(small))) for row in small][:ROWS]
    texts = [row["instruction"] + row["input"] + row["output"] for row in rows]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        data, exam = folder / "rows.json", folder / "exam.jsonl"
        data.write_text(json.dumps(rows))
        audit = [arguments.medharness, "corpus", "audit", data, "--no-progress", "--out", folder / "audit.txt"]
        tokenizer = Tokenizer.from_file(str(arguments.tokenizer))

        def batch():
            begun = time.perf_counter()
            tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            return time.perf_counter() - begun

        seconds = turns.turns({
            "medharness corpus audit": lambda: timed(audit),
            "medharness corpus audit --tokenizer": lambda: timed([*audit, "--tokenizer", arguments.tokenizer]),
            "tokenizers batch": batch,
        }, arguments.rounds)
        found += turns.rows("160,000 rows", 1, "1/s", seconds, "medharness corpus audit --tokenizer")
        letters = "ABCDE"
        questions = [{"id": f"q{at}", "step": 1 + at % 3, "question": f"Question {at}?",
                      "options": [{"letter": letter, "text": f"{letter} of {at}"} for letter in letters], "answer": letters[at % 5],
                      "has_image": False, "source": "bench"} for at in range(ATTEMPTS // 5)]
        exam.write_text("".join(json.dumps(question) + "\n" for question in questions))
        run = folder / "run"
        timed([arguments.medharness, "eval", "--no-progress", "--model", "stub:noisy", "--exam", exam, "--protocol",
               "paper-2023-04", "--out", run])
        attempts = sum(1 for _ in (run / "attempts.jsonl").open())
        seconds = turns.turns({"medharness report": lambda: timed([arguments.medharness, "report", "--no-progress", run])},
                              arguments.rounds)
        found += turns.rows(f"report on {attempts} attempts", 1, "1/s", seconds, "medharness report")
    turns.write(arguments.out, "tools", {"python": sys.version.split()[0]}, found, before)


if __name__ == "__main__":
    main()
