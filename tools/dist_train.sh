#!/usr/bin/env bash
# Train on several GPUs: tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# Where no GPU is visible the processes run on the CPU with gloo.
# NNODES, NODE_RANK, MASTER_ADDR and PORT are for several machines.
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
fi
config=$1
gpus=$2
tools=$(dirname "$0")

PYTHONPATH="$tools/..:${PYTHONPATH:-}" exec python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$tools/train.py" "$config" --launcher pytorch "${@:3}"
