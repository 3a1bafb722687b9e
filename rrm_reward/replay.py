"""``rrm-reward replay``: a run log rated again, without a call.

    rrm-reward replay run.sqlite --rating elo
    rrm-reward replay run.sqlite --tournament knockout

Settings are those of the logged run, but for what is said. Lines are like those of ``rrm-reward rank``, in the order in
which the groups were opened, and tell how much of the schedule the log does not have:

    {"id": "q1", "rewards": [...], "ratings": [...], "stderr": [...], "comparisons": 7, "calls": 0, "missing": 0,
     "uncovered": 0, "repeated": 0}
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any

from rrm_reward.build import make_draw
from rrm_reward.config import RRMConfig, load
from rrm_reward.errors import ConfigError
from rrm_reward.judge import render_query
from rrm_reward.rank import result_row
from rrm_reward.rating import PositionBias, Rating, check_rating, make_rating, position_bias
from rrm_reward.record import LoggedGroup, Replayed, count_lost, read_groups, read_settings, replay
from rrm_reward.reward import Reward, make_reward
from rrm_reward.seeding import derive_seed
from rrm_reward.tournament import Tournament, check_schedule, default_rating
from rrm_reward.types import PositionBelief

SECTIONS = ("seed", "tournament", "rating", "reward", "position")
"""Settings that a replay depends on."""

_NO_JUDGE = {"model": "replay", "urls": ["http://replay/v1"]}


@dataclass(frozen=True)
class Command:
    """What was asked for.

    Attributes:
        log: path of the run log.
        options: settings by key that were given as options, of `SECTIONS`.
        overrides: further settings as ``key=value``.
    """

    log: str
    options: Mapping[str, Any]
    overrides: Sequence[str]

    def run(self, out: IO[str]) -> int:
        """Write a line for every group; returns the number of groups that are left out.

        Raises:
            ConfigError: no such log, or a setting that does not work.
        """
        runs = {
            run: _Rules(self._config(logged), self._replays())
            for run, logged in read_settings(self.log).items()
        }
        groups = matches = uncovered = repeated = unfinished = scored = 0
        lost = count_lost(self.log)
        for group in read_groups(self.log):
            if group.lost:
                lost += 1
                continue
            if _was_scored(group):
                scored += 1
                continue
            replayed = runs[group.run].replay(group)
            row = json.loads(result_row(group.id, replayed.result))
            covered = {"uncovered": replayed.uncovered, "repeated": replayed.repeated}
            print(json.dumps({**row, **covered}), file=out)
            groups += 1
            unfinished += group.rewards is None
            matches += replayed.result.comparisons
            uncovered += replayed.uncovered
            repeated += replayed.repeated
        share = f"{matches - uncovered} of {matches} matches are in the log"
        _say(f"{groups} groups, {share}")
        if repeated:
            _say(f"{repeated} of these repeat the verdict of the same two: no new evidence")
        if unfinished:
            _say(f"{unfinished} groups had not come to their end when the run stopped")
        if lost:
            _say(f"{lost} groups lost rows when they were written, and are left out")
        if scored:
            _say(f"{scored} groups were scored one by one and not compared: there is nothing to rate again")
        return lost + scored

    def _replays(self) -> bool:
        """Whether a schedule is asked for, and not just all there is."""
        return any(key.startswith("tournament.") for key in (*self.options, *self.overrides))

    def _config(self, logged: Mapping[str, Any] | None) -> RRMConfig:
        """The logged settings with ours on top; options of another schedule or rating than ours are left out."""
        for override in self.overrides:
            section = override.partition("=")[0].partition(".")[0]
            if section not in SECTIONS:
                fix = f"a replay asks no judge; it takes {', '.join(SECTIONS)}"
                raise ConfigError(override.partition("=")[0], override.partition("=")[2], fix)
        tree: dict[str, Any] = {key: (logged or {})[key] for key in SECTIONS if key in (logged or {})}
        tree["position"] = {**tree.get("position", {}), "path": None}
        for section in ("tournament", "rating"):
            if f"{section}.name" in self._given():
                tree.pop(section, None)
        order = (logged or {}).get("judge", {}).get("order", "balanced")
        tree["judge"] = {**_NO_JUDGE, "order": order}
        given = [f"{key}={value}" for key, value in self.options.items()]
        return load(overrides=[*given, *self.overrides], tree=tree)

    def _given(self) -> set[str]:
        return {*self.options, *(override.partition("=")[0] for override in self.overrides)}


class _Rules:
    """What the groups of one run are rated by."""

    def __init__(self, config: RRMConfig, schedule: bool) -> None:
        self._config = config
        self._schedule = schedule
        self._draw = make_draw(config)
        tournament, chosen = config.tournament, config.rating
        check_schedule(tournament.name, tournament.options, tournament.budget)
        name = chosen.name or default_rating(tournament.name)
        check_rating(name, chosen.options, schedule=tournament.name)
        self._rating: Rating = make_rating(name, seed=config.seed, options=chosen.options)
        self._reward: Reward = make_reward(config.reward.scale, config.reward.clip, config.reward.shrink)
        self._position: PositionBias | None = position_bias(name, chosen.options, **asdict(config.position))

    def replay(self, group: LoggedGroup) -> Replayed:
        """Rate one group; groups come in the order of the log, for the judge's bias is learnt from them again."""
        position, belief = self._position, group.position
        if position is not None and belief is None:
            belief = position.belief
        belief = belief if position is not None else None
        tournament = self._tournament(group, belief) if self._schedule else None
        replayed = replay(group, self._rating, self._reward, tournament=tournament, belief=belief)
        if position is not None:
            position.update(group.size, replayed.result.outcomes)
        return replayed

    def _tournament(self, group: LoggedGroup, belief: PositionBelief | None) -> Tournament:
        """Drawn as the arena drew it, if the settings are those of the run."""
        seed = derive_seed(self._config.seed, "group", render_query(group.asked))
        return self._draw(group.size, seed, belief)


def _was_scored(group: LoggedGroup) -> bool:
    """True if rewards differ that no match can explain: the judge was a scalar reward model, or an oracle."""
    return not group.outcomes and len(set(group.rewards or ()) - {None}) > 1


def _say(text: str) -> None:
    print(f"rrm-reward: {text}", file=sys.stderr)
