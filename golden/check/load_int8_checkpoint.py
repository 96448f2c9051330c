"""Loads an int8 checkpoint with the real transformers and bitsandbytes and compares every code.

Run: python golden/check/load_int8_checkpoint.py INT8_DIR FLOAT_DIR
INT8_DIR is what `medharness quantize` wrote from FLOAT_DIR. transformers loads INT8_DIR as it is,
and FLOAT_DIR with load_in_8bit; codes and scales of all modules must be identical, and so must the
logits of 32 tokens. Ends with 1 where they are not. Versions: golden/make/requirements.txt.
"""

import sys

import bitsandbytes as bnb
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

ours = AutoModelForCausalLM.from_pretrained(sys.argv[1], device_map="cpu", dtype="auto")
theirs = AutoModelForCausalLM.from_pretrained(
    sys.argv[2], device_map="cpu", dtype="auto", quantization_config=BitsAndBytesConfig(load_in_8bit=True)
)
modules, differ = 0, []
for (name, a), (_, b) in zip(ours.named_modules(), theirs.named_modules(), strict=True):
    assert isinstance(a, bnb.nn.Linear8bitLt) == isinstance(b, bnb.nn.Linear8bitLt), name
    if isinstance(a, bnb.nn.Linear8bitLt):
        modules += 1
        a, b = [(m.weight.data, m.weight.SCB) for m in (a, b)]
        if not all(torch.equal(x, y) for x, y in zip(a, b)):
            differ.append(name)
ids = (torch.arange(32) * 7 % ours.config.vocab_size)[None]
with torch.no_grad():
    same = torch.equal(ours.eval()(ids).logits, theirs.eval()(ids).logits)
print(f"{modules} int8 modules, {len(differ)} differ {differ[:5]}, logits {'identical' if same else 'DIFFER'}")
sys.exit(0 if modules and not differ and same else 1)
