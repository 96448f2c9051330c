"""Networks in LLM.int8() as transformers and bitsandbytes compute them on the CPU.

Makes golden/quant/network.json: logits of small networks with weights by hash (see llama_logits.py;
norms in the blocks times 4, so that there are outliers), in evaluation and with the int8 layers in
training mode. Makes golden/quant/saved/: what `save_pretrained` writes of one of them with
`llm_int8_skip_modules`, and PyTorch files as bitsandbytes 0.38 and 0.41 wrote them. Where the real
checkpoint is there, golden/quant/stories260k.safetensors (4,096 requests of random tokens by
hash: log-probability of a random token, the two largest logits, their distance, and the bounds
of int8_network_lib.py) and golden/quant/stories260k.scores.json (texts written for this project).

Run: python golden/make/int8_network.py, with MEDHARNESS_SHARED or ../shared/data for the checkpoint.
Versions: torch 2.13.0, transformers 5.23.0, bitsandbytes 0.50.2. Needs AVX-512 (torch._int_mm exact).
"""

import json
import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import int8_network_lib as lib
import llama_logits
import torch
from safetensors.torch import load_file, save_file

OUT = llama_logits.ROOT / "golden" / "quant"
NAMES = ["plain", "grouped", "tied", "qwen-biased", "all-biased", "odd-sizes", "wide-heads"]


def wide(name):
    """The network of llama_logits.py with wide norms in front of the linear layers."""
    changes = llama_logits.CONFIGS[name]
    config = {k: v for k, v in {**llama_logits.BASE, **changes}.items() if not (k == "rope_theta" and v is None)}
    model = llama_logits.build(name, config)
    for key, value in model.state_dict().items():
        if "layernorm" in key:
            value.mul_(4.0)
    return model


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].float()


def cached(model, ids, prompt):
    """The prompt in one call, then token by token, as generate() does: logits of each call's end."""
    with torch.no_grad():
        out = model(torch.tensor([ids[:prompt]]), use_cache=True)
        rows = [out.logits[0, -1]]
        for token in ids[prompt:]:
            out = model(torch.tensor([[token]]), past_key_values=out.past_key_values, use_cache=True)
            rows.append(out.logits[0, -1])
    return torch.stack(rows).float()


def networks():
    result = {"shows": "logits in LLM.int8(): all positions of one call, at the end of cached calls, in training mode", "source": lib.VERSIONS, "networks": {}}
    for name in NAMES:
        cases = []
        with tempfile.TemporaryDirectory() as folder:
            wide(name).save_pretrained(folder)
            model = lib.load_in_8bit(folder)
            vocab = model.config.vocab_size
            for length in [1, 7, 40]:
                ids = llama_logits.tokens(name, length, vocab)
                case = {"ids": ids, "eval": llama_logits.rows(logits(model, ids)[-3:])}
                if length == 7:
                    case["cached_from"] = 4
                    case["cached"] = llama_logits.rows(cached(model, ids, 4))
                for module in lib.int8_modules(model):
                    module.train()
                case["train"] = llama_logits.rows(logits(model, ids)[-1:])
                model.eval()
                cases.append(case)
            if name == "all-biased":
                saved(folder)
        result["networks"][name] = cases
    (OUT / "network.json").write_text(json.dumps(result) + "\n")


