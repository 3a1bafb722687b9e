#!/usr/bin/env bash
# A run whose judge lives in the same Ray cluster, started by the run itself (docs/cluster.md):
#
#   ./run_cluster.sh colocated           RRM-7B on the policy's eight GPUs, asleep while the policy rolls out and trains
#   ./run_cluster.sh pool                RRM-32B on four of eight GPUs, the policy on the other four
#   ./run_cluster.sh two_nodes           RRM-32B on a second node of eight; start Ray on both nodes first
#
# Further arguments are hydra overrides. recipes/rocm and recipes/cuda set what differs between the vendors.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
variant="${1:?colocated, pool or two_nodes}"
shift
case "$variant" in
  colocated)
    export VERL_USE_EXTERNAL_MODULES="rrm_reward.integrations.verl.colocated${VERL_USE_EXTERNAL_MODULES:+,$VERL_USE_EXTERNAL_MODULES}"
    settings=(route=colocated rrm/judge=rrm_7b_shared)
    ;;
  pool) settings=(route=agent_loop rrm/judge=rrm_32b_pool trainer.n_gpus_per_node=4) ;;
  two_nodes) settings=(route=agent_loop rrm/judge=rrm_32b_pool rrm.judge.cluster.replicas=8 rrm.arena.concurrency=1024) ;;
  *)
    echo "unknown variant $variant: colocated, pool or two_nodes" >&2
    exit 2
    ;;
esac
settings=(--config-path="$here" --config-name=webinstruct_rrm "${settings[@]}" "$@")

rrm-reward doctor  # stops here if devices, variables or versions contradict each other
python3 -m rrm_reward.integrations.verl.check "${settings[@]}"
if [[ "${CHECK_ONLY:-}" ]]; then exit; fi
exec python3 -m verl.trainer.main_ppo "${settings[@]}"
