"""Makes golden/exams/real.json: what an independent reading of the real exams finds.

Python 3.11 or later, standard library only. Counts, baselines and the sha256 of the canonical form
(one compact JSON line a question, see src/exam/jsonl.rs); no exam text is written.

    python golden/make/exams.py          # real data from $MEDHARNESS_SHARED or ../shared/data
"""

import collections
import csv
import hashlib
import json
import os
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("MEDHARNESS_SHARED", ROOT / "../shared/data")) / "exams"


def question(id, step, text, options, answer, source):
    options = [{"letter": letter, "text": text} for letter, text in options]
    return {"id": id, "step": step, "question": text, "options": options, "answer": answer,
            "has_image": False, "source": source}


def json_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def clinical_camel():
    for row in json_lines(DATA / "clinical_camel_step_exams.jsonl"):
        text = re.sub(r"[^\S\n]+$", "", row["text"], flags=re.M)
        if all(line.startswith(" ") for line in text.split("\n")[1:] if line):
            text = text.replace("\n ", "\n")
        stem, marks = re.split(r"^ *\(A\) ", text, maxsplit=1, flags=re.M), None
        marks = re.split(r"^ *\(([B-I])\) ", stem[1], flags=re.M)
        options = [("A", marks[0])] + list(zip(marks[1::2], marks[2::2]))
        options = [(letter, " ".join(text.split())) for letter, text in options]
        step = {"one": "1", "two": "2", "three": "3", None: None}[row["category"]]
        answer = row["answer"].strip()[1]
        yield question(str(row["question_id"]), step, stem[0].strip(), options, answer,
                       "clinical-camel")


def usmle_2023():
    for step in "123":
        for row in json.loads((DATA / f"usmle_2023/step{step}_questions.json").read_text()):
            yield question(f"step{step}/{row['question_number']}", step, row["question"],
                           row["choices"].items(), row["correct_answer"], "usmle-2023")


def medqa():
    steps = {"step1": "1", "step2&3": "2&3"}
    for index, row in enumerate(json_lines(DATA / "medqa_usmle_test.jsonl")):
        yield question(f"medqa/{index:04}", steps[row["meta_info"]], row["question"],
                       row["options"].items(), row["answer_idx"], "medqa")


def mmlu():
    with open(DATA / "mmlu_professional_medicine_test.csv", newline="", encoding="utf-8") as file:
        for index, (text, *options, answer) in enumerate(csv.reader(file)):
            yield question(f"mmlu/{index:04}", None, text, zip("ABCD", options), answer, "mmlu")


def part(rows):
    answers = collections.Counter(row["answer"] for row in rows)
    counts = collections.Counter(len(row["options"]) for row in rows)
    best = max(sorted(answers), key=answers.get)
    longest = 0
    for row in rows:
        lengths = [len(option["text"]) for option in row["options"]]
        longest += row["options"][lengths.index(max(lengths))]["letter"] == row["answer"]
    return {
        "total": len(rows),
        "option_counts": {str(key): counts[key] for key in sorted(counts)},
        "answers": {key: answers[key] for key in sorted(answers)},
        "uniform": sum(1 / len(row["options"]) for row in rows) / len(rows),
        "best_constant": [best, answers[best] / len(rows)],
        "longest_option": longest / len(rows),
    }


def facts(path, rows):
    rows = list(rows)
    dump = lambda row: json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"
    canonical = "".join(map(dump, rows))
    parts = {"all": part(rows)}
    for step in ("1", "2", "3", "2&3", None):
        of_step = [row for row in rows if row["step"] == step]
        if of_step:
            parts[step or "none"] = part(of_step)
    return {"path": path, "sha256": hashlib.sha256(canonical.encode()).hexdigest(), "parts": parts}


if __name__ == "__main__":
    exams = [
        facts("exams/clinical_camel_step_exams.jsonl", clinical_camel()),
        facts("exams/usmle_2023", usmle_2023()),
        facts("exams/medqa_usmle_test.jsonl", medqa()),
        facts("exams/mmlu_professional_medicine_test.csv", mmlu()),
    ]
    made = {"made_by": "golden/make/exams.py, standard library", "exams": exams}
    (ROOT / "golden/exams/real.json").write_text(json.dumps(made, indent=1) + "\n")
