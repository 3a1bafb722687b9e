# Two commands: `make demo` runs the main job, `make test` passes the tests. Each does its own set-up.

PYTHON ?= python3.11
SEED ?= 0
JUDGE ?= rrm
OUT ?= out/demo
export OMP_NUM_THREADS ?= 1
export PYTHONUNBUFFERED = 1
# A dozen processes of a run import the same modules: compile each once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-fast test-trainers lint format requirements checkpoints ablation bench bench-ranking scaling sizing clean

demo: .venv/.ready
	.venv/bin/python -m recipes.miniature.demo --seed $(SEED) --judge $(JUDGE) --out $(OUT)

test: lint test-fast test-trainers

test-fast: .venv/.ready .venv-verl08/.ready .venv-openrlhf/.ready
	.venv/bin/python -m pytest -q -n 2 -m "not trainer" --timeout 900

test-trainers: .venv/.ready .venv-verl08/.ready .venv-openrlhf/.ready
	.venv/bin/python -m pytest -q -n 2 --dist loadgroup -m trainer --timeout 1800 --durations 12

lint: .venv/.ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: .venv/.ready
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: .venv/.ready
	failed=; for name in overhead transport makespan streaming memory; do \
	  .venv/bin/python -m benchmarks.$$name --json benchmarks/data/$$name.json || failed="$$failed $$name"; done; \
	  [ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }
	.venv/bin/python -m benchmarks.speed_page

# Fills in what is missing in benchmarks/data (20 minutes from nothing) and writes docs/ranking.md from it.
bench-ranking: .venv/.ready
	test -e benchmarks/data/adaptive_rank.json || \
		.venv/bin/python -m benchmarks.adaptive_rank --json benchmarks/data/adaptive_rank.json
	.venv/bin/python -m benchmarks.ranking
	.venv/bin/python -m benchmarks.sharing
	test -e benchmarks/data/width.json || .venv/bin/python -m benchmarks.width --json benchmarks/data/width.json
	.venv/bin/python -m benchmarks.ranking --report

# Schedules, ratings and judges as the reward of the miniature; goes on where it ended (docs/ablation.md).
ablation: .venv/.ready
	.venv/bin/python -m recipes.ablation

# Accuracy over votes and over thinking tokens: docs/scaling.md, its figure and its numbers.
scaling: .venv/.ready
	.venv/bin/python -m recipes.scaling

# docs/sizing.md from the recipes of verl.
sizing: .venv/.ready
	.venv/bin/python -m recipes.sizing

# Remakes the committed checkpoints of the miniature (base policy and RRM).
checkpoints: .venv/.ready
	.venv/bin/python -m recipes.miniature.make_checkpoints

.venv/.ready: requirements/verl09.txt setup.py
	scripts/make_venv.sh "$(PYTHON)" .venv requirements/verl09.txt

.venv-verl08/.ready: requirements/verl08.txt setup.py
	scripts/make_venv.sh "$(PYTHON)" .venv-verl08 requirements/verl08.txt

.venv-openrlhf/.ready: requirements/openrlhf.txt setup.py
	scripts/make_openrlhf_venv.sh "$(PYTHON)" .venv-openrlhf requirements/openrlhf.txt

# Resolves the pins anew; run it to move to newer versions, then run the tests.
requirements:
	scripts/resolve.sh "$(PYTHON)" verl09
	scripts/resolve.sh "$(PYTHON)" verl08
	scripts/resolve.sh "$(PYTHON)" openrlhf openrlhf==0.11.2

clean:
	rm -rf .venv .venv-verl08 .venv-openrlhf out build *.egg-info
