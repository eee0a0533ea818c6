#!/usr/bin/env bash
#SBATCH --job-name=prompt-tuning
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
# Trains on nodes of a Slurm cluster, one process on each:
#
#     sbatch --nodes=4 --gpus-per-node=8 scripts/launch_slurm.sh \
#         --gin_file=gin/models/xxl.gin --gin_file=gin/runs/superglue.gin \
#         --gin.MODEL_DIR=/shared/runs/cb_xxl
#
# The processes find each other through Slurm. MODEL_DIR is on a disk that every node
# sees; one process writes to it.
set -euo pipefail

exec srun prompt-tuning train "$@"
