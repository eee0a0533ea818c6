#!/usr/bin/env bash
# Trains on the GPUs of one machine, in one process:
#
#     scripts/launch_gpu_box.sh --gin_file=gin/models/xl.gin \
#         --gin_file=gin/runs/superglue.gin --gin.MODEL_DIR=runs/cb_xl
#
# GPUS: which of them, such as 0,1 (default: all). The batch is split over them; with
# --gin.param_shardings.fully_sharded=True the frozen weights are too.
set -euo pipefail

if [[ -n "${GPUS:-}" ]]; then
  export CUDA_VISIBLE_DEVICES="$GPUS"
fi
exec prompt-tuning train "$@"
