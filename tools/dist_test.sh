#!/usr/bin/env bash
# Test on several GPUs: tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
# Where no GPU is visible the processes run on the CPU with gloo.
# NNODES, NODE_RANK, MASTER_ADDR and PORT are for several machines.
set -euo pipefail

if [ $# -lt 3 ]; then
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
fi
config=$1
checkpoint=$2
gpus=$3
tools=$(dirname "$0")

PYTHONPATH="$tools/..:${PYTHONPATH:-}" exec python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$tools/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
