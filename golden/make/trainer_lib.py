"""What golden/make/trainer.py and trainer_2023.py share: rows, tokens, the small network, recording.

No golden of its own. Works with transformers of 2023 and of today.
"""

import json
import os
import struct
from pathlib import Path

import numpy as np
import sentencepiece
import torch

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("MEDHARNESS_SHARED", ROOT / ".." / "shared" / "data"))
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "vocab_size": 420,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
OPENING = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)


def splitmix64(x):
    """Steele, Lea, Flood 2014; vectorised over uint64."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def fnv1a(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) % 2**64
    return h


def weight(tensor_name, shape):
    """Uniform values by hash, of the size of a fresh network's: matrices within +-0.1, norms 1."""
    if len(shape) == 1:
        return torch.ones(shape)
    start = np.uint64(fnv1a(f"trainer/{tensor_name}"))
    with np.errstate(over="ignore"):
        z = splitmix64(start + np.arange(int(np.prod(shape)), dtype=np.uint64))
    u = (z >> np.uint64(40)).astype(np.float32) / np.float32(2**24) - np.float32(0.5)
    return torch.from_numpy((u * np.float32(0.2)).reshape(shape))


def small_network(config_class, model_class):
    config = config_class(**{k: v for k, v in CONFIG.items() if k not in ("architectures", "model_type")})
    model = model_class(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weight(name, tuple(parameter.shape)))
    return model.float()


def encode(rows, tokenizer, max_length, bos, eos, train_on_inputs):
    """Ids and labels as MedAlpaca's handler makes them; BOS if asked for, which it has not."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
    found = []
    for place, row in enumerate(rows):
        prompt = (
            f"{OPENING}\n\n### Instruction:\n{row['instruction'] or ''}\n\n### Input:\n{row['input'] or ''}"
            "\n\n### Response:\n"
        )
        first = [1] if bos else []
        ids = (first + processor.encode(prompt + row["output"]))[:max_length]
        if ids[-1] != eos and len(ids) < max_length:
            ids.append(eos)
        labels = list(ids)
        if not train_on_inputs:
            masked = len((first + processor.encode(prompt))[:max_length])
            labels = [-100 if i < masked else label for i, label in enumerate(ids)]
        found.append({"row": place, "input_ids": ids, "labels": labels})
    return found


class Rows(torch.utils.data.Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        return self.items[place]


class Collate:
    """As DataCollatorForSeq2Seq: padded on the left to a multiple of 8; and says which rows it saw."""

    def __init__(self):
        self.seen = []

    def __call__(self, items):
        width = -(-max(len(item["input_ids"]) for item in items) // 8) * 8
        self.seen.append([item["row"] for item in items])
        pad = [width - len(item["input_ids"]) for item in items]
        return {
            "input_ids": torch.tensor([[0] * p + i["input_ids"] for p, i in zip(pad, items)]),
            "attention_mask": torch.tensor([[0] * p + [1] * len(i["input_ids"]) for p, i in zip(pad, items)]),
            "labels": torch.tensor([[-100] * p + i["labels"] for p, i in zip(pad, items)]),
        }


def digest(values):
    """A number that any change of any element moves: a polynomial over the elements."""
    total = 0
    for value in values:
        total = (total * 1_000_003 + int(value) + 101) % (1 << 61)
    return total


def rate_bits(rate):
    return struct.pack(">d", rate).hex()


def tensors(model, trained_only=True):
    return {
        name.replace(".default", ""): parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or not trained_only
    }


def summary(before, after):
    """For each tensor its norm, its change's norm, and eight elements spread over it."""
    found = {}
    for name, value in after.items():
        flat = value.flatten()
        places = [int(i) for i in np.linspace(0, flat.numel() - 1, 8).astype(int)]
        found[name] = {
            "norm": float(value.norm()),
            "change": float((value - before[name]).norm()),
            "elements": [[place, float(flat[place])] for place in places],
        }
    return found


def split(rows, validation):
    """As datasets' train_test_split with seed 42; checked against it in randomness.py."""
    order = np.random.default_rng(42).permutation(len(rows))
    count = validation if isinstance(validation, int) else int(np.ceil(validation * len(rows)))
    return [rows[i] for i in order[count:]], [rows[i] for i in order[:count]]


def record(trainer, collate, items, before, model):
    """Everything a training said, after trainer.train()."""
    return {
        "tokens": digest(token for item in items for token in item["input_ids"]),
        "labels": digest(label for item in items for label in item["labels"]),
        "lengths": [len(item["input_ids"]) for item in items],
        "micro_batches": collate.train,
        "losses": trainer.losses,
        "rates": [rate_bits(rate) for rate in trainer.rates],
        "norms": trainer.norms,
        "eval_loss": trainer.eval_loss,
        "weights": summary(before, tensors(model)),
    }
