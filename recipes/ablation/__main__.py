"""Run the ablation and write its page: ``make ablation``, or ``python -m recipes.ablation --help``."""

from __future__ import annotations

import argparse
from pathlib import Path

from recipes.ablation.grid import load_results, plans, run_grid
from recipes.ablation.report import write_page
from recipes.ablation.rows import BUDGET, ROWS

SEEDS = 5


def main() -> None:
    """Make the judges, run what is missing, write the page and its figures."""
    parser = argparse.ArgumentParser(prog="python -m recipes.ablation", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("out/ablation"), help="folder (default: %(default)s)"
    )
    parser.add_argument("--page", type=Path, help="Markdown to write (default: ablation.md in the folder)")
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS)
    )
    parser.add_argument(
        "--sizes", nargs="+", type=int, choices=BUDGET, default=[8, 16], help="rollouts a prompt"
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=50, help="GRPO steps (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (default: %(default)s)")
    parser.add_argument(
        "--minutes",
        type=float,
        help="begin no run after that many; a second call goes on; 0 writes the page alone",
    )
    options = parser.parse_args()
    judges = options.out / "judges"
    todo = plans(options.rows, options.sizes, range(options.seeds), options.steps)
    missing = run_grid(todo, options.out / "runs", judges, options.jobs, options.minutes)
    page = options.page or options.out / "ablation.md"
    write_page(load_results(options.out / "runs"), judges / "judges.json", page)
    print(f"wrote {page}" + (f"; {missing} runs are missing, run it again" if missing else ""))


if __name__ == "__main__":
    main()
