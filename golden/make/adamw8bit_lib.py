"""bitsandbytes' optimizer on the CPU with the midpoint rule of its default backend; for adamw8bit.py and trainer.py.

No golden of its own. The CPU library quantises states through a table of 65,536 entries, other devices
and the package's default kernel by the midpoints between codes.
"""

import importlib

import bitsandbytes._ops
import bitsandbytes.backends.cpu.ops as cpu
import bitsandbytes.backends.default.ops as default

kernels = {}
registering = bitsandbytes._ops.register_kernel
bitsandbytes._ops.register_kernel = lambda name, key: lambda f: kernels.setdefault(name, f)
importlib.reload(default)
bitsandbytes._ops.register_kernel = registering
midpoint = kernels["bitsandbytes::quantize_blockwise"]
library = cpu._quant_blockwise_fp32_direct


def quantize(x, code, absmax_out, codes_out, blocksize):
    codes, absmax = midpoint(x, code, blocksize)
    codes_out.copy_(codes)
    absmax_out.copy_(absmax)


def use_midpoint_rule():
    cpu._quant_blockwise_fp32_direct = quantize
