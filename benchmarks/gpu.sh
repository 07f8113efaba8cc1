#!/usr/bin/env bash
# Measures training on a machine with one NVIDIA GPU, Python with torch, and no network; at most nine minutes.
#
#   benchmarks/gpu.sh prepare [PYTHON]   # with a network, in the project's root: fills .gpu (ignored by git) with
#                                        # wheels for that version of Python (3.12) and with the data
#   bash benchmarks/gpu.sh [STEP…]       # there: all, or some steps of benchmarks/gpu.py; results in $OUT or /tmp
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = prepare ]; then
  python=${2:-3.12} data=${ANYVIEW_DATA:-../shared/data}
  rm -rf .gpu && mkdir -p .gpu/data .gpu/wheels
  cp -r "$data/mnist" "$data/pendigits" .gpu/data/
  mkdir .gpu/data/fsdd && cp "$data/fsdd/fsdd_logmel32.npz" .gpu/data/fsdd/
  # Without what such a machine has: torch, numpy, scipy, onnx, rich and the like.
  python3 -m pip download -q --no-deps --only-binary=:all: --python-version "$python" --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    --constraint constraints.txt --dest .gpu/wheels \
    annotated-types anyascii array-api-compat cffi chardet hypothesis lightning-fabric lightning-utilities multivae \
    orjson pycparser pydantic pydantic-core pydantic-settings python-dotenv pythae soundfile soxr tomlkit \
    typing-inspection zstandard pytest-timeout pytest-xdist execnet sortedcontainers
  du -sh .gpu
  exit
fi

site=$(mktemp -d) out=${OUT:-/tmp}
python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" .gpu/wheels/*.whl
export PYTHONPATH=$PWD:$site ANYVIEW_DATA=$PWD/.gpu/data PYTHONUNBUFFERED=1 OMP_NUM_THREADS=4
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || true
timeout 360 python3 -m benchmarks.gpu "$@" --output "$out" 2>"$out/gpu.log" | tee "$out/gpu.jsonl" || true
[ $# -gt 0 ] && exit
timeout 90 python3 -m pytest -q -n 8 -p no:cacheprovider -p no:benchmark --timeout 80 tests/training/test_device.py \
  tests/training/test_fit.py tests/training/test_resume.py tests/training/test_objective.py 2>&1 | tail -25 || true
timeout 75 python3 -m benchmarks.training --rounds 5 2>&1 | tee "$out/training.txt" || true
