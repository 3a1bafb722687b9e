#!/usr/bin/env bash
# resolve.sh PYTHON NAME [PACKAGE...]: resolve requirements/NAME.in in a fresh environment, add PACKAGEs without what they
# require, and pin what came to requirements/NAME.txt. torchvision and its kin are left out: where a package brings them,
# the registry's builds do not fit torch's CPU build, and break transformers.
set -euo pipefail
python=$1 name=$2
shift 2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
head=$(sed -n 1p "requirements/$name.txt")
"$python" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install -q -r "requirements/$name.in"
if (($#)); then "$scratch/venv/bin/pip" install -q --no-deps "$@"; fi
{ echo "$head"; "$scratch/venv/bin/pip" freeze --all | sed 's/+cpu$//' | grep -vE '^(pip|torchvision|torchaudio|torchcodec)=='; } >"requirements/$name.txt"
