"""Whole networks under adapters of PEFT: files, logits, gradients, merged weights, initial values.

Makes golden/lora/networks/NAME/: adapter_config.json and the weights as PEFT saves them, and
expected.safetensors: logits of fixed tokens (`logits`), gradients of a weighted sum of the last states
through every trainable parameter (`grad.KEY`), what PEFT initialises for seed 0 (`init.KEY`),
merged weights in f32, f16 and of the 8-bit base (`merged.*`); logits and gradients over the 8-bit base
(`logits.int8`, `grad8.KEY`). Every trained parameter is moved away
from its initial value before anything is saved. The base is golden/quant/checkpoint in f32; for
`stories260k` the real checkpoint in $MEDHARNESS_SHARED, else ../shared/data.
Run: python golden/make/lora_networks.py     Versions: torch 2.13.0, peft 0.21.2, transformers 5.23.0,
bitsandbytes 0.50.2.
"""

import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
import peft
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
GOLDEN = Path(__file__).resolve().parents[1]
OUT = GOLDEN / "lora" / "networks"
TINY = GOLDEN / "quant" / "checkpoint"
SHARED = Path(os.environ.get("MEDHARNESS_SHARED", GOLDEN.parent / ".." / "shared" / "data"))
IDS = torch.tensor([[1, 7, 30, 22, 5, 39, 0, 11], [3, 3, 14, 15, 9, 26, 5, 35]])
Q = "model.layers.0.self_attn.q_proj"

# Of the loss: the cosine of each element's number.
WEIGHTS = torch.cos(torch.arange(16 * 24, dtype=torch.float64)).float().view(2, 8, 24)

