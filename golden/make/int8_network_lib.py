"""What int8_network.py and golden/check/int8_network.py share: loading in 8 bit, and the bound.

Two implementations of LLM.int8() have the same codes of the weights, and differ where rounding in f32
puts an activation on the other side of a tie: a code then differs by one. How far apart can a
number f lie that they compute (a log-probability, a difference of logits)? Everything here is to
first order: g = df/dy of each int8 layer's output y is the straight-through gradient.

worst: with b the element-wise bound of src/quant/bound.rs on a layer's distance from the product in
floats, the sum of |g| b over layers, tokens and outputs bounds how far f lies from the network in
floats, all signs conspiring (mean value theorem). In place of the float weight |W| its upper bound
|W8| + s/254 is taken, so that no second copy of the weights is needed.

probable: let e be what an activation's two roundings (in the one implementation and in the other)
differ by, at most a step c = S/127 and twice the rounding to half. f differs by the sum of (g W8) e. If
the e are independent with mean 0, Hoeffding's inequality bounds the probability that this exceeds
t = sqrt(2 ln(2 / p) sum ((g W8) c)^2) by p; p is 0.001 shared out over 4,096 requests.
Source for rounding errors as independent: Higham and Mary 2019, SIAM J. Sci. Comput. 41(5).
"""

import logging
import math
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
# sqrt(2 ln(2 / p)) for p = 0.001 / 4096.
HOEFFDING = (2 * math.log(2 * 4096 / 0.001)) ** 0.5


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


def steps(module, x):
    """What the roundings of each activation can differ by, [t, inputs]; 0 for outlier columns."""
    threshold = module.state.threshold
    x = x.reshape(-1, x.shape[-1]).float()
    half = x.half().float()
    inside = half.abs() < threshold if threshold > 0 else torch.ones_like(half, dtype=torch.bool)
    row = torch.where(inside, half.abs(), torch.zeros_like(half)).amax(1)
    return ((row / 127 * 2 * STEP)[:, None] + 2 * HALF * x.abs()) * inside.all(0)


def run(model, ids, functions, with_worst=True):
    """Runs the network on ids; returns its last logits and, for each function of them, its value
    and its two bounds: worst (0 unless asked for), probable."""
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
        bounds = [layer_bound(module, x) if with_worst else torch.zeros(1) for module, x, _ in inputs]
        apart = [steps(module, x) for module, x, _ in inputs]
    results = []
    for function in functions:
        value = function(logits)
        for _, _, output in inputs:
            output.grad = None
        value.backward(retain_graph=True)
        grads = [output.grad.reshape(-1, output.shape[-1]) for _, _, output in inputs]
        worst = sum((g.abs() * b).sum() for g, b in zip(grads, bounds))
        squares = 0.0
        for (module, _, _), g, c in zip(inputs, grads, apart):
            through = (g * (module.state.SCB.float() / 127)) @ module.state.CB.float()
            squares += float(((through * c) ** 2).sum())
        results.append((float(value), float(worst), HOEFFDING * squares**0.5))
    return logits.detach(), results
