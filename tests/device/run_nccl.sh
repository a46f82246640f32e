#!/usr/bin/env bash
# Runs the communicator suite over NCCL, one GPU for each rank.
# Usage: tests/device/run_nccl.sh [BUILD_FOLDER]     (default build/cuda; build target: nccl_suite)
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
program=${1:-$root/build/cuda}/bin/nccl_suite
if [ ! -x "$program" ]; then
  echo "$program is not there: build it with  cmake --preset cuda && cmake --build --preset cuda --target nccl_suite" >&2
  exit 2
fi
gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l)
if [ "$gpus" -eq 0 ]; then
  echo "no GPU on this node: nothing was tested" >&2
  exit 77
fi
for ranks in 1 2 3 4 8; do
  [ "$ranks" -le "$gpus" ] || break
  echo "== $ranks ranks"
  OMP_NUM_THREADS=1 "$root/launch/mpirun" -n "$ranks" "$program"
done
