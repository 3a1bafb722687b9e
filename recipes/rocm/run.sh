#!/usr/bin/env bash
# ./run.sh colocated|pool|two_nodes [hydra overrides]: recipes/verl/run_cluster.sh on AMD GPUs. Read, not run.
set -euo pipefail

# Ray's workers stop with ROCR_VISIBLE_DEVICES alone, verl with both: devices are chosen by HIP_VISIBLE_DEVICES
if [[ -n "${ROCR_VISIBLE_DEVICES:-}" ]]; then
  echo "unset ROCR_VISIBLE_DEVICES, and choose devices by HIP_VISIBLE_DEVICES" >&2
  exit 1
fi
exec "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/../verl/run_cluster.sh" "$@"
