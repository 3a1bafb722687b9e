"""From a configuration to an arena: the only place that knows every part by name."""

from __future__ import annotations

from dataclasses import asdict, replace

from rrm_reward._open_group import Draw
from rrm_reward.arena import Arena
from rrm_reward.assembler import Assembler
from rrm_reward.config import LogConfig, PositionConfig, RatingConfig, RRMConfig, TournamentConfig
from rrm_reward.errors import ConfigError
from rrm_reward.health import Health
from rrm_reward.judge import Backend, Judge
from rrm_reward.rating import check_rating, make_rating, position_bias
from rrm_reward.record import RunLog
from rrm_reward.reward import check_reward, make_reward
from rrm_reward.scoring import Scorer, ScoringArena, check_scored_reward, make_judge
from rrm_reward.tournament import (
    SCHEDULES,
    Circumstances,
    Purse,
    Room,
    Tournament,
    check_schedule,
    default_rating,
    make_tournament,
)
from rrm_reward.types import PositionBelief


def build_arena(config: RRMConfig, backend: Backend | None = None) -> Arena:
    """An arena as configured; nothing is asked of the judge before `Arena.start`.

    Args:
        config: everything.
        backend: shared with another arena; None makes one.

    Raises:
        ConfigError: a name or option that does not exist, with key, value and fix.
    """
    schedule, log = config.tournament, config.log
    check_schedule(schedule.name, schedule.options, schedule.budget)
    if config.arena.ahead and not SCHEDULES[schedule.name].AHEAD:
        waits = ", ".join(name for name, kind in SCHEDULES.items() if kind.AHEAD)
        fix = f"{schedule.name} has nothing to play ahead; leave it at 0, or take {waits}"
        raise ConfigError("arena.ahead", config.arena.ahead, fix)
    rating = config.rating.name or default_rating(schedule.name)
    check_rating(rating, config.rating.options, schedule=schedule.name)
    rate = make_rating(rating, seed=config.seed, options=config.rating.options)
    judge = make_judge(config.judge) if backend is None else Judge.from_config(config.judge, backend)
    if isinstance(judge, Scorer):
        check_scored_reward(config.reward.scale, config.reward.shrink)
    else:
        check_reward(config.reward.scale, config.reward.shrink, rate)
    reward = make_reward(config.reward.scale, config.reward.clip, config.reward.shrink)
    recorder = RunLog(log.path, asdict(config), compress=log.compress) if log.path else None
    if isinstance(judge, Scorer):
        return ScoringArena(
            judge,
            reward,
            seed=config.seed,
            concurrency=config.arena.concurrency,
            group_timeout=config.arena.group_timeout,
            recorder=recorder,
            health=Health(config.health),
        )
    room = Room()
    return Arena(
        judge,
        make_draw(config, room),
        rate,
        reward,
        seed=config.seed,
        concurrency=config.arena.concurrency,
        group_timeout=config.arena.group_timeout,
        ahead=config.arena.ahead,
        position=position_bias(rating, config.rating.options, **asdict(config.position)),
        recorder=recorder,
        health=Health(config.health),
        room=room,
    )


def build_referee(config: RRMConfig, backend: Backend | None = None) -> Arena:
    """An arena that compares two responses in both orders: for validation against references.

    It writes no log and no position bias: those of the run are not its own.

    Args, Raises:
        See `build_arena`.
    """
    judge = replace(config.judge, order="both")
    plain = replace(
        config,
        judge=judge,
        tournament=TournamentConfig(),
        arena=replace(config.arena, ahead=0),
        rating=RatingConfig(),
        position=PositionConfig(learn=False),
        log=LogConfig(),
    )
    return build_arena(plain, backend)


def make_draw(config: RRMConfig, room: Room | None = None) -> Draw:
    """What draws the tournament of a group, as configured; `room` is that of the arena it plays in."""
    schedule = config.tournament
    around = Circumstances(both_orders=config.judge.order == "both", purse=Purse(), room=room)

    def draw(n: int, seed: int, position: PositionBelief | None = None) -> Tournament:
        circumstances = around if position is None else replace(around, position=position)
        return make_tournament(
            schedule.name,
            n,
            seed=seed,
            budget=schedule.budget,
            options=schedule.options,
            circumstances=circumstances,
        )

    return draw


def build_assembler(config: RRMConfig, arena: Arena) -> Assembler:
    """The meeting point of an arena's samples, as configured."""
    settings = config.assembler
    return Assembler(
        arena,
        member_timeout=settings.member_timeout,
        max_groups=settings.max_groups,
        remember=settings.remember,
    )
