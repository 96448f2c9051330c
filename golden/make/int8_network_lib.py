"""What int8_network.py and golden/check/int8_network.py share: loading in 8 bit, and the bound.

The bound of a number f that a network computes (a log-probability, a difference of logits): with
b_l[t, o] the element-wise bound of src/quant/bound.rs on int8 layer l, output y_l, the straight-through
gradient g_l = df/dy_l of the int8 network, and everything summed over layers, tokens and outputs,

    B(f) = sum |g_l[t, o]| * b_l[t, o].

By the mean value theorem, f of the network whose layers are off by at most b_l each, whatever the
signs, lies within B(f) of f to first order; what is left out is of second order in b. Two
implementations of LLM.int8() are both such networks around the one in floats, so they lie within
2 B(f) of each other; the comparisons here ask for B(f). In place of the float weight |W| its upper
bound |W8| + s/254 is taken, so that no second copy of the weights is needed.
"""

import logging
import os
import warnings

os.environ["OMP_NUM_THREADS"] = "1"
import bitsandbytes as bnb
import torch
import transformers

torch.set_num_threads(1)
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
VERSIONS = {
    "torch": torch.__version__.split("+")[0],
    "transformers": transformers.__version__,
    "bitsandbytes": bnb.__version__,
}
HALF, HALF_LEAST = 2.0**-11, 2.0**-25
SINGLE = 2.0**-24
STEP = 0.5 + 127 * 3 * SINGLE
CONSTANT = 2e-5


def load_in_8bit(folder, dtype=torch.float32, **settings):
    """transformers' own loading; eager attention, evaluation mode."""
    config = transformers.BitsAndBytesConfig(load_in_8bit=True, **settings)
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, device_map="cpu", dtype=dtype, attn_implementation="eager", quantization_config=config
    ).eval()


def int8_modules(model):
    return [m for m in model.modules() if isinstance(m, bnb.nn.Linear8bitLt)]


def layer_bound(module, x):
    """Bounds [t, outputs] on one layer's distance from the product in floats, for its input x."""
    threshold = module.state.threshold
    codes, scale = module.state.CB.float(), module.state.SCB.float()
    w8 = codes * (scale / 127)[:, None]
    weight_error = (scale / 127 * STEP + scale * HALF + HALF_LEAST)[:, None].expand_as(w8)
    size = w8.abs() + weight_error
    x = x.reshape(-1, x.shape[-1]).float()
    half = x.half().float()
    inside = half.abs() < threshold if threshold > 0 else torch.ones_like(half, dtype=torch.bool)
    row = torch.where(inside, half.abs(), torch.zeros_like(half)).amax(1)
    outlier = (~inside).any(0)
    x_abs = x.abs()
    x_in, x_out = x_abs * ~outlier, x_abs * outlier
    input_error = ((row / 127 * STEP)[:, None] + (x - half).abs()) * ~outlier
    error = x_in @ weight_error.T + input_error @ size.T + input_error @ weight_error.T
    error += x_out @ (weight_error + size * 4 * SINGLE).T
    total = (x_abs + input_error) @ size.T
    error += total * (CONSTANT + (x.shape[1] + 8) * 2 * SINGLE)
    bias = module.bias.abs() if module.bias is not None else 0.0
    return error + (2 * total + bias + error) * 3 * SINGLE + HALF_LEAST


def run(model, ids, functions):
    """Runs the network on ids; returns its last logits and, for each function of them, its value
    and its bound B."""
    inputs, hooks = [], []

    def keep(module, arguments, output):
        output.retain_grad()
        inputs.append((module, arguments[0].detach(), output))
        return output

    for module in int8_modules(model):
        hooks.append(module.register_forward_hook(keep))
    embedded = model.get_input_embeddings()(torch.tensor([ids])).detach().requires_grad_()
    logits = model(inputs_embeds=embedded, use_cache=False).logits[0, -1].float()
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        bounds = [layer_bound(module, x) for module, x, _ in inputs]
    results = []
    for function in functions:
        value = function(logits)
        for _, _, output in inputs:
            output.grad = None
        value.backward(retain_graph=True)
        grads = [output.grad.reshape(-1, output.shape[-1]).abs() for _, _, output in inputs]
        results.append((float(value), float(sum((g * b).sum() for g, b in zip(grads, bounds)))))
    return logits.detach(), results
