"""Golden trainings of the Trainer of April 2023: its order of rows, its updates over an epoch's end, its losses.

Makes golden/train/trainer_2023.json: trainings of a small network on golden/train/rows.json. Each
micro-batch's loss is as the Trainer got it, after its division. Today's packages cannot do this: these
versions go into a folder of their own, beside torch 2.13.0 and numpy, in front of the path:

    pip install --no-deps --target old transformers==4.28.1 tokenizers==0.13.3 huggingface_hub==0.20.3 \
        accelerate==0.18.0 peft==0.3.0 "setuptools<70"
    PYTHONPATH=old python golden/make/trainer_2023.py

Does nothing with another version of transformers. All f32, dropout 0, one thread.
"""

import json
import os
import sys
import tempfile

os.environ["OMP_NUM_THREADS"] = "1"
import torch
import transformers
import transformers.utils.import_utils

if transformers.__version__ != "4.28.1":
    print("trainer_2023.py: needs transformers 4.28.1 (see its first lines); left as it is")
    sys.exit()
# The datasets package of today does not fit; the Trainer only asks whether it is there.
transformers.utils.import_utils._datasets_available = False
import peft
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

import trainer_lib as lib

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
# The network of 2023 has as many key heads as query heads.
lib.CONFIG["num_key_value_heads"] = 4
TINY = lib.ROOT / "golden" / "tokenizers" / "tiny" / "tokenizer.model"
COMMON = dict(validation=0.1, max_length=192, bos=False, normalisation="mean-of-means", weight_decay=0.0, max_norm=1.0)
CASES = {
    # 42 rows: 21 micro-batches, 5 updates an epoch and one left over.
    "full-carry": dict(
        COMMON, train_on_inputs=True, micro=2, accumulation=4, epochs=12, group=False, rate=1e-3, schedule="cosine", warmup=10, lora=None,
    ),
    "full-grouped": dict(
        COMMON, train_on_inputs=True, micro=4, accumulation=2, epochs=3, group=True, rate=1e-3, schedule="linear", warmup=2, lora=None,
    ),
    # An epoch of 6 micro-batches, fewer than an update.
    "lora-short": dict(
        COMMON, train_on_inputs=True, micro=8, accumulation=8, epochs=9, group=False, rate=3e-3, schedule="cosine", warmup=2,
        lora=dict(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
    ),
    "lora-carry": dict(
        COMMON, train_on_inputs=True, micro=2, accumulation=4, epochs=12, group=False, rate=3e-3, schedule="cosine", warmup=10,
        lora=dict(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
    ),
}


class Recording(Trainer):
    """Keeps the loss of each micro-batch, and the rate and how many micro-batches there were at each update."""

    def training_step(self, model, inputs):
        loss = super().training_step(model, inputs)
        self.losses.append(float(loss))
        self.pending = self.optimizer.param_groups[0]["lr"]
        return loss

    def log(self, logs):
        if "learning_rate" in logs:
            # This version logs the rate after the schedule has moved on: the one before was used.
            self.rates.append(self.pending)
            self.updates.append(len(self.losses))
        super().log(logs)


def run(case):
    rows = json.loads((lib.ROOT / "golden/train/rows.json").read_text())
    items = lib.encode(rows, TINY, case["max_length"], case["bos"], 2, case["train_on_inputs"])
    train, validation = lib.split(items, case["validation"])
    model = lib.small_network(LlamaConfig, LlamaForCausalLM)
    if case["lora"]:
        torch.manual_seed(7)
        model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **case["lora"]))
    before = lib.tensors(model)
    collate = lib.Collate()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=case["micro"], gradient_accumulation_steps=case["accumulation"],
            num_train_epochs=case["epochs"], learning_rate=case["rate"], lr_scheduler_type=case["schedule"], warmup_steps=case["warmup"],
            weight_decay=case["weight_decay"], max_grad_norm=case["max_norm"], logging_steps=1, report_to=[], no_cuda=True,
            save_strategy="no", disable_tqdm=True, seed=42, per_device_eval_batch_size=8, remove_unused_columns=False,
            group_by_length=case["group"], optim="adamw_torch",
        )
        trainer = Recording(model=model, args=arguments, train_dataset=lib.Rows(train), eval_dataset=lib.Rows(validation), data_collator=collate)
        trainer.losses, trainer.rates, trainer.updates, trainer.norms = [], [], [], []
        trainer.train()
        collate.train = collate.seen[: len(trainer.losses)]
        trainer.eval_loss = trainer.evaluate()["eval_loss"]
    return {"case": case, "updates": trainer.updates, **lib.record(trainer, collate, items, before, model)}


def main():
    out = lib.ROOT / "golden" / "train" / "trainer_2023.json"
    versions = {m.__name__: m.__version__.split("+")[0] for m in (torch, transformers, peft)}
    cases = {name: run(case) for name, case in CASES.items()}
    out.write_text(json.dumps({"source": "golden/make/trainer_2023.py", "versions": versions, "config": lib.CONFIG, "cases": cases}, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
