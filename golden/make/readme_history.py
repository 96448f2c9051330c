"""Makes golden/paper/readme_history.toml from a clone of github.com/kbressem/medAlpaca.

Run:  MEDALPACA_CLONE=PATH python golden/make/readme_history.py      (full history; made at 63448c5)
Without the clone it changes nothing and says so.

Takes every commit of README.md whose benchmark table holds a number and differs from the state
before, and the two tables of eval/eval_models.ipynb at 47a979e. Numbers are kept as printed,
without the emphasis around them.
"""

import json
import os
import re
import subprocess
from pathlib import Path

OUT = Path(__file__).resolve().parents[1] / "paper" / "readme_history.toml"
OLD = ("inferer or a model's own script, first answer, answer.startswith(gold letter), items with images "
       "excluded: 92, 110, 124 questions (eval/eval_models.ipynb at 47a979e)")
MIXED = ("rows changed since 2023-04-03 presumably by eval/eval_usmle.py at 05fa7d5: temperature 0.4, top-k 50, "
         "top-p 0.9, up to 5 attempts, question 1 never asked; unchanged rows as before")


def git(*args):
    return subprocess.run(["git", "-C", os.environ["MEDALPACA_CLONE"], *args], check=True, capture_output=True, text=True).stdout


def rows(table):
    found = []
    for line in table.splitlines():
        cells = [c.strip() for c in line.strip().rstrip("+").strip("|").split("|")]
        if len(cells) == 4 and re.fullmatch(r"\**(0\.\d+|nan|TBA)\**", cells[1]):
            name = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", cells[0]).replace(" (weights)", "")
            name = re.sub(r" \((still training|7b)\)", "", name)
            found.append((name.strip(), [c.strip("*") for c in cells[1:]]))
    return found


def state(commit, place, protocol, change, table):
    date = git("show", "-s", "--format=%cI", commit).strip()
    lines = "".join(f"    [{json.dumps(m)}, {json.dumps(v)}],\n" for m, v in table)
    return (f"[[state]]\ncommit = \"{commit}\"\ndate = \"{date}\"\nwhere = \"{place}\"\n"
            f"protocol = {json.dumps(protocol)}\nchange = {json.dumps(change)}\nrows = [\n{lines}]\n")


def change(before, now):
    old, new = dict(before), dict(now)
    added = [m for m in new if m not in old]
    moved = [m for m in new if m in old and new[m] != old[m]]
    if not before:
        return "first table with numbers"
    parts = []
    if added:
        parts.append("added " + ", ".join(added))
    if moved:
        parts.append("changed " + ", ".join(moved))
    gone = [m for m in old if m not in new]
    if gone:
        parts.append("gone " + ", ".join(gone))
    return "; ".join(parts) or "rows put in another order"


def main():
    if "MEDALPACA_CLONE" not in os.environ:
        print("skipped: MEDALPACA_CLONE names no clone of kbressem/medAlpaca")
        return
    states = []
    notebook = json.loads(git("show", "47a979e:eval/eval_models.ipynb"))
    printed = [("".join(o.get("text", [])), "computed and printed by the notebook")
               for c in notebook["cells"] for o in c.get("outputs", [])]
    written = [("".join(c["source"]), "written by hand below it") for c in notebook["cells"]]
    for text, how in printed + written:
        if "| Model" in text and rows(text):
            states.append(state("47a979e", "eval/eval_models.ipynb", OLD, how, rows(text)))
    before = []
    for commit in git("log", "--reverse", "--format=%h", "--", "README.md").split():
        readme = git("show", f"{commit}:README.md")
        table = rows(readme)
        if table and table != before:
            late = dict(table).get("LLaMA 7b", [""])[0] == "0.198"
            states.append(state(commit, "README.md", MIXED if late else OLD, change(before, table), table))
            before = table
    OUT.write_text("# States of MedAlpaca's benchmark table, oldest first, digits as printed.\n"
                   "# Made by golden/make/readme_history.py from kbressem/medAlpaca (history up to 63448c5).\n\n"
                   + "\n".join(states))


if __name__ == "__main__":
    main()
