#!/usr/bin/env bash
# make_venv.sh PYTHON VENV PINS: a virtual environment with exactly the pinned packages and this checkout.
# Prints a line every few seconds: pip says nothing while it unpacks two gigabytes.
set -euo pipefail
python=$1 venv=$2 pins=$3
echo "== $venv: installing $(grep -cv '^#' "$pins") packages from $pins"
"$python" -m venv "$venv"
start=$SECONDS
(while sleep 8; do echo "== $venv: $((SECONDS - start)) s, $(ls "$venv"/lib/python*/site-packages | wc -l) entries"; done) &
ticker=$!
trap 'kill $ticker 2>/dev/null || true' EXIT
# pip works on one core, so two of them share the list (nothing depends on the order: there is nothing to resolve),
# and bytecode is made afterwards on all cores. What few programs import is compiled when they do.
scratch=$(mktemp -d)
grep -v '^#' "$pins" | split -n r/2 - "$scratch/part."
"$venv/bin/pip" install -q --no-deps --no-compile -r "$scratch/part.aa" &
first=$!
"$venv/bin/pip" install -q --no-deps --no-compile -r "$scratch/part.ab"
wait $first
rm -r "$scratch"
"$venv/bin/python" -m compileall -qq -j 0 -x '/(tests?|testing)/|transformers/models/[b-km-pr-z]' \
  "$venv"/lib/python*/site-packages || true # files for other Pythons do not compile
"$venv/bin/pip" install -q --no-deps -e .
touch "$venv/.ready"
echo "== $venv: ready after $((SECONDS - start)) s"