def saved(folder):
    """Int8 checkpoints of one network on the disk, and its logits as transformers loads them."""
    out = OUT / "saved"
    shutil.rmtree(out, ignore_errors=True)
    skip = ["o_proj", "model.layers.1.mlp.down_proj", "lm_head"]
    model = lib.load_in_8bit(folder, torch.float16, llm_int8_skip_modules=skip, llm_int8_threshold=4.0)
    model.save_pretrained(out / "skip")
    (out / "skip" / "generation_config.json").unlink(missing_ok=True)
    # Activations in f32, as this project has them; every float stored is in half precision.
    model = lib.transformers.AutoModelForCausalLM.from_pretrained(out / "skip", device_map="cpu", dtype=torch.float32).eval()
    assert model.model.layers[0].mlp.up_proj.state.threshold == 4.0
    for parameter in model.parameters():
        if parameter.dtype == torch.float16:  # transformers leaves what it was told to skip as it is
            parameter.data = parameter.data.float()
    ids = llama_logits.tokens("saved", 9, model.config.vocab_size)
    golden = {"source": lib.VERSIONS, "ids": ids, "eval": llama_logits.rows(logits(model, ids)[-1:])}
    (out / "logits.json").write_text(json.dumps(golden) + "\n")
    tensors = load_file(out / "skip" / "model.safetensors")
    config = json.loads((out / "skip" / "config.json").read_text())
    # The fields of April 2023: no quant_method, no number formats of 4 bit.
    for name, form, keep in [("bin-0.38", None, ["load_in_8bit", "llm_int8_threshold", "llm_int8_skip_modules"]),
                             ("bin-0.41", "row", ["load_in_8bit", "load_in_4bit", "llm_int8_threshold", "llm_int8_skip_modules", "llm_int8_has_fp16_weight"])]:
        state = {k: v for k, v in tensors.items() if not k.endswith("weight_format")}
        for key in [k for k in tensors if k.endswith("weight_format")]:
            if form is None:
                state[key.replace("weight_format", "SCB")] = state[key.replace("weight_format", "SCB")].half()
            else:
                state[key] = form
        target = out / name
        target.mkdir()
        torch.save(state, target / "pytorch_model.bin")
        old = {**config, "quantization_config": {k: config["quantization_config"][k] for k in keep}}
        (target / "config.json").write_text(json.dumps(old, indent=1) + "\n")


TEXTS = [
    ("Once upon a time there was a", [" little", " dog", " girl who liked to play"]),
    ("The nurse gave the boy a", [" big hug", " red", " cup of warm milk"]),
    ("Mia was sick, so the doctor", [" said", " came to see her", " was sad"]),
    ("Is it safe to eat the berries? The answer is", [" yes", " no", " A", " B"]),
    ("Tom has a cold.", [" He is sad.", " Mom gives him tea.", " \n"]),
    ("A", [" dog", " man and a woman"]),
]


def stories():
    folder = llama_logits.SHARED / "checkpoints" / "stories260k"
    if not folder.is_dir():
        print("SKIPPED stories260k: no real data")
        return
    model = lib.load_in_8bit(folder)
    columns = {k: [] for k in ["log_prob", "log_prob_worst", "log_prob_probable", "first", "second", "margin", "margin_worst", "margin_probable"]}
    for i in range(4096):
        length = 1 + llama_logits.tokens(f"length/{i}", 1, 16)[0]
        ids = llama_logits.tokens(f"request/{i}", length, 512)
        target = llama_logits.tokens(f"target/{i}", 1, 512)[0]
        order = []

        def margin(row):
            order[:] = torch.sort(row.detach(), descending=True, stable=True).indices[:2].tolist()
            return row[order[0]] - row[order[1]]

        _, (scored, apart) = lib.run(model, ids, [lambda row: torch.log_softmax(row.double(), 0)[target], margin])
        for key, value in zip(columns, [*scored, *order, *apart]):
            columns[key].append(value)
    tensors = {k: torch.tensor(v, dtype=torch.int32 if k in ("first", "second") else torch.float32) for k, v in columns.items()}
    about = f"golden/make/int8_network.py, torch {lib.VERSIONS['torch']}, transformers {lib.VERSIONS['transformers']}, bitsandbytes {lib.VERSIONS['bitsandbytes']}"
    save_file(tensors, OUT / "stories260k.safetensors", {"about": about})

    tokenizer = lib.transformers.AutoTokenizer.from_pretrained(folder)
    requests = []
    for context, continuations in TEXTS:
        for continuation in continuations:
            # As lm-eval splits a pair: the whole is encoded, the context's length cuts it.
            whole = tokenizer.encode(context + continuation)
            at = len(tokenizer.encode(context))
            log_probs = torch.log_softmax(logits(model, whole[:-1]).double(), 1)
            rows = log_probs[at - 1 :]
            picked = rows.gather(1, torch.tensor(whole[at:])[:, None])
            requests.append({
                "context": context, "continuation": continuation, "ids": whole, "context_len": at,
                "log_prob": float(picked.sum()), "is_greedy": rows.argmax(1).tolist() == whole[at:],
            })
    golden = {"shows": "scores of stories260k in LLM.int8(), each in one call", "source": lib.VERSIONS, "requests": requests}
    (OUT / "stories260k.scores.json").write_text(json.dumps(golden, indent=1) + "\n")


networks()
stories()
