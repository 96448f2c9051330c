"""Makes golden/tokenizers/learnt.json: merges that the tokenizers library learns.

Texts: the outputs of golden/mini/meadow.jsonl, split into words as src/llama/tokenizer/learn.rs says.
Run: python golden/make/mini_tokenizer.py     Versions: tokenizers 0.23 (see `versions` in the file).
"""

import json
from pathlib import Path

import tokenizers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

GOLDEN = Path(__file__).resolve().parents[1]
OUT = GOLDEN / "tokenizers" / "learnt.json"
MERGES = 600
WORDS = r"▁?\p{Alphabetic}+|▁?[^▁\p{Alphabetic}]|▁"


def main():
    rows = (GOLDEN / "mini" / "meadow.jsonl").read_text().splitlines()
    texts = [json.loads(row)["output"] for row in rows]
    texts = ["▁" + text.replace(" ", "▁") for text in texts]
    alphabet = sorted(set("".join(texts)))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORDS), "isolated")
    size = len(alphabet) + MERGES
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=3, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    golden = {
        "source": "golden/make/mini_tokenizer.py",
        "versions": {"tokenizers": tokenizers.__version__},
        "alphabet": alphabet,
        "merges": model["merges"],
    }
    OUT.write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
