#!/usr/bin/env bash
# resolve.sh PYTHON NAME: resolve requirements/NAME.in in a fresh environment and pin what came to requirements/NAME.txt.
set -euo pipefail
python=$1 name=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
head=$(sed -n 1p "requirements/$name.txt")
"$python" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install -q -r "requirements/$name.in"
{ echo "$head"; "$scratch/venv/bin/pip" freeze | sed 's/+cpu$//'; } >"requirements/$name.txt"
