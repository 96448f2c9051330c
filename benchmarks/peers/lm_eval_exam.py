"""Asks lm-eval the questions of a finished run and compares the choices.

Takes run directories made by `medharness eval` under a log-likelihood protocol. The exam and the
protocol in the run become a local lm-eval task (same prompts: their sha256 must be the recorded
ones), which lm-eval's `hf` backend answers in f32 with the BOS policy of the protocol. Prints, for
each run, how many choices agree and every question where they do not, with the margin. Exit code 1
if a choice differs by more than TIE between its two options.

With --medharness BIN the exams are timed instead: our program asks each again in --ours' format, lm-eval answers
it in --dtype and --batch, in turns, each in a process of its own; both times include starting and loading.

Run: python benchmarks/peers/lm_eval_exam.py --model DIR RUN...
     python benchmarks/peers/lm_eval_exam.py --model DIR --medharness BIN --ours bf16 --dtype bfloat16
         [--batch N] [--rounds N] [--out RECORD.json] RUN...
(lm_eval 0.4.13, transformers 5.23.0, torch 2.13.0, CPU)
"""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import tomllib

import turns

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("RAYON_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Two options nearer than this are a tie: f32 sums in another order.
TIE = 1e-4


def render(template, question):
    lines = "".join(
        template["option_line"].format(letter=o["letter"], text=o["text"]) for o in question["options"])
    return (template["primer"] + template["instruction_header"] + template["instruction"]
            + template["input_header"] + question["question"] + lines
            + template["output_header"] + template["answer_prefix"])


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def documents(run):
    """The questions that were scored, as lm-eval documents; and those that were not, with why."""
    protocol = tomllib.loads((run / "protocol.toml").read_text())
    decoding = protocol["decoding"]["log_likelihood"]
    questions = {q["id"]: q for q in read_lines(run / "exam.jsonl")}
    docs, left_out = [], {}
    for attempt in read_lines(run / "attempts.jsonl"):
        question = questions[attempt["question_id"]]
        if attempt.get("error"):
            left_out[question["id"]] = attempt["error"]
            continue
        prompt = render(protocol["prompt"], question)
        digest = hashlib.sha256(prompt.encode()).hexdigest()
        assert digest == attempt["prompt_sha256"], f"prompt of {question['id']} differs"
        choices = [o[decoding["continuation"]] for o in question["options"]]
        letters = [o["letter"] for o in question["options"]]
        docs.append({
            "id": question["id"], "prompt": prompt, "choices": choices,
            "gold": letters.index(question["answer"]),
            "ours": [s["log_prob"] for s in attempt["scores"]],
        })
    return protocol, decoding, docs, left_out


def ask(model, protocol, decoding, docs, dtype, batch):
    from lm_eval import evaluator, simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    # It lists every installed package with `pip`, which is no part of answering.
    evaluator.add_env_info = lambda storage: None
    bos = protocol["bos"]
    lm = HFLM(pretrained=str(model), device="cpu", dtype=dtype, batch_size=batch,
              add_bos_token=bos == "model")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        fields = ("id", "prompt", "choices", "gold")
        (folder / "docs.jsonl").write_text(
            "".join(json.dumps({k: d[k] for k in fields}) + "\n" for d in docs))
        (folder / "task.yaml").write_text(json.dumps({
            "task": "medharness_run", "dataset_path": "json", "test_split": "test",
            "dataset_kwargs": {"data_files": {"test": str(folder / "docs.jsonl")}},
            "output_type": "multiple_choice", "doc_to_text": "prompt", "doc_to_choice": "choices",
            "doc_to_target": "gold", "target_delimiter": decoding["lead"],
            "metric_list": [{"metric": "acc"}],
        }))
        tasks = TaskManager(include_path=str(folder), include_defaults=False)
        results = simple_evaluate(lm, tasks=["medharness_run"], task_manager=tasks,
                                  log_samples=True, bootstrap_iters=0)
    samples = sorted(results["samples"]["medharness_run"], key=lambda s: s["doc_id"])
    return [[float(r[0][0]) for r in s["resps"]] for s in samples]


def first_best(scores):
    return max(range(len(scores)), key=lambda i: (scores[i], -i))


def timed(command):
    begun = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def again(arguments, run):
    """Seconds in which our program asks the run's exam again."""
    with tempfile.TemporaryDirectory() as folder:
        return timed([arguments.medharness, "eval", "--no-progress", "--model", arguments.model, "--exam", run / "exam.jsonl",
                      "--protocol", run / "protocol.toml", "--dtype", arguments.ours, "--out", f"{folder}/run"])


def race(arguments):
    """Both programs in turns over each run's exam."""
    before, found = turns.load(), []
    for run in arguments.runs:
        _, _, docs, left_out = documents(run)
        assert not left_out, f"{run}: {len(left_out)} questions were not scored: the work would not be the same"
        peer = [sys.executable, "-W", "ignore", __file__, "--only-ask", "--model", arguments.model, "--dtype", arguments.dtype,
                "--batch", arguments.batch, run]
        ours, theirs = f"medharness {arguments.ours}", f"lm-eval {arguments.dtype}, batch {arguments.batch}"
        seconds = turns.turns({ours: lambda: again(arguments, run), theirs: lambda: timed(peer)}, arguments.rounds)
        found += turns.rows(f"{run.name}: {len(docs)} questions", len(docs), "questions/s", seconds, ours)
    versions = turns.versions("lm_eval", "transformers", "torch")
    turns.write(arguments.out, f"exam {arguments.model.name}", versions, found, before)


def compare(run, arguments):
    protocol, decoding, docs, left_out = documents(run)
    theirs = ask(arguments.model, protocol, decoding, docs, arguments.dtype, arguments.batch)
    if arguments.only_ask:
        return True
    same, ties, wrong, largest = 0, [], [], 0.0
    for doc, scores in zip(docs, theirs):
        ours = doc["ours"]
        largest = max(largest, max(abs(a - b) for a, b in zip(ours, scores)))
        a, b = first_best(ours), first_best(scores)
        if a == b:
            same += 1
            continue
        margin = abs(scores[a] - scores[b])
        (ties if margin <= TIE else wrong).append((doc["id"], a, b, margin))
    print(f"{run} ({protocol['id']}): {same} of {len(docs)} choices agree, largest difference of a "
          f"log-probability {largest:.2e}; {len(left_out)} questions not scored")
    for name, found in (("tie", ties), ("DIFFERS", wrong)):
        for question, a, b, margin in found:
            print(f"  {name}: {question}: ours option {a + 1}, lm-eval's {b + 1}, margin {margin:.2e}")
    return not wrong and len(docs) > 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--medharness")
    parser.add_argument("--ours", default="f32", help="our number format for the timing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out")
    parser.add_argument("--only-ask", action="store_true", help="what is timed: lm-eval alone, nothing compared")
    arguments = parser.parse_args()
    if arguments.medharness:
        race(arguments)
        return 0
    return 0 if all([compare(run, arguments) for run in arguments.runs]) else 1


if __name__ == "__main__":
    sys.exit(main())
