#!/usr/bin/env bash
# One node of 8 GPUs that trains, one judge server that answers. Arguments are hydra overrides:
#
#   JUDGE_URL=http://judge-host:8000/v1 ./run_webinstruct.sh rrm/schedule=knockout trainer.total_training_steps=200
#
# The judge (on another node, or on GPUs that are hidden from the trainer by CUDA_VISIBLE_DEVICES):
#
#   vllm serve Reward-Reasoning/RRM-7B --port 8000 --max-model-len 32768 --data-parallel-size 2
#   vllm serve Reward-Reasoning/RRM-32B --port 8000 --max-model-len 32768 --tensor-parallel-size 4
#
# Prefix caching, on by default, pays: both orders and all votes of a comparison share the question.
#
# On AMD GPUs (ROCm) the commands are the same. Choose devices by HIP_VISIBLE_DEVICES and leave ROCR_VISIBLE_DEVICES
# unset: verl refuses to start with both. The judge server may see other devices than the trainer, each in its own
# shell. The reward itself needs no GPU. (Read in the sources of verl and vLLM, not run by us.)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
judge_urls="${JUDGE_URL:-http://127.0.0.1:8000/v1}"  # several replicas: separated by commas
settings=(--config-path="$here" --config-name=webinstruct_rrm "rrm.judge.urls=[$judge_urls]" "$@")

# any answer will do: a judge that wants a key says 401 here, and the check says what it lacks
until curl --silent --output /dev/null --max-time 5 "${judge_urls%%,*}/models"; do
  echo "waiting for the judge at ${judge_urls%%,*}"
  sleep 10
done

# verl reports a mistake in a reward manager's settings only when the first reward is due; this reports it now
python3 -m rrm_reward.integrations.verl.check "${settings[@]}"
exec python3 -m verl.trainer.main_ppo "${settings[@]}"
