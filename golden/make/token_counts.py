"""Makes golden/corpus/token_counts.json: what a length limit does to real rows, by sentencepiece.

The first 400 rows of medical_meadow_small.json in MedAlpaca's prompt format, encoded with the
original LLaMA model; prompt and answer as one text, EOS where there is room (handler.py at 63448c5).

    /path/with/sentencepiece/python golden/make/token_counts.py      # sentencepiece 0.2
    # real data from $MEDHARNESS_SHARED or ../shared/data
"""

import json
import os
import pathlib

import sentencepiece

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("MEDHARNESS_SHARED", ROOT / "../shared/data"))
ROWS, MAX_LENGTH = 400, 256
PROMPT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)

model = sentencepiece.SentencePieceProcessor(str(DATA / "tokenizers/llama.tokenizer.model"))
counts = dict(rows=ROWS, max_length=MAX_LENGTH, end_token_cut=0, answer_cut=0, fully_masked=0,
              longest=0, total=0)
for row in json.loads((DATA / "training/medical_meadow_small.json").read_text())[:ROWS]:
    prompt = PROMPT.format(**row)
    ids = model.encode(prompt + row["output"])
    given = len(model.encode(prompt))
    if len(ids) > MAX_LENGTH:
        counts["fully_masked" if given >= MAX_LENGTH else "answer_cut"] += 1
    elif len(ids) == MAX_LENGTH:
        counts["end_token_cut"] += 1
    counts["longest"] = max(counts["longest"], len(ids) + 1)
    counts["total"] += len(ids) + 1
(ROOT / "golden/corpus/token_counts.json").write_text(json.dumps(counts, indent=1) + "\n")