CASES = {
    "plain": dict(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj"], lora_dropout=0.3),
    "default-targets": dict(r=2),
    "all-linear": dict(r=2, lora_alpha=5, target_modules="ALL-linear", exclude_modules=".*layers.0.mlp.*"),
    "rslora-gaussian": dict(r=4, lora_alpha=8, use_rslora=True, target_modules=["k_proj"], init_lora_weights="gaussian"),
    "init-false": dict(r=2, target_modules=["o_proj", "down_proj"], init_lora_weights=False),
    "pattern-order": dict(
        r=2, lora_alpha=4, target_modules=["q_proj", "k_proj"],
        rank_pattern={"q_proj": 5, "layers.0.self_attn.q_proj": 3},
        alpha_pattern={r"self_attn\.[qk]_proj": 7, "k_proj": 1},
    ),
    "layers-pattern": dict(r=2, target_modules=["q_proj", "model.layers.0.mlp.up_proj"], layers_to_transform=1, layers_pattern="layers"),
    "bias-all": dict(r=2, target_modules=["q_proj"], bias="all"),
    "bias-lora-only": dict(r=2, target_modules=["q_proj", "o_proj"], bias="lora_only"),
    "dora": dict(r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"], use_dora=True),
    "dora-rslora": dict(r=3, target_modules=["v_proj"], use_dora=True, use_rslora=True),
    "saved-modules": dict(r=2, target_modules=["q_proj"], modules_to_save=["lm_head", "embed_tokens"]),
    "saved-norms": dict(r=2, target_modules=["v_proj"], modules_to_save=["norm"]),
    "saved-block": dict(r=2, target_modules="all-linear", modules_to_save=["mlp"]),
    "embedding": dict(r=2, lora_alpha=6, target_modules=["embed_tokens", "q_proj"]),
    "head": dict(r=2, target_modules=["lm_head", "v_proj"]),
    "resized": dict(r=2, target_modules=["q_proj", "v_proj"]),
    "resized-saved": dict(r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"]),
    "resized-embedding": dict(r=2, target_modules=["embed_tokens", "q_proj"]),
    "bin": dict(r=2, target_modules=["q_proj", "v_proj"]),
    "half": dict(r=2, target_modules=["q_proj", "v_proj"]),
    "tied-embedding": dict(r=2, target_modules=["embed_tokens", "q_proj"]),
    "tied-head": dict(r=2, target_modules=["lm_head", "q_proj"]),
    "tied-saved": dict(r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens"]),
    "of-2023": dict(r=2, lora_alpha=16, target_modules=["q_proj", "v_proj"], lora_dropout=0.05),
}
# With the base in 8 bit as well: without dropout, which train mode would draw, and without DoRA,
# which fails in PEFT over bitsandbytes on the CPU.
EIGHT_BIT = ["default-targets", "all-linear", "stories260k"]
FIELDS_OF_2023 = (
    "base_model_name_or_path bias fan_in_fan_out inference_mode init_lora_weights lora_alpha "
    "lora_dropout modules_to_save peft_type r target_modules task_type"
).split()


def base(case):
    torch.manual_seed(1)
    if case == "stories260k":
        return AutoModelForCausalLM.from_pretrained(SHARED / "checkpoints" / case, dtype=torch.float32, attn_implementation="eager")
    folder = tied() if case.startswith("tied") else TINY
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    if case.startswith("resized"):
        model.resize_token_embeddings(41, mean_resizing=False)
    return model


def tied():
    """The tiny base without its output matrix: the embedding serves as one."""
    folder = Path(tempfile.gettempdir()) / "lora_networks_tied"
    folder.mkdir(exist_ok=True)
    config = json.loads((TINY / "config.json").read_text()) | {"tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(TINY / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def eight_bit(case):
    folder = SHARED / "checkpoints" / case if case == "stories260k" else TINY
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, device_map="cpu", attn_implementation="eager",
        quantization_config=BitsAndBytesConfig(load_in_8bit=True),
    )


def named(model):
    """Trained parameters under the names they are saved by."""
    clean = lambda n: n.replace(".default", "").replace(".modules_to_save", "").replace("magnitude_vector.weight", "magnitude_vector")
    return [(clean(n), p) for n, p in model.named_parameters() if p.requires_grad]


def make(case, settings):
    torch.manual_seed(0)
    wrapped = base(case)
    torch.manual_seed(0)
    model = get_peft_model(wrapped, LoraConfig(task_type="CAUSAL_LM", **settings))
    tensors = {f"init.{n}": p.detach().clone() for n, p in named(model) if "lora_" in n}
    g = torch.Generator().manual_seed(3)
    for name, p in named(model):
        move = torch.rand(p.shape, generator=g) * 2 - 1
        if "magnitude" in name or "norm" in name:
            p.data *= 1 + 0.3 * move
        elif "lora" in name:
            p.data += 0.4 * move
        else:
            p.data += 0.1 * move
    if case == "half":
        model.to(torch.bfloat16)
        for _, p in named(model):
            p.data = p.data.to(torch.bfloat16)
    folder = OUT / case
    shutil.rmtree(folder, ignore_errors=True)
    config = model.peft_config["default"]
    for field in ["target_modules", "exclude_modules", "modules_to_save"]:
        # The order of a set differs between runs: sorted for the file.
        if isinstance(getattr(config, field), (set, list)):
            setattr(config, field, sorted(getattr(config, field)))
    config.base_model_name_or_path = "tiny"
    model.save_pretrained(folder, safe_serialization=case != "bin", save_embedding_layers=True if case.startswith("resized") else "auto")
    if case == "of-2023":
        torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
        (folder / "adapter_model.safetensors").unlink()
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    saved = json.loads(path.read_text())
    if case == "of-2023":
        saved = {k: saved[k] for k in FIELDS_OF_2023}
    if case == "pattern-order":
        # PEFT sorts the patterns when it saves and takes the first match when it loads.
        saved |= {k: settings[k] for k in ["rank_pattern", "alpha_pattern"]}
    path.write_text(json.dumps(saved, indent=2))
    # What a reader of the files gets, which is not always what was trained.
    model = PeftModel.from_pretrained(base(case), folder, is_trainable=True, autocast_adapter_dtype=True)
    if case == "half":
        model = model.float()
    model.eval()
    tensors["logits"] = model(IDS).logits.detach()
    if case != "stories260k":
        states = model.base_model.model.model(IDS).last_hidden_state
        (states * WEIGHTS).sum().backward()
    tensors |= {f"grad.{n}": p.grad for n, p in named(model) if p.grad is not None}
    if case == "stories260k" or case.startswith("tied"):
        # PEFT merges into both places of a tied matrix, which is another network.
        tensors = {"logits": tensors["logits"]}
    else:
        for dtype, label in [(torch.float32, "f32"), (torch.float16, "f16")]:
            if label == "f16" and case.startswith("resized"):
                continue
            again = PeftModel.from_pretrained(base(case).to(dtype), folder)
            merged = again.merge_and_unload(safe_merge=False).state_dict()
            names = merged if label == "f32" else [n for n in merged if n == f"{Q}.weight"]
            plain = base(case).to(dtype).state_dict()
            tensors |= {f"merged.{label}.{n}": merged[n].clone() for n in names if not torch.equal(merged[n], plain[n])}
            if label == "f32" and case in ("plain", "dora"):
                layer = PeftModel.from_pretrained(base(case).to(dtype), folder)
                layer.merge_adapter()
                layer.unmerge_adapter()
                q = layer.base_model.model.model.layers[0].self_attn.q_proj
                tensors["unmerged"] = q.base_layer.weight.detach().clone()
    if case in EIGHT_BIT:
        # Each sequence alone, as outliers are found in a batch together; then gradients in train mode,
        # which on the CPU dequantises the weights.
        model = PeftModel.from_pretrained(eight_bit(case), folder, is_trainable=True).eval()
        with torch.no_grad():
            tensors["logits.int8"] = torch.cat([model(row[None]).logits for row in IDS])
    if case in EIGHT_BIT and case != "stories260k":
        states = model.train().base_model.model.model(IDS).last_hidden_state
        (states * WEIGHTS).sum().backward()
        tensors |= {f"grad8.{n}": p.grad for n, p in named(model)}
    if case in ("plain", "dora"):
        eight = PeftModel.from_pretrained(eight_bit(case), folder).merge_and_unload()
        q = eight.get_submodule(Q)
        tensors |= {"merged.int8.codes": q.weight.data.clone(), "merged.int8.scales": q.weight.SCB.clone()}
    tensors = {k: v.float() if v.dtype == torch.bfloat16 else v for k, v in tensors.items()}
    about = f"golden/make/lora_networks.py, torch {torch.__version__.split('+')[0]}, peft {peft.__version__}, seeds 0 and 3"
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, folder / "expected.safetensors", {"about": about})
    print(case, len(tensors), sorted(load_file(folder / "adapter_model.safetensors"))[:3] if case not in ("bin", "of-2023") else "bin")


for case, settings in CASES.items():
    make(case, settings)
if (SHARED / "checkpoints" / "stories260k").is_dir():
    make("stories260k", dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"]))
else:
    print("SKIPPED stories260k: no real checkpoint")
