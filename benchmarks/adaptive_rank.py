"""How well the installed ``rrm-reward rank`` orders responses, by the number of judge calls it may spend.

A loopback server judges 400 groups of 8 as `shared/notes/peers.md` has it: Assistant 1 wins if
q1 - q2 + bias + N(0, 0.2) >= 0, qualities uniform on [0, 1]. Every figure goes the whole way: file, command line, HTTP,
verdicts, ratings, file. The position bias is learnt on the way, from nothing, unless the row says otherwise.

    python -m benchmarks.adaptive_rank            # a table; `make bench-ranking` runs it too
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import results
from benchmarks._simulated import correlation, kendall_tau
from benchmarks.ranking import mean_and_error
from tests.support.running_judge import running_judge

ROWS = (
    # bias, schedule, rating, budget, position is learnt
    (0.3, "adaptive", "bradley_terry", 16, True),
    (0.3, "adaptive", "bradley_terry", 28, True),
    (0.3, "adaptive", "bradley_terry", 28, False),
    (0.3, "round_robin", "win_rate", 28, False),
    (0.3, "round_robin", "bradley_terry", 28, True),
    (0.3, "round_robin", "bradley_terry", 16, True),
    (0.0, "adaptive", "bradley_terry", 28, True),
    (0.0, "adaptive", "bradley_terry", 28, False),
    (0.0, "adaptive", "bradley_terry", 16, True),
    (0.0, "adaptive", "bradley_terry", 16, False),
)
"""Without a bias (the last four): is the term harmless?"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--groups", type=int, default=400)
    parser.add_argument("--responses", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="OUT", help="write the rows there too, as they come")
    arguments = parser.parse_args()
    draw = random.Random(f"qualities {arguments.seed}")
    qualities = [[draw.random() for _ in range(arguments.responses)] for _ in range(arguments.groups)]
    rows = []
    found_taus: dict[tuple[float, str, int, bool], np.ndarray] = {}
    print("| bias | schedule | rating | position | budget | calls a group | tau | correlation |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.jsonl"
        with source.open("w") as file:
            for k, group in enumerate(qualities):
                responses = [f"response {i}: quality={q:.6f}" for i, q in enumerate(group)]
                file.write(json.dumps({"id": k, "query": f"query {k}", "responses": responses}) + "\n")
        for bias, schedule, rating, budget, learn in ROWS:
            output = Path(folder) / f"{bias} {schedule} {rating} {budget} {learn}.jsonl"
            with running_judge(bias=bias, noise=0.2, seed=arguments.seed) as judge:
                command = [
                    *(sys.executable, "-m", "rrm_reward.cli", "rank", str(source)),
                    *("--output", str(output)),
                    *("--judge", judge.url, "--model", judge.model, "--concurrency", "64"),
                    *("--tournament", schedule, "--rating", rating, "--budget", str(budget)),
                    f"position.learn={'null' if learn else 'false'}",
                ]
                subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
                calls = judge.counts["votes"] / arguments.groups
            found = [json.loads(line)["rewards"] for line in output.read_text().splitlines()]
            taus = [kendall_tau(np.array(r), np.array(q)) for r, q in zip(found, qualities, strict=True)]
            correlations = [
                correlation(np.array(r), np.array(q)) for r, q in zip(found, qualities, strict=True)
            ]
            tau, tau_error = mean_and_error(taus)
            found_taus[bias, schedule, budget, learn] = np.array(taus)
            learnt = found_taus.get((bias, schedule, budget, True))
            gain = None if learn or learnt is None else mean_and_error(learnt - np.array(taus))
            mean_correlation, _ = mean_and_error(correlations)
            rows.append(
                {
                    **{"bias": bias, "schedule": schedule, "rating": rating, "position": learn},
                    **{"budget": budget, "calls": calls, "tau": tau, "tau_error": tau_error},
                    "correlation": mean_correlation,
                    "learnt_less_none": gain,
                }
            )
            if arguments.json:
                results.write(Path(arguments.json), rows)
            if gain is not None:
                print(f"the term, paired by group: {gain[0]:+.4f} ± {gain[1]:.4f} of tau")
            print(
                f"| {bias} | {schedule} | {rating} | {'learnt' if learn else 'none'} | {budget} | {calls:.2f} | "
                f"{tau:.3f} ± {tau_error:.3f} | {mean_correlation:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
