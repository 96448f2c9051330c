"""Int8 codes, scales, forward and backward of bitsandbytes' LLM.int8() on the CPU.

Makes golden/quant/weights.safetensors, linear.safetensors, not_finite.safetensors and, where the real
checkpoint is there, golden/quant/stories260k.json (digests only). Run:
python golden/make/quant_int8.py, with MEDHARNESS_SHARED or ../shared/data for the checkpoint.
Versions: torch 2.13.0, bitsandbytes 0.50.2, safetensors 0.8.0. Needs AVX-512 (torch._int_mm exact).
"""

import hashlib
import json
import logging
import os
from pathlib import Path

import bitsandbytes as bnb
import bitsandbytes.functional as F
import torch
from safetensors.torch import load_file, save_file

logging.disable(logging.WARNING)
ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "golden" / "quant"
OUT.mkdir(parents=True, exist_ok=True)
ABOUT = {"made_by": "golden/make/quant_int8.py", "versions": f"torch {torch.__version__.split('+')[0]}, bitsandbytes {bnb.__version__}"}
# One entry, since the order of several is not fixed.
about = lambda seed: {"about": f"{ABOUT['made_by']}, {ABOUT['versions']}, {seed}"}
assert torch.backends.cpu.get_cpu_capability() == "AVX512"


def quantize(weight):
    codes, scales, _ = F.int8_vectorwise_quant(weight.to(torch.float16))
    return codes, scales


def weights():
    g = torch.Generator().manual_seed(1)
    normal = torch.randn(33, 70, generator=g)
    subnormal = torch.randn(9, 40, generator=g) * 1e-6
    subnormal[3] *= 1e-2  # mostly below the smallest half, 2^-24
    subnormal[4] = 2.0**-24
    subnormal[5] = 2.0**-25  # a tie: becomes zero
    subnormal[6] = 2.0**-25 * 1.0001
    extreme = torch.randn(6, 31, generator=g)
    extreme[0, 3], extreme[1, 4] = 65504.0, -65504.0
    extreme[2] = 65504.0
    extreme[3, 0] = 65519.99  # the largest that still rounds to 65504
    zeros = torch.randn(5, 20, generator=g)
    zeros[0], zeros[3] = 0.0, -0.0
    zeros[4, 1:] = 0.0
    # The row's largest value is 127: each half is a tie.
    ties = torch.arange(-127, 127, dtype=torch.float32) + 0.5
    ties = torch.stack([ties, ties.flip(0), ties / 2, ties / 254])
    ties[:, 0] = torch.tensor([127.0, -127.0, 63.5, 0.5])
    wide = torch.randn(2, 4099, generator=g) * torch.logspace(-6, 3, 4099)
    cases = {
        "001-normal": normal,
        "002-zero-rows": zeros,
        "003-subnormal-halves": subnormal,
        "004-largest-halves": extreme,
        "005-ties": ties,
        "006-nine-decades": wide,
        "007-one-column": torch.randn(4, 1, generator=g),
        "008-bf16-values": torch.randn(5, 64, generator=g).to(torch.bfloat16).float() * 100,
    }
    tensors = {}
    for name, weight in cases.items():
        codes, scales = quantize(weight)
        # The module's own conversion gives the same.
        module = bnb.nn.Linear8bitLt(weight.shape[1], weight.shape[0], bias=False, has_fp16_weights=False)
        module.load_state_dict({"weight": weight})
        module = module.to("cpu")
        assert torch.equal(module.weight.CB, codes) and torch.equal(module.weight.SCB, scales), name
        tensors |= {f"{name}.weight": weight, f"{name}.codes": codes, f"{name}.scales": scales}
    save_file(tensors, OUT / "weights.safetensors", about("seed 1"))


