#!/usr/bin/env bash
# Trains a scalar reward model on one node of 8 GPUs (CUDA or ROCm). Arguments are those of train.py:
#
#   rrm-reward data pairs ~/data/rrm_pairs --source skywork-reward      # docs/pairs.md
#   recipes/scalar_rm/run_scalar_rm.sh --pairs ~/data/rrm_pairs/train_preferences.parquet \
#       --model Qwen/Qwen2.5-7B-Instruct --output ~/models/scalar_rm learning_rate=2e-6
#
# An MI300X holds twice the memory of an 80 GB card: per_device_train_batch_size=4 gradient_accumulation_steps=4 is the same batch.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export PYTHONPATH="$here/../..${PYTHONPATH:+:$PYTHONPATH}"
exec accelerate launch --config_file "$here/fsdp.yaml" -m recipes.scalar_rm.train --config "$here/rm_7b.yaml" "$@"
