#!/usr/bin/env bash
# Re-makes every golden with the reference programs, in an environment of its own, and shows what
# changed (nothing should). `PYTHON=…` names an environment that is already there.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -z "${PYTHON:-}" ]; then
    environment="$(mktemp -d)"
    trap 'rm -rf "$environment"' EXIT
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet --requirement golden/make/requirements.txt
    PYTHON="$environment/bin/python"
fi
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
for script in golden/make/*.py; do
    case "$script" in *_lib.py) continue ;; esac
    echo "== $script"
    "$PYTHON" "$script"
done
git status --short golden
