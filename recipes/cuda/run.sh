#!/usr/bin/env bash
# ./run.sh colocated|pool|two_nodes [hydra overrides]: recipes/verl/run_cluster.sh on NVIDIA GPUs. Read, not run.
set -euo pipefail

exec "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/../verl/run_cluster.sh" "$@"
