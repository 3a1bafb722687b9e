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
# pip compiles on one core; compileall takes them all. Files for other Pythons do not compile, and need not.
"$venv/bin/pip" install -q --no-deps --no-compile -r "$pins"
"$venv/bin/python" -m compileall -qq -j 0 "$venv"/lib/python*/site-packages || true
"$venv/bin/pip" install -q --no-deps -e .
touch "$venv/.ready"
echo "== $venv: ready after $((SECONDS - start)) s"
