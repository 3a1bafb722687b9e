#!/usr/bin/env bash
# ./run.sh colocated|pool|two_nodes [hydra overrides]: recipes/verl/run_cluster.sh on NVIDIA GPUs. Read, not run.
set -euo pipefail

# with it, a judge replica over several GPUs sees them although it holds none itself
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0
exec "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/../verl/run_cluster.sh" "$@"
