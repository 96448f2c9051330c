"""Golden trainings of transformers' Trainer with accelerate and peft: order, tokens, rates, losses, weights.

Makes golden/train/trainer.json: trainings of 60 updates of a small network on golden/train/rows.json,
and of stories260k on 200 rows of the real Medical Meadow (digests and numbers only; looked for in
$MEDHARNESS_SHARED, then in ../shared/data). Each micro-batch's loss is as the Trainer got it, after its
division. Run: python golden/make/trainer.py     Versions: torch 2.13.0, transformers 5.23.0, peft 0.21.2,
accelerate 1.15.0, bitsandbytes 0.50.2. Dropout 0, one thread; f32 where a case says nothing else.
"""

import json
import os
import sys
import tempfile

os.environ["OMP_NUM_THREADS"] = "1"
import accelerate
import bitsandbytes.autograd._functions
import peft
import torch
import transformers
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

import adamw8bit_lib
import trainer_lib as lib

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
DEQUANTISED, QUANTISED = bitsandbytes.autograd._functions.MatMul8bitFp, bitsandbytes.autograd._functions.MatMul8bitLt
adamw8bit_lib.use_midpoint_rule()
TINY = lib.ROOT / "golden" / "tokenizers" / "tiny" / "tokenizer.model"

CASES = {
    "full-tokens": dict(
        validation=5, max_length=192, bos=False, train_on_inputs=False, micro=2, accumulation=3, normalisation="tokens",
        group=False, rate=2e-3, schedule="cosine", warmup=5, weight_decay=0.1, max_norm=1.0, lora=None,
    ),
    "full-means": dict(
        validation=0.1, max_length=192, bos=True, train_on_inputs=True, micro=3, accumulation=2, normalisation="mean-of-means",
        group=True, rate=1e-3, schedule="linear", warmup=0.1, weight_decay=0.0, max_norm=0.0, lora=None,
    ),
    # Each evaluation draws from the generator that the next epoch's groups are drawn from.
    "full-grouped-evaluated": dict(
        validation=0.1, max_length=192, bos=True, train_on_inputs=False, micro=3, accumulation=2, normalisation="tokens",
        group=True, rate=1e-3, schedule="linear", warmup=0.1, weight_decay=0.0, max_norm=0.0, lora=None, evaluate_every=7,
    ),
    "lora-tokens": dict(
        validation=0.1, max_length=192, bos=True, train_on_inputs=False, micro=2, accumulation=2, normalisation="tokens",
        group=False, rate=5e-3, schedule="cosine", warmup=3, weight_decay=0.0, max_norm=1.0,
        lora=dict(r=4, lora_alpha=16, target_modules="all-linear"),
    ),
    # int8 base as bitsandbytes has it on the CPU in training: dequantised weights, activations as they are.
    "lora-int8": dict(
        validation=0.1, max_length=192, bos=True, train_on_inputs=False, micro=2, accumulation=2, normalisation="tokens",
        group=False, rate=5e-3, schedule="cosine", warmup=3, weight_decay=0.0, max_norm=1.0, base="int8",
        lora=dict(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
    ),
    # LLM.int8() in training too, as bitsandbytes has it on every device but the CPU: activations quantised
    # going through, dequantised weights coming back. The package's own function for it runs here.
    "lora-int8-quantised": dict(
        validation=0.1, max_length=192, bos=True, train_on_inputs=False, micro=2, accumulation=2, normalisation="tokens",
        group=False, rate=5e-3, schedule="cosine", warmup=3, weight_decay=0.0, max_norm=1.0, base="int8-quantised",
        lora=dict(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
    ),
    # The same with norms that make outliers: their columns are those of any token of the batch, padding included.
    "lora-int8-outliers": dict(
        validation=0.1, max_length=192, bos=True, train_on_inputs=False, micro=4, accumulation=1, normalisation="tokens",
        group=False, rate=5e-3, schedule="cosine", warmup=3, weight_decay=0.0, max_norm=1.0, base="int8-quantised", norm=3.2,
        lora=dict(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
    ),
    # Beside embedding and output matrix, too.
    "lora-embeddings": dict(
        validation=0.1, max_length=192, bos=True, train_on_inputs=False, micro=2, accumulation=2, normalisation="tokens",
        group=False, rate=5e-3, schedule="cosine", warmup=3, weight_decay=0.0, max_norm=1.0,
        lora=dict(r=4, lora_alpha=16, target_modules=["q_proj", "embed_tokens", "lm_head"]),
    ),
    # States in 8 bit by the midpoint rule (see adamw8bit.py); the Trainer keeps those of the embedding in f32.
    "full-adamw-8bit": dict(
        validation=0.1, max_length=192, bos=True, train_on_inputs=False, micro=2, accumulation=2, normalisation="tokens",
        group=False, rate=2e-3, schedule="cosine", warmup=3, weight_decay=0.1, max_norm=1.0, lora=None, optimizer="adamw_bnb_8bit",
    ),
    # bf16 base and activations, f32 adapters, as PEFT has them.
    "lora-bf16": dict(
        validation=0.1, max_length=192, bos=True, train_on_inputs=False, micro=2, accumulation=2, normalisation="tokens",
        group=False, rate=5e-3, schedule="cosine", warmup=3, weight_decay=0.0, max_norm=1.0, base="bf16",
        lora=dict(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
    ),
    "stories-lora": dict(
        validation=0.1, max_length=256, bos=True, train_on_inputs=False, micro=2, accumulation=2, normalisation="tokens",
        group=False, rate=3e-3, schedule="cosine", warmup=5, weight_decay=0.0, max_norm=1.0, real=200,
        lora=dict(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
    ),
    "stories-full": dict(
        validation=0.1, max_length=192, bos=False, train_on_inputs=True, micro=2, accumulation=1, normalisation="mean-of-means",
        group=False, rate=3e-4, schedule="cosine", warmup=5, weight_decay=0.0, max_norm=1.0, real=200, lora=None,
    ),
}


class Recording(Trainer):
    """Keeps the loss of each micro-batch and the rate and gradient norm of each update."""

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.losses.append(float(loss))
        return loss

    def log(self, logs, *args, **kwargs):
        if "learning_rate" in logs:
            self.rates.append(float(logs["learning_rate"]))
            self.norms.append(float(logs["grad_norm"]))
        super().log(logs, *args, **kwargs)


def run(name, case):
    real = case.get("real")
    source = lib.SHARED / "training/medical_meadow_small.json" if real else lib.ROOT / "golden/train/rows.json"
    rows = json.loads(source.read_text())[: real or None]
    stories = lib.SHARED / "checkpoints/stories260k"
    items = lib.encode(rows, stories / "tokenizer.model" if real else TINY, case["max_length"], case["bos"], 2, case["train_on_inputs"])
    train, validation = lib.split(items, case["validation"])
    if real:
        model = AutoModelForCausalLM.from_pretrained(stories, dtype=torch.float32, attn_implementation="eager")
    else:
        model = lib.small_network(LlamaConfig, LlamaForCausalLM)
        for name, parameter in model.named_parameters():
            if "norm" in case and "layernorm" in name:
                torch.nn.init.constant_(parameter, case["norm"])
        if case.get("base", "").startswith("int8"):
            with tempfile.TemporaryDirectory() as folder:
                model.save_pretrained(folder)
                model = AutoModelForCausalLM.from_pretrained(
                    folder, dtype=torch.float32, quantization_config=BitsAndBytesConfig(load_in_8bit=True)
                )
        elif case.get("base") == "bf16":
            model = model.to(torch.bfloat16)
    bitsandbytes.autograd._functions.MatMul8bitFp = QUANTISED if case.get("base") == "int8-quantised" else DEQUANTISED
    if case["lora"]:
        torch.manual_seed(7)
        model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **case["lora"]))
    before = lib.tensors(model)
    collate = lib.Collate()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=case["micro"], gradient_accumulation_steps=case["accumulation"],
            max_steps=60, learning_rate=case["rate"], lr_scheduler_type=case["schedule"], warmup_steps=case["warmup"],
            weight_decay=case["weight_decay"], max_grad_norm=case["max_norm"], logging_steps=1, report_to=[], use_cpu=True,
            save_strategy="no", disable_tqdm=True, seed=42, per_device_eval_batch_size=8, remove_unused_columns=False,
            train_sampling_strategy="group_by_length" if case["group"] else "random", optim=case.get("optimizer", "adamw_torch"),
            eval_strategy="steps" if "evaluate_every" in case else "no", eval_steps=case.get("evaluate_every"),
        )
        trainer = Recording(model=model, args=arguments, train_dataset=lib.Rows(train), eval_dataset=lib.Rows(validation), data_collator=collate)
        if case["normalisation"] == "mean-of-means":
            trainer.model_accepts_loss_kwargs = False
        trainer.losses, trainer.rates, trainer.norms = [], [], []
        trainer.train()
        # The loader reads a batch ahead; rows held out are the evaluations'.
        held_out = {item["row"] for item in validation}
        collate.train = [rows for rows in collate.seen if not held_out & set(rows)][: len(trainer.losses)]
        trainer.eval_loss = trainer.evaluate()["eval_loss"]
    return {"case": case, **lib.record(trainer, collate, items, before, model)}


def main():
    chosen = sys.argv[1:] or list(CASES)
    out = lib.ROOT / "golden" / "train" / "trainer.json"
    # Cases named on the command line are made anew beside those there are.
    found = json.loads(out.read_text())["cases"] if sys.argv[1:] else {}
    found |= {name: run(name, CASES[name]) for name in chosen}
    found = {name: found[name] for name in CASES}
    versions = {m.__name__: m.__version__.split("+")[0] for m in (torch, transformers, peft, accelerate, bitsandbytes)}
    out.write_text(json.dumps({"source": "golden/make/trainer.py", "versions": versions, "config": lib.CONFIG, "cases": found}, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
