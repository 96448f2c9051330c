"""Maps, codes and updates of bitsandbytes' AdamW8bit, with the midpoint rule of its default backend.

Makes golden/quant/adamw8bit.safetensors: for parameters of 4100 (8-bit) and 300 (f32)
elements, the parameter, codes and absmax after updates 1, 2 and 20; and codes of the midpoint
rule and of the CPU library's table for numbers of many sizes. The CPU optimiser of the package runs
as it is, but for its quantiser: the package's own default kernel stands in for the CPU library's
table. Parameters and gradients are torch's uniform draws from seed 5. Run:
python golden/make/adamw8bit.py     Versions: torch 2.13.0, bitsandbytes 0.50.2.
"""

from pathlib import Path

import bitsandbytes as bnb
import bitsandbytes.functional as F
import torch
from safetensors.torch import save_file

import adamw8bit_lib as lib

OUT = Path(__file__).resolve().parents[1] / "quant" / "adamw8bit.safetensors"

tensors = {
    "map.signed": F.create_dynamic_map(signed=True),
    "map.unsigned": F.create_dynamic_map(signed=False),
}
g = torch.Generator().manual_seed(5)
numbers = torch.randn(1000, generator=g) * torch.logspace(-7, 0, 1000)
numbers[256:512] = 0.0
numbers[600] = -3.0  # the largest magnitude is negative: beyond the signed map
tensors["numbers"] = numbers
for name, code, x in [("signed", "map.signed", numbers), ("unsigned", "map.unsigned", numbers.abs())]:
    codes, absmax = lib.midpoint(x, tensors[code], 256)
    tensors[f"{name}.codes"], tensors[f"{name}.absmax"] = codes, absmax
    codes, absmax = torch.zeros(1000, dtype=torch.uint8), torch.zeros(4)
    lib.library(x, tensors[code], absmax, codes, 256)
    tensors[f"{name}.library_codes"] = codes

lib.use_midpoint_rule()
for size in [4100, 300]:
    g = torch.Generator().manual_seed(5)
    p = torch.nn.Parameter(torch.empty(size).uniform_(-1, 1, generator=g))
    tensors[f"{size}.0.parameter"] = p.detach().clone()
    gradients = torch.empty(4, size).uniform_(-1, 1, generator=g) * torch.logspace(-4, 0, size)
    tensors[f"{size}.gradients"] = gradients
    optimizer = bnb.optim.AdamW8bit([p], lr=1e-2)
    for step in range(1, 21):
        p.grad = gradients[(step - 1) % 4].clone()
        optimizer.step()
        if step in (1, 2, 20):
            tensors[f"{size}.{step}.parameter"] = p.detach().clone()
            state = optimizer.state[p]
            for key in ["state1", "state2", "absmax1", "absmax2"]:
                if key in state:
                    tensors[f"{size}.{step}.{key}"] = state[key].clone()
about = f"golden/make/adamw8bit.py, torch {torch.__version__.split('+')[0]}, bitsandbytes {bnb.__version__}, seed 5"
save_file(tensors, OUT, {"about": about})