def linear():
    """Each case: x, weight, bias, then what the module makes of them in eval and in train mode."""
    tensors = {}
    dtypes = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
    shapes = [
        # name, tokens, inputs, outputs, outlier columns, bias
        ("001-no-outliers", 5, 70, 33, 0, False),
        ("002-one-outlier-column", 6, 70, 33, 1, False),
        ("003-three-outlier-columns-and-bias", 6, 70, 33, 3, True),
        ("004-one-token-with-outliers", 1, 70, 33, 2, False),
        ("005-many-outlier-columns", 7, 96, 40, 64, True),
        ("006-zero-and-tiny-tokens", 4, 33, 17, 0, False),
        ("007-one-outlier-among-zeros", 3, 20, 9, 1, False),
        ("008-wide", 3, 2050, 9, 8, False),
    ]
    for seed, (name, tokens, inputs, outputs, columns, bias) in enumerate(shapes):
        for short, dtype in dtypes.items():
            g = torch.Generator().manual_seed(100 + seed)
            x = torch.randn(tokens, inputs, generator=g)
            chosen = torch.randperm(inputs, generator=g)[:columns]
            for at, column in enumerate(chosen):
                x[at % tokens, column] = 6.0 + 10 * torch.rand(1, generator=g).item()
            if name.startswith("001"):
                x = x.clamp(-5.9, 5.9)
                x[0, 0] = 5.998  # rounds to 5.9961 in half: no outlier
            if name.startswith("002"):
                x[2, chosen[0]] = -6.0  # exactly at the threshold: an outlier
            if name.startswith("006"):
                x[0] = 0.0
                x[1] *= 1e-7
                x[2] *= 1e-4
            if name.startswith("007"):
                keep = x[0, chosen[0]].item()
                x[:] = 0.0
                x[0, chosen[0]] = keep
            x = x.to(dtype)
            weight = torch.randn(outputs, inputs, generator=g) * 0.05
            module = bnb.nn.Linear8bitLt(inputs, outputs, bias=bias, has_fp16_weights=False, threshold=6.0)
            state = {"weight": weight}
            if bias:
                state["bias"] = torch.randn(outputs, generator=g).to(dtype).float()
            module.load_state_dict(state)
            module = module.to("cpu")
            if bias:
                module.bias.data = module.bias.data.to(dtype)
            grad = torch.randn(tokens, outputs, generator=g).to(dtype)
            key = f"{name}.{short}"
            tensors[f"{key}.x"] = x
            tensors[f"{key}.grad"] = grad
            if short == "f32":
                tensors[f"{name}.weight"] = weight
            if bias:
                tensors[f"{key}.bias"] = module.bias.data.clone()
            for mode in ["eval", "train"]:
                module.train(mode == "train")
                leaf = x.clone().requires_grad_()
                y = module(leaf)
                assert y.dtype == dtype
                y.backward(grad)
                tensors[f"{key}.{mode}.y"] = y.detach()
                tensors[f"{key}.{mode}.grad_x"] = leaf.grad
            ca, sca, cols = F.int8_vectorwise_quant(x.to(torch.float16), threshold=6.0)
            tensors[f"{key}.codes"], tensors[f"{key}.row_scales"] = ca, sca
            tensors[f"{key}.outliers"] = cols.to(torch.int32)
    save_file({k: v.contiguous() for k, v in tensors.items()}, OUT / "linear.safetensors", about("seeds 100 + case, from 0"))


def not_finite():
    """NaN, infinity and what is infinite in half precision, beside an ordinary token."""
    weight = torch.tensor([[1.0, 2, 3, 4], [4, 3, 0, 1], [0, 0, 0, 0]])
    tensors = {"weight": weight}
    for threshold in [6.0, 0.0]:
        module = bnb.nn.Linear8bitLt(4, 3, bias=False, has_fp16_weights=False, threshold=threshold)
        module.load_state_dict({"weight": weight})
        module = module.to("cpu").eval()
        for name, value in {"nan": float("nan"), "infinity": float("inf"), "minus": -float("inf"), "large": 1e6}.items():
            if threshold == 0.0 and name != "nan":
                continue  # the code of an infinite number is undefined
            for column in [1, 2]:
                x = torch.tensor([[1.0, 0.5, 2, 3], [1, 1, 1, 1]])
                x[0, column] = value
                tensors[f"{threshold}.{name}.{column}.x"] = x
                with torch.no_grad():
                    tensors[f"{threshold}.{name}.{column}.y"] = module(x)
    save_file(tensors, OUT / "not_finite.safetensors", about("no seed"))


def stories260k():
    shared = Path(os.environ.get("MEDHARNESS_SHARED", ROOT / ".." / "shared" / "data"))
    path = shared / "checkpoints" / "stories260k" / "model.safetensors"
    if not path.exists():
        print("SKIPPED: no", path)
        return
    digests = {}
    for name, weight in sorted(load_file(path).items()):
        if weight.dim() == 2 and "proj" in name:
            codes, scales = quantize(weight)
            digest = lambda t: hashlib.sha256(t.numpy().tobytes()).hexdigest()
            digests[name] = {"codes": digest(codes), "scales": digest(scales)}
    text = json.dumps(ABOUT | {"sha256": digests}, indent=1)
    (OUT / "stories260k.json").write_text(text + "\n")


weights()
linear()
not_finite()
stories260k()
