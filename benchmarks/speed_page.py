"""Writes docs/speed.md from the results in benchmarks/data: no figure there is typed by hand.

python -m benchmarks.speed_page
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import results

ROOT = Path(__file__).parent.parent
DATA, PAGE = ROOT / "benchmarks/data", ROOT / "docs/speed.md"

TITLE = """# Speed

Written by `python -m benchmarks.speed_page` from `benchmarks/data`; `make bench` measures it all anew. A judge call
is thousands of generated tokens: what is ours must cost next to nothing, and must never leave the judge idle.
"""

SECTIONS = {
    "overhead": """## CPU a call

`rrm-reward rank` as a whole process, start-up, prompts, tournament, ratings, retries and output included, against a
bare aiohttp client that reads the same groups, asks the same {calls} questions with {concurrency} requests in
flight, and reads the verdicts: **{ratio} times its CPU** (limit {limit}). The third row sends the bytes that we
sent, and does nothing else.
""",
    "transport": """### The HTTP client alone

`rrm_reward/judge/_client.py`: asyncio's own transports, and a reader of replies without IO. {requests} requests,
{at_once} at a time.
""",
    "makespan": """## Makespan

128 groups of 16 by knockout against a judge with 256 slots and long-tailed answers (lognormal, sigma 1). The ratio
is to the larger of two: the work over the slots, and the longest chain of comparisons that wait for each other's
winners, both from what each run's comparisons took. Nobody can keep that bound who does not know beforehand which
answers will be slow: a chain that turns out to be the longest may have queued at its beginning. `mean_floor` is what is
left of the ratio to whoever does not know it and serves the longest chains first: the longest chain, after the mean
wait of the first matches. Limit of the mean ratio: {limit}.

The judge always gets the match with the longest chain of matches behind it; of equals, one of a group whose members
are all here; then that of the group opened first (`rrm_reward/_queue.py`).
""",
    "streaming": """## Judging while rollouts arrive

The wait from a group's last rollout to its rewards, in mean times of a comparison, against judging the same group from
its last rollout on. Rollouts take 20 such times, lognormal with the sigma of the table. `wide`: a judge without a
queue. `slots`: 128 groups and 256 slots. The rewards are the same bit by bit, and no verdict is lost. Aimed at
where sigma is 1: {limit}. The closer together the last rollouts come (sigma 0.5), the more is still being played then.

Round robin is well below that. **Knockout by default ({default}) is at that limit, not below it**: after the last
arrival {rounds} matches in a row are left, which take {rounds} mean times, and a whole bracket takes {whole}; so
{floor} is all that can be had without a question that may turn out to be of no use.

**With `arena.ahead=1` knockout is far below it ({ahead})**: while the last member is missing, the bracket is played on
as if that one were to lose, where the judge has nothing else to do (`rrm_reward/_ahead.py`). Rewards stay the same;
`calls_more` is what it costs, and why it is off by default.
""",
    "memory": """## Memory

8,192 rollouts of 8 kB (512 groups of 16) wait in an assembler, 1,024 requests are in flight over HTTP, and every other
match that can be played is queued. The peak is that of the whole process, imports included. Limit: {limit_mb} MB.
""",
}


def render() -> str:
    """The page: a section for every benchmark that has results."""
    parts = [TITLE]
    for name, text in SECTIONS.items():
        if not (DATA / f"{name}.json").exists():
            continue
        data: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
        parts.append(text.format(**data))
        parts.append(f"    {data['command']}     # {data['date']}, {data['machine']}\n")
        parts.append(results.table(data["rows"]) + "\n")
    return "\n".join(parts)


def main() -> int:
    PAGE.write_text(render())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
