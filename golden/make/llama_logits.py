"""Makes golden/llama/*.config.json, *.logits.json, pickled/, stories260k.logits.json and hostile/.

Logits of small random LLaMA-family networks, computed by transformers in eager f32. The weights
follow from the configuration's name by an integer hash that the test repeats, so none are stored.

Run: python golden/make/llama_logits.py   (torch 2.13.0, transformers 5.23.0, numpy 2.x, CPU)
The real checkpoint is looked for in $MEDHARNESS_SHARED, then in ../shared/data.
"""

import json
import os
import pathlib
import pickle
import shutil
import struct
import warnings
import zipfile

os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np
import torch
import transformers

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "golden" / "llama"
SHARED = pathlib.Path(os.environ.get("MEDHARNESS_SHARED", ROOT / ".." / "shared" / "data"))
VERSIONS = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}

BASE = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "hidden_act": "silu",
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "vocab_size": 61,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
QWEN = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
MISTRAL = {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
CONFIGS = {
    "plain": {},
    "grouped": {"num_attention_heads": 8, "num_key_value_heads": 2},
    "tied": {"tie_word_embeddings": True, "num_key_value_heads": 2},
    "rope-linear": {"rope_scaling": {"type": "linear", "factor": 4.0}},
    "rope-llama3": {"rope_scaling": LLAMA3, "rope_theta": 500000.0},
    "rope-nested": {
        "rope_theta": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    },
    "qwen-biased": {**QWEN, "num_key_value_heads": 2, "sliding_window": 16},
    "all-biased": {"attention_bias": True, "mlp_bias": True},
    "odd-sizes": {
        "hidden_size": 30,
        "intermediate_size": 37,
        "num_attention_heads": 5,
        "num_key_value_heads": 5,
        "vocab_size": 101,
        "num_hidden_layers": 3,
        "rms_norm_eps": 1e-5,
    },
    "wide-heads": {"head_dim": 12, "num_key_value_heads": 1},
    "mistral": {**MISTRAL, "sliding_window": None, "num_key_value_heads": 2},
}
LENGTHS = [1, 7, 40]


def splitmix64(x):
    """Steele, Lea, Flood 2014; vectorised over uint64."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def fnv1a(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) % 2**64
    return h


def weight(config_name, tensor_name, shape):
    """Uniform values by hash; the spread keeps activations near 1."""
    start = np.uint64(fnv1a(f"{config_name}/{tensor_name}"))
    count = int(np.prod(shape))
    with np.errstate(over="ignore"):
        z = splitmix64(start + np.arange(count, dtype=np.uint64))
    u = (z >> np.uint64(40)).astype(np.float32) / np.float32(2**24) - np.float32(0.5)
    if len(shape) == 2:
        spread = np.float32(4.0) if "embed" in tensor_name else np.float32(4.0 / shape[1] ** 0.5)
        values = u * spread
    elif tensor_name.endswith("bias"):
        values = u
    else:
        values = np.float32(1.0) + u * np.float32(0.5)
    return torch.from_numpy(values.reshape(shape))


def tokens(config_name, length, vocab):
    start = np.uint64(fnv1a(f"{config_name}/tokens/{length}"))
    with np.errstate(over="ignore"):
        z = splitmix64(start + np.arange(length, dtype=np.uint64))
    return [int(x) for x in z % np.uint64(vocab)]


def build(name, config, dtype=torch.float32):
    folder = pathlib.Path("/tmp") / f"golden-{name}"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    loaded = transformers.AutoConfig.from_pretrained(folder, attn_implementation="eager")
    model = transformers.AutoModelForCausalLM.from_config(loaded, dtype=dtype).eval()
    state = model.state_dict()
    for key, value in state.items():
        if key == "lm_head.weight" and config["tie_word_embeddings"]:
            continue
        value.copy_(weight(name, key, tuple(value.shape)))
    assert model.config._attn_implementation == "eager"
    shutil.rmtree(folder)
    return model


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float()


def rows(tensor):
    """The shortest decimal form of each f32."""
    return [[float(str(x)) for x in row] for row in tensor.numpy()]


def make(name, changes):
    config = {k: v for k, v in {**BASE, **changes}.items() if not (k == "rope_theta" and v is None)}
    (OUT / f"{name}.config.json").write_text(json.dumps(config, indent=1) + "\n")
    model = build(name, config)
    cases = []
    for length in LENGTHS:
        ids = tokens(name, length, config["vocab_size"])
        cases.append({"ids": ids, "f32": rows(logits(model, ids))})
    # The same weights rounded to bf16, computed in f32; and how far transformers' own bf16 is off.
    rounded = build(name, config)
    for parameter in rounded.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).float()
    for case in cases:
        want = logits(rounded, case["ids"])
        case["bf16_weights"] = rows(want[-1:])
    own = build(name, config, torch.bfloat16)
    off = max(
        float((logits(own, case["ids"])[-1:] - torch.tensor(case["bf16_weights"])).abs().max())
        for case in cases
    )
    golden = {
        "shows": f"logits of the configuration `{name}`, every position; last position for bf16",
        "source": VERSIONS,
        "transformers_bf16_is_off_by": round(off, 4),
        "cases": cases,
    }
    (OUT / f"{name}.logits.json").write_text(json.dumps(golden) + "\n")


def stories():
    folder = SHARED / "checkpoints" / "stories260k"
    if not folder.is_dir():
        print("SKIPPED stories260k: no real data")
        return
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    ids = json.loads((folder / "expected_greedy.json").read_text())["ids"][:150]
    golden = {
        "shows": "logits of the real checkpoint stories260k, every tenth position",
        "source": VERSIONS,
        "ids": ids,
        "logits": rows(logits(model, ids)[9::10]),
    }
    (OUT / "stories260k.logits.json").write_text(json.dumps(golden) + "\n")


def pickled():
    """A checkpoint of two PyTorch shards with the buffers of 2023, in f16 and f32."""
    folder = OUT / "pickled"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = {**BASE, "hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2,
              "num_key_value_heads": 2, "num_hidden_layers": 1, "vocab_size": 17}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    model = build("pickled", config)
    state = model.state_dict()
    shards = [{}, {}]
    for i, (key, value) in enumerate(state.items()):
        shards[i % 2][key] = value.half() if i % 3 else torch.nn.Parameter(value.clone())
    shards[0]["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.tensor([1.0, 0.01])
    index = {"metadata": {}, "weight_map": {}}
    for i, shard in enumerate(shards):
        name = f"pytorch_model-0000{i + 1}-of-00002.bin"
        torch.save(shard, folder / name)
        index["weight_map"].update({key: name for key in shard})
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1) + "\n")
    loaded = {k: v.float() for shard in shards for k, v in shard.items() if "inv_freq" not in k}
    model.load_state_dict(loaded)
    ids = tokens("pickled", 9, 17)
    golden = {"source": VERSIONS, "ids": ids, "f32": rows(logits(model, ids))}
    (folder / "logits.json").write_text(json.dumps(golden) + "\n")


def torch_zip(path, table, storages=()):
    """A PyTorch file with a table written by hand."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        def put(name, data):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
        put("x/data.pkl", table)
        put("x/byteorder", b"little")
        for key, data in storages:
            put(f"x/data/{key}", data)


def hostile():
    """Files that must be refused; none may do anything else."""
    folder = OUT / "hostile"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    class Run:
        def __reduce__(self):
            return (os.system, ("touch executed-by-pickle",))

    torch_zip(folder / "calls-system.bin", pickle.dumps({"a": Run()}, protocol=2))
    torch_zip(folder / "holds-a-number.bin", pickle.dumps({"step": 3}, protocol=2))
    torch_zip(folder / "holds-a-list.bin", pickle.dumps({"a": [1, 2]}, protocol=2))
    torch_zip(folder / "huge-text.bin", b"\x80\x02X\xff\xff\xff\xffabc.")
    torch_zip(folder / "long-number.bin", b"\x80\x02\x8a\xff" + b"\x01" * 255 + b".")
    torch_zip(folder / "no-mark.bin", b"\x80\x02t.")
    torch_zip(folder / "deep-tuples.bin", b"\x80\x02)" + b"\x85" * 100_000 + b".")
    torch_zip(folder / "doubling-tuples.bin",
              b"\x80\x02)q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(60)) + b".")
    torch_zip(folder / "ends-early.bin", b"\x80\x02}")
    def tensor(offset, shape, strides):
        def tuple_of(numbers):
            return b"(" + b"".join(b"J" + struct.pack("<i", n) for n in numbers) + b"t"
        return (b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n(("
                b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
                b"J" + struct.pack("<i", offset) + tuple_of(shape) + tuple_of(strides)
                + b"\x89ccollections\nOrderedDict\n)RtRs.")
    four = [("0", struct.pack("<4f", 1, 2, 3, 4))]
    torch_zip(folder / "behind-its-storage.bin", tensor(1, [2, 2], [2, 1]), four)
    torch_zip(folder / "negative-offset.bin", tensor(-1, [2], [1]), four)
    torch_zip(folder / "transposed.bin", tensor(0, [2, 2], [1, 2]), four)
    torch_zip(folder / "overflowing-shape.bin", tensor(0, [2**31 - 1] * 4, [1, 1, 1, 1]), four)
    torch_zip(folder / "no-storage.bin", tensor(0, [2], [1]))
    (folder / "not-a-zip.bin").write_bytes(pickle.dumps({"a": 1}, protocol=2))


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    for config_name, config_changes in CONFIGS.items():
        make(config_name, config_changes)
    stories()
    pickled()
    hostile()
