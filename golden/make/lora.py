"""Adapters, forward, gradients, merge and initialisation of PEFT on a tiny LLaMA.

Makes golden/lora/NAME/ (adapter_config.json and adapter_model.safetensors as PEFT saves them) and
golden/lora/NAME.safetensors: layer 0's q_proj under the adapter: input, output, its gradients, the
merged and the unmerged weight; and every A as PEFT initialises it for seed 0. The base is
golden/quant/checkpoint in f32. Run: python golden/make/lora.py     Versions: torch 2.13.0, peft 0.21.2,
transformers 5.23.0.
"""

import shutil
from pathlib import Path

import peft
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

GOLDEN = Path(__file__).resolve().parents[1]
CASES = {
    "plain": dict(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj"]),
    "rslora": dict(r=4, lora_alpha=8, use_rslora=True, target_modules=["q_proj"]),
    "patterns": dict(
        r=2, lora_alpha=4, target_modules=r"model\.layers\.\d+\.(self_attn\.(q|k)_proj|mlp\.down_proj)",
        rank_pattern={"down_proj": 5, "layers.0.self_attn.k_proj": 1}, alpha_pattern={"q_proj": 7},
    ),
    "all-linear": dict(r=2, lora_alpha=2, target_modules="all-linear"),
    "one-layer": dict(r=2, lora_alpha=2, target_modules=["q_proj", "up_proj"], layers_to_transform=[1]),
}
for case, settings in CASES.items():
    base = AutoModelForCausalLM.from_pretrained(GOLDEN / "quant" / "checkpoint", dtype=torch.float32)
    torch.manual_seed(0)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **settings))
    tensors = {}
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            tensors["init." + name.replace(".default", "")] = parameter.detach().clone()
    g = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.uniform_(-0.2, 0.2, generator=g)
    shutil.rmtree(GOLDEN / "lora" / case, ignore_errors=True)
    # The order of a set differs between runs: sorted for the file.
    config = model.peft_config["default"]
    if isinstance(config.target_modules, set):
        config.target_modules = sorted(config.target_modules)
    config.base_model_name_or_path = "tiny"
    model.save_pretrained(GOLDEN / "lora" / case)
    (GOLDEN / "lora" / case / "README.md").unlink(missing_ok=True)
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    x = torch.randn(5, 24, generator=g).requires_grad_()
    y = layer(x)
    dy = torch.randn(y.shape, generator=g)
    y.backward(dy)
    tensors |= {"x": x.detach(), "y": y.detach(), "grad_y": dy, "grad_x": x.grad}
    if hasattr(layer, "lora_A"):
        tensors |= {"grad_a": layer.lora_A["default"].weight.grad, "grad_b": layer.lora_B["default"].weight.grad}
        tensors["weight"] = layer.base_layer.weight.detach().clone()
        tensors["bias"] = layer.base_layer.bias.detach().clone()
        layer.merge(safe_merge=True)
        tensors["merged"] = layer.base_layer.weight.detach().clone()
        layer.unmerge()
        tensors["unmerged"] = layer.base_layer.weight.detach().clone()
    about = f"golden/make/lora.py, torch {torch.__version__.split('+')[0]}, peft {peft.__version__}, seeds 0 and 3"
    save_file({k: v.contiguous() for k, v in tensors.items()}, GOLDEN / "lora" / f"{case}.safetensors", {"about": about})
