#!/usr/bin/env bash
# GRPO with OpenRLHF 0.11.2 on unlabeled WebInstruct: one node of 8 GPUs that trains, and a judge: a server that answers,
# or replicas that the run starts itself.
# Arguments are further flags of openrlhf.cli.train_ppo_ray.
#
#   JUDGE_URL=http://judge-host:8000/v1 ./run_webinstruct.sh
#   JUDGE_URL=... JUDGE_MODEL=Reward-Reasoning/RRM-32B ./run_webinstruct.sh
#   JUDGE_URL=... MODE=async ./run_webinstruct.sh       4 GPUs train while 4 roll out; groups that teach nothing are dropped
#   JUDGE=own ./run_webinstruct.sh                      no server: 4 of the 8 GPUs judge, 4 roll out and train
#   JUDGE=share ./run_webinstruct.sh                    no server: the judge shares all 8, and sleeps while they train
#
# The judge (on another node, or on GPUs that are hidden from the trainer by CUDA_VISIBLE_DEVICES):
#
#   vllm serve Reward-Reasoning/RRM-7B --port 8000 --max-model-len 32768 --data-parallel-size 2
#   vllm serve Reward-Reasoning/RRM-32B --port 8000 --max-model-len 32768 --tensor-parallel-size 4
#
# Prefix caching, on by default, pays: both orders and all votes of a comparison share the question.
#
# On AMD GPUs (ROCm) the commands are the same. Choose devices by HIP_VISIBLE_DEVICES; leave ROCR_VISIBLE_DEVICES and
# every RAY_EXPERIMENTAL_NOSET_* unset: with one of those OpenRLHF's engines write CUDA_VISIBLE_DEVICES, and vLLM refuses
# to start where that and HIP_VISIBLE_DEVICES differ. The judge server may see other devices than the trainer, each in
# its own shell. The reward itself needs no GPU. (Flags are parsed by OpenRLHF in our tests; on GPUs, CUDA or ROCm, this
# was read in the sources of OpenRLHF and vLLM and not run by us.)
#
# On several nodes: start Ray, and submit the last command with JUDGE_URL, JUDGE_MODEL, ENGINES and, with JUDGE, RRM_CONFIG
# in the env_vars of --runtime-env-json, for Ray's processes do not inherit this shell's. This folder must be where every node sees it.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
data="${DATA:-$HOME/data/webinstruct}"
export JUDGE_URL="${JUDGE_URL:-http://127.0.0.1:8000/v1}"

half=
case "${JUDGE:-server}" in
  server) ;;
  own)
    export RRM_CONFIG="$here/webinstruct_rrm_own.yaml"
    half=yes
    ;;
  share)
    export RRM_CONFIG="$here/webinstruct_rrm_share.yaml"
    ;;
  *)
    echo "JUDGE is server, own or share, not $JUDGE" >&2
    exit 2
    ;;
esac

case "${MODE:-sync}" in
  sync) # the same 8 GPUs roll out and train, in turns
    gpus=${half:+4}
    gpus=${gpus:-8}
    export ENGINES=$gpus
    memory=0.6
    # the judge's part stands in webinstruct_rrm_share.yaml
    if [[ "${JUDGE:-}" == share ]]; then memory=0.45; fi
    placement=(
      --train.colocate_all
      --vllm.gpu_memory_utilization "$memory"
      --vllm.enable_sleep
      --ds.enable_sleep
    )
    ;;
  async)
    gpus=${half:+2}
    gpus=${gpus:-4}
    export ENGINES=$gpus
    placement=(
      --train.async_enable
      --train.colocate_actor_ref
      --vllm.gpu_memory_utilization 0.9
      # the executor's score is 0 for a group that the judge cannot tell apart, and below 1 for all others
      --algo.dynamic_filtering_enable
      --algo.dynamic_filtering_range 0 1
    )
    ;;
  *)
    echo "MODE is sync or async, not $MODE" >&2
    exit 2
    ;;
esac

# Values that the paper does not tell (group size, batch, learning rate of its WebInstruct run) are a start.
flags=(
  --train.agent_func_path "$here/rrm_agent.py"
  --actor.model_name_or_path deepseek-ai/DeepSeek-R1-Distill-Qwen-7B
  --data.prompt_dataset "$data/train.parquet"
  --eval.dataset "$data/val.parquet"
  --data.input_key prompt
  --data.label_key reward_model
  --data.apply_chat_template
  --data.max_len 9216
  --rollout.max_new_tokens 8192
  --rollout.n_samples_per_prompt 8
  --rollout.batch_size 128
  --rollout.micro_batch_size 4
  --rollout.temperature 0.6
  --eval.n_samples_per_prompt 4
  --eval.steps 25
  --train.batch_size 512
  --train.micro_batch_size 2
  --algo.advantage.estimator group_norm
  --actor.adam.lr 1e-6
  # length grows under a pairwise judge if nothing holds the policy
  --algo.kl.use_loss
  --algo.kl.estimator k3
  --algo.kl.init_coef 0.001
  --actor.num_nodes 1
  --actor.num_gpus_per_node "$gpus"
  --ref.num_nodes 1
  --ref.num_gpus_per_node "$gpus"
  --vllm.num_engines "$ENGINES"
  --vllm.tensor_parallel_size 1
  --vllm.enable_prefix_caching
  --ds.zero_stage 3
  --ds.param_dtype bf16
  --ds.packing_samples
  --actor.gradient_checkpointing_enable
  --ckpt.output_dir "${OUT:-$HOME/runs/openrlhf_webinstruct}"
  --ckpt.save_steps 50
  "${placement[@]}"
  "$@"
)

# any answer will do: a judge that wants a key says 401 here, and the check says what it lacks
if [[ "${JUDGE:-server}" == server ]]; then
  until curl --silent --output /dev/null --max-time 5 "$JUDGE_URL/models"; do
    echo "waiting for the judge at $JUDGE_URL"
    sleep 10
  done
fi

# OpenRLHF notices an engine that did not start only when its weights are due, after minutes; this tells it now
python3 -m rrm_reward.integrations.openrlhf.check "${flags[@]}"
exec python3 -m openrlhf.cli.train_ppo_ray "${flags[@]}"
