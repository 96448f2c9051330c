#!/usr/bin/env bash
# Has the reference programs read what medharness writes: adapters, merged and quantised checkpoints,
# trainings in every mode, TensorBoard's events. In an environment of its own; `PYTHON=…` names one that
# is already there. Trainings are of stories260k on real rows, which $MEDHARNESS_SHARED holds (default:
# ../shared/data); where that is missing they say SKIPPED, and with MEDHARNESS_REQUIRE_SHARED=1 fail.
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
if [ -z "${PYTHON:-}" ]; then
    python3 -m venv "$scratch/environment"
    "$scratch/environment/bin/pip" install --quiet --requirement golden/check/requirements.txt
    PYTHON="$scratch/environment/bin/python"
fi
export HF_HUB_OFFLINE=1 MEDHARNESS_SHARED="${MEDHARNESS_SHARED:-$PWD/../shared/data}"
cargo build --locked --release --quiet
program="${CARGO_TARGET_DIR:-target}/release/medharness"

echo "== adapters and merged checkpoints"
"$PYTHON" golden/check/load_adapters.py "$program"
echo "== a quantised checkpoint"
"$program" quantize --model golden/quant/checkpoint --out "$scratch/int8"
"$PYTHON" golden/check/load_int8_checkpoint.py "$scratch/int8" golden/quant/checkpoint

stories="$MEDHARNESS_SHARED/checkpoints/stories260k"
if [ ! -d "$stories" ]; then
    echo "SKIPPED: LLM.int8() of a network and trainings: no $stories"
    [ "${MEDHARNESS_REQUIRE_SHARED:-0}" != 1 ]
    exit
fi
echo "== LLM.int8() of a network"
"$PYTHON" golden/check/int8_network.py "$program" "$stories" "$stories/tokenizer.model" --requests 20
echo "== trainings"
"$PYTHON" golden/check/trained_adapters.py "$program"
