#!/usr/bin/env bash
# Trains an RRM on one node of 8 GPUs. Arguments are hydra overrides:
#
#   rrm-reward data pairs ~/data/rrm_pairs --source skywork-reward    # makes train.parquet and val.parquet (README.md)
#   ./run_train_rrm.sh size=7b trainer.total_training_steps=500
#   ./run_train_rrm.sh size=32b hardware=mi300x
#
# On AMD GPUs choose devices by HIP_VISIBLE_DEVICES and leave ROCR_VISIBLE_DEVICES unset: verl refuses to start with both.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
if [[ -n "${HIP_VISIBLE_DEVICES:-}" && -n "${ROCR_VISIBLE_DEVICES:-}" ]]; then
  echo "unset ROCR_VISIBLE_DEVICES: HIP_VISIBLE_DEVICES chooses the devices" >&2
  exit 2
fi
exec python3 -m verl.trainer.main_ppo --config-path="$here" --config-name=train_rrm "$@"
