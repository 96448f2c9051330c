set shell := ["bash", "-euo", "pipefail", "-c"]

# list the recipes
help:
    @just --list

# the paper's study in miniature: train, ask, compare (--study paper for the printed table)
[group('use')]
reproduce *ARGS:
    cargo run --locked --release -- reproduce {{ ARGS }}

# the same with three seeds: about three times as long
[group('use')]
reproduce-full *ARGS:
    cargo run --locked --release -- reproduce --seeds 3 --runs runs/mini-full {{ ARGS }}

# which settings move the miniature's LoRA row, on the validation split (--grid mini-full: how few updates full fine-tuning needs)
[group('use')]
sweep *ARGS:
    cargo run --locked --release -- sweep {{ ARGS }}

# unit, property, golden, command-line and doc tests; goldens are never rewritten here
[group('check')]
test:
    cargo test --locked --release

# everything CI runs, in CI's order
[group('check')]
ci:
    bash .ci/run

# one step of CI: fmt, lint, browser, unit, doc, bench, reports, mini, deny
[group('check')]
ci-step STEP:
    bash .ci/run {{ STEP }}

# re-create the committed reports
[group('reports')]
reports:
    cargo run --locked --release -- reproduce --study paper --out reports/paper
    cargo run --locked --release -- reproduce --from golden/baselines/mini.json --out reports/mini
    for grid in mini-lora mini-full; do \
        cargo run --locked --release -- sweep --grid $grid --definition golden/mini/study.toml \
            --from golden/baselines/$grid.json --out reports/$grid; \
    done

# make the miniature anew (kernels that every x86-64 server has) as the gate's baseline; say why in the commit
[group('reports')]
baseline:
    MEDHARNESS_KERNELS=avx2 cargo run --locked --release -- reproduce --runs runs/baseline --out reports/mini
    mkdir -p golden/baselines
    cargo run --locked --release -- gate --run runs/baseline --write-baseline golden/baselines/mini.json

# draw the miniature study's exam and training data again
[group('goldens')]
mini:
    cargo run --locked --release -- mini --out golden/mini

# train the miniature study's base models again from nothing: the same bits on the same kernel set
[group('goldens')]
pretrain-mini OUT="golden/mini/models" WORK="target/pretrain-mini":
    rm -rf {{ OUT }}/small {{ OUT }}/large
    cargo run --locked --release -- mini pretrain --out {{ OUT }} --work {{ WORK }}

# run every bench once for its answer, without timing
[group('bench')]
bench-check:
    cargo bench --locked -- --test

# time the kernels
[group('bench')]
bench *ARGS:
    cargo bench --locked {{ ARGS }}

# measure beside the peers, in turns, as benchmarks/METHODOLOGY.md says; MODEL is a checkpoint of `medharness synth`
[group('bench')]
bench-peers MODEL TOKENIZER *ARGS:
    cargo build --locked --release
    cargo bench --locked --bench network --no-run
    cargo bench --locked --bench kernels > benchmarks/records/$(date +%F)-ceilings.txt
    python benchmarks/peers/infer.py --network "$(ls -t target/release/deps/network-* | grep -v '\.d$' | head -1)" --model {{ MODEL }} --out benchmarks/records/$(date +%F)-infer-$(basename {{ MODEL }}).json {{ ARGS }}
    python benchmarks/peers/train.py --medharness target/release/medharness --model {{ MODEL }} --tokenizer {{ TOKENIZER }} --out benchmarks/records/$(date +%F)-train-$(basename {{ MODEL }}).json

# have PEFT, transformers, bitsandbytes and TensorBoard read what the program writes, in a throw-away environment
[group('goldens')]
check-peers:
    bash golden/check/all.sh

# re-make the goldens with the reference programs, in a throw-away environment
[group('goldens')]
goldens:
    bash golden/make/all.sh
