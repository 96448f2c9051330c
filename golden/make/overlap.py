"""Makes golden/corpus/overlap.json: overlap of two real exams, by brute force.

Each question of the 2023 sample exams is held against the rows that Clinical Camel's file makes as
training data (66 of them are known twins), pair by pair with sets and plain loops: nothing is
indexed as in src/corpus/overlap. No exam text is written.

Python 3.11 or later, standard library only.

    python golden/make/overlap.py        # real data from $MEDHARNESS_SHARED or ../shared/data
"""

import collections
import json
import unicodedata

import exams

COMMON = 10
NEAR = 0.5
NO_WIDTH = dict.fromkeys([0xAD, 0x2060, 0xFEFF, *range(0x200B, 0x2010)])
LEVELS = ["clean", "touched", "overlapping", "copied"]


def words(text):
    text = unicodedata.normalize("NFKC", text.translate(NO_WIDTH)).lower()
    text = unicodedata.normalize("NFKC", text)
    return "".join(c if c.isalnum() else " " for c in text).split()


def grams(words, n):
    return [tuple(words[i:i + n]) for i in range(len(words) - n + 1)]


def longest_run(a, b):
    best, before = 0, {}
    for word in a:
        now = {}
        for j, other in enumerate(b):
            if word == other:
                now[j] = before.get(j - 1, 0) + 1
                best = max(best, now[j])
        before = now
    return best


def jaccard(a, b):
    return len(a & b) / len(a | b) if a and b else 0.0


def has(row, part):
    return bool(part) and any(row[i:i + len(part)] == part for i in range(len(row)))


def main():
    items = []
    for row in exams.usmle_2023():
        parts = [words(row["question"])] + [words(option["text"]) for option in row["options"]]
        shingles = [set(grams(part, 5)) for part in parts]
        items.append({"id": row["id"], "parts": parts, "stem": shingles[0],
                      "all": set().union(*shingles), "every": set().union(*shingles)})
    rows = []
    for row in exams.json_lines(exams.DATA / "clinical_camel_step_exams.jsonl"):
        fields = [words("Answer the question."), words(row["text"]), words(row["answer"])]
        texts = fields + [sum(fields, [])]
        rows.append({"fields": fields, "whole": texts[-1], "texts": [set(grams(t, 5)) for t in texts]})
    holders = collections.Counter(gram for item in items for gram in item["all"])
    phrases = {gram for gram, count in holders.items() if count > COMMON}
    for item in items:
        item["stem"], item["all"] = item["stem"] - phrases, item["all"] - phrases
    for row in rows:
        row["touch"] = row["texts"][-1]
        row["texts"] = [text - phrases for text in row["texts"]]
    for n in (8, 13):
        holders = collections.Counter()
        for item in items:
            holders.update({gram for part in item["parts"] for gram in grams(part, n)})
        for item in items:
            own = [gram for part in item["parts"] for gram in grams(part, n)]
            item[n] = [gram for gram in own if holders[gram] <= COMMON]
        for row in rows:
            row[n] = set(grams(row["whole"], n))
    stems = collections.Counter(tuple(item["parts"][0]) for item in items)
    found = []
    for item in items:
        stem, options = item["parts"][0], [part for part in item["parts"][1:] if part]
        own = stems[tuple(stem)] == 1
        near = longest = copies = overlapping = level = 0
        for row in rows:
            similar = max(max(jaccard(text, item["stem"]), jaccard(text, item["all"]))
                          for text in row["texts"])
            near = max(near, similar)
            if item["every"] & row["touch"]:
                longest = max([longest] + [longest_run(part, row["whole"]) for part in item["parts"]])
            copy = (own and (stem in row["fields"] or len(stem) >= 8 and has(row["whole"], stem))
                    or bool(options) and has(row["whole"], stem)
                    and all(has(row["whole"], part) for part in options))
            long, short = (any(gram in row[n] for gram in item[n]) for n in (13, 8))
            here = 3 if copy else 2 if long or similar >= NEAR else 1 if short else 0
            copies, overlapping = copies + copy, overlapping + (here >= 2)
            level = max(level, here)
        counts = []
        for n in (13, 8):
            counts += [len(item[n]), sum(any(gram in row[n] for row in rows) for gram in item[n])]
        found.append([item["id"], LEVELS[level], copies, overlapping, *counts,
                      longest if longest >= 5 else 0, near])
    out = exams.ROOT / "golden" / "corpus"
    out.mkdir(exist_ok=True)
    head = {"shows": "overlap of the 2023 exams with Clinical Camel's questions as training rows",
            "columns": ["id", "level", "copies", "rows", "grams_13", "grams_13_found", "grams_8",
                        "grams_8_found", "longest_run", "jaccard"]}
    lines = ",\n    ".join(json.dumps(row) for row in found)
    text = json.dumps(head, indent=2)[:-2] + ',\n  "items": [\n    ' + lines + "\n  ]\n}\n"
    (out / "overlap.json").write_text(text)
    print(collections.Counter(row[1] for row in found), sum(row[9] >= 0.5 for row in found))


if __name__ == "__main__":
    main()
