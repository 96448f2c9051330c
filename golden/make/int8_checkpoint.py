"""A tiny LLaMA checkpoint and the int8 checkpoint that transformers makes of it.

Makes golden/quant/checkpoint/ (config.json, model.safetensors in bf16) and
golden/quant/checkpoint.int8.json: each tensor that `save_pretrained` writes after
`from_pretrained(load_in_8bit)` on the CPU, with dtype, shape and sha256, and its
`quantization_config`. Seed 9. Run: python golden/make/int8_checkpoint.py
Versions: torch 2.13.0, transformers 5.23.0, bitsandbytes 0.50.2.
"""

import hashlib
import json
import tempfile
from pathlib import Path

import bitsandbytes
import torch
import transformers
from safetensors import safe_open
from transformers import BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

OUT = Path(__file__).resolve().parents[1] / "quant"
MODEL = OUT / "checkpoint"
config = LlamaConfig(
    vocab_size=40, hidden_size=24, intermediate_size=36, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=32, tie_word_embeddings=False, attention_bias=True,
    bos_token_id=1, eos_token_id=2,
)
torch.manual_seed(9)
model = LlamaForCausalLM(config)
with torch.no_grad():
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.uniform_(-0.1, 0.1)
model.to(torch.bfloat16).save_pretrained(MODEL)
(MODEL / "generation_config.json").unlink(missing_ok=True)

int8 = LlamaForCausalLM.from_pretrained(
    MODEL, quantization_config=BitsAndBytesConfig(load_in_8bit=True), device_map="cpu", dtype="auto"
)
with tempfile.TemporaryDirectory() as folder:
    int8.save_pretrained(folder)
    tensors = {}
    with safe_open(Path(folder) / "model.safetensors", "pt") as file:
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            dtype = str(tensor.dtype).removeprefix("torch.")
            tensors[name] = {"dtype": dtype, "shape": list(tensor.shape), "sha256": hashlib.sha256(data).hexdigest()}
    saved = json.loads((Path(folder) / "config.json").read_text())
about = f"golden/make/int8_checkpoint.py, torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}, bitsandbytes {bitsandbytes.__version__}, seed 9"
result = {"about": about, "quantization_config": saved["quantization_config"], "tensors": tensors}
(OUT / "checkpoint.int8.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
