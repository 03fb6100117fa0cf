#!/usr/bin/env bash
# Train under Slurm: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/train.py]
# GPUS (8), GPUS_PER_NODE (8) and CPUS_PER_TASK (5) say how much; SRUN_ARGS goes to srun.
set -euo pipefail

if [ $# -lt 4 ]; then
    sed -n '2,3s/^# //p' "$0" >&2
    exit 2
fi
tools=$(dirname "$0")
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-8}
if [ "$gpus" -lt "$gpus_per_node" ]; then
    gpus_per_node=$gpus
fi

# shellcheck disable=SC2086  # SRUN_ARGS is a list
PYTHONPATH="$tools/..:${PYTHONPATH:-}" exec srun --partition="$1" --job-name="$2" \
    --gres="gpu:$gpus_per_node" --ntasks="$gpus" --ntasks-per-node="$gpus_per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$tools/train.py" "$3" --work-dir "$4" --launcher slurm "${@:5}"
