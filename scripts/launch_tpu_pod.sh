#!/usr/bin/env bash
# Trains on every host of a TPU slice, where the package is installed (".[tpu]"):
#
#     TPU=my-slice ZONE=us-central2-b scripts/launch_tpu_pod.sh \
#         --gin_file=gin/models/xxl.gin --gin_file=gin/runs/superglue.gin \
#         --gin.MODEL_DIR=/mnt/bucket/runs/cb_xxl
#
# TPU, ZONE: the slice's name and zone. PROJECT: default gcloud's own. The hosts find
# each other. MODEL_DIR is a folder that all of them see: a bucket mounted with gcsfuse,
# or a Filestore share; one host writes to it.
set -euo pipefail

: "${TPU:?set TPU to the name of the slice}" "${ZONE:?set ZONE to its zone}"
exec gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" \
  ${PROJECT:+--project="$PROJECT"} --worker=all \
  --command="prompt-tuning train$(printf ' %q' "$@")"
