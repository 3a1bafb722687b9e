"""Health on whole judgments and groups: what the gauges say, when it warns, and that it never raises."""

import itertools
import logging
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rrm_reward.arena import Arena
from rrm_reward.config import HealthConfig, load
from rrm_reward.errors import ConfigError
from rrm_reward.health import GAUGES, HEADLINES, Health
from rrm_reward.judge import Judgment
from rrm_reward.rating import make_rating
from rrm_reward.reward import make_reward
from rrm_reward.tournament import make_tournament
from rrm_reward.types import Group, GroupResult, NoVerdict, PositionBelief, Ratings, Verdict, Vote
from tests.support import clock
from tests.support.comparer import QualityJudge

TRUNCATED = Verdict(None, NoVerdict.TRUNCATED)


def vote(choice: int | None, *, i_first: bool = True, tokens: int = 100) -> Vote:
    return Vote(i_first, TRUNCATED if choice is None else Verdict(choice), 10, tokens)


def judgment(*votes: Vote) -> Judgment:
    return Judgment(1.0, votes, len(votes))


def group(lengths=(10, 20, 30), rewards=(0.0, 1.0, 2.0)) -> GroupResult:
    values = np.array(rewards)
    return GroupResult("g", values, Ratings(values, np.full(len(values), 0.1)), (), 3, 3, 0, lengths=lengths)


def told(health: Health, votes: int = 0, first: float = 0.5, missing: float = 0.0, groups: int = 0) -> None:
    """Verdicts with exactly these shares, well mixed, then groups."""
    rng = random.Random(0)
    choices = [None if k < missing * votes else 1 + (rng.random() >= first) for k in range(votes)]
    rng.shuffle(choices)
    for choice in choices:
        health.judged(judgment(vote(choice)), 1.0, late=False)
    for _ in range(groups):
        health.closed(group())


def test_every_gauge_is_there_from_the_start_and_documented() -> None:
    gauges = Health().gauges()
    assert gauges.keys() == GAUGES.keys()
    assert gauges.pop("rrm/alarms") == 0
    assert all(math.isnan(value) for value in gauges.values())


def test_a_snapshot_holds_what_is_known_under_plain_names() -> None:
    health = Health()
    assert health.snapshot() == {"health_alarms": 0.0}
    told(health, votes=10)
    assert health.snapshot()["health_no_verdict_truncated"] == 0.0
    assert all(math.isfinite(value) for value in health.snapshot().values())


def test_shares_tokens_and_times_are_those_of_the_votes() -> None:
    health = Health(half_life=1e9)
    for choice, tokens, seconds in [(1, 100, 1.0), (1, 200, 2.0), (2, 600, 2.0), (None, 900, 4.0)]:
        health.judged(judgment(vote(choice, tokens=tokens)), seconds, late=False)
    gauges = health.gauges()
    assert gauges["rrm/first_share"] == pytest.approx(2 / 3)
    assert gauges["rrm/first_share_low"] < 2 / 3 < gauges["rrm/first_share_high"]
    assert gauges["rrm/no_verdict"] == gauges["rrm/no_verdict/truncated"] == pytest.approx(1 / 4)
    assert gauges["rrm/no_verdict/error"] == 0
    assert gauges["rrm/thinking_tokens"] == pytest.approx(450)
    assert gauges["rrm/thinking_tokens/first"] == pytest.approx(150)
    assert gauges["rrm/thinking_tokens/second"] == pytest.approx(600)
    assert gauges["rrm/thinking_tokens/no_verdict"] == pytest.approx(900)
    assert gauges["rrm/prompt_tokens"] == pytest.approx(10)
    assert gauges["rrm/seconds_p50"] == pytest.approx(2.0, rel=0.021)
    assert gauges["rrm/seconds_p99"] == pytest.approx(4.0, rel=0.021)


def test_a_forced_vote_counts_for_somebody_but_is_no_verdict() -> None:
    health = Health(half_life=1e9)
    health.judged(judgment(vote(1), replace(vote(None), soft=0.9), vote(None), vote(2)), 1.0, late=False)
    gauges = health.gauges()
    assert gauges["rrm/forced"] == pytest.approx(1 / 4)
    assert gauges["rrm/no_verdict"] == pytest.approx(1 / 4)
    assert gauges["rrm/first_share"] == pytest.approx(1 / 2)


def test_what_the_store_answers_is_not_timed() -> None:
    health = Health()
    health.judged(judgment(replace(vote(1), stored=True)), 1e-3, late=False)
    assert math.isnan(health.gauges()["rrm/seconds_p50"])
    assert health.gauges()["rrm/first_share"] == 1


def test_flips_and_agreement_are_those_of_the_judgments() -> None:
    health = Health(half_life=1e9)
    health.judged(judgment(vote(1), vote(1, i_first=False)), 1.0, late=False)
    health.judged(judgment(vote(1), vote(2, i_first=False)), 1.0, late=False)
    health.judged(judgment(vote(1), vote(1), vote(2)), 1.0, late=False)
    assert health.gauges()["rrm/flip_rate"] == pytest.approx(1 / 2)
    assert health.gauges()["rrm/vote_agreement"] == pytest.approx(1 / 3)


def test_a_schedule_that_turns_pairs_round_tells_the_flip_rate_of_a_judge_that_goes_by_places() -> None:
    """`judge.order=balanced`, one vote a match: adaptive asks a pair again in the other order."""

    async def rate(noise: float) -> float:
        players = Arena(
            QualityJudge(noise=noise),
            lambda n, seed: make_tournament("adaptive", n, seed=seed, budget=12),
            make_rating("bradley_terry"),
            make_reward("natural", 5.0),
        )
        for k in range(6):
            await players.judge(Group(str(k), f"q{k}", [f"0.{k}{i}" for i in range(1, 5)]))
        return players.health.gauges()["rrm/flip_rate"]

    assert clock.run(rate(0.0)) == 0.0
    assert 0.1 < clock.run(rate(30.0)) < 0.9


def test_lengths_are_measured_against_the_baseline() -> None:
    health = Health(HealthConfig(length_baseline=10.0), half_life=1e9)
    health.closed(group(lengths=(10, 0, 30), rewards=(0.0, np.nan, 1.0)))
    gauges = health.gauges()
    assert gauges["rrm/response_chars"] == pytest.approx(20)
    assert gauges["rrm/length_drift"] == pytest.approx(2)


def test_without_a_baseline_the_first_groups_are_it() -> None:
    health = Health(half_life=80)
    for _ in range(32):
        health.closed(group(lengths=(10, 10, 10)))
    for _ in range(300):
        health.closed(group(lengths=(30, 30, 30)))
    assert health.gauges()["rrm/length_drift"] == pytest.approx(3.0, rel=0.01)


def test_a_group_counts_half_after_250_more_whatever_is_measured_of_each() -> None:
    health = Health()
    health.closed(group(lengths=(10, 0, 30)))
    then = health._groups.weights()
    assert then["length"] == then["circles"] == then["group"]
    for _ in range(250):
        health.closed(group(lengths=(10, 20, 30)))
    assert then["group"] / health._groups._now == pytest.approx(0.5)


# Alarms


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.message.startswith("judge health")]


def test_a_healthy_judge_is_not_spoken_of(caplog: pytest.LogCaptureFixture) -> None:
    health = Health()
    told(health, votes=4000, missing=0.02, groups=64)
    assert warnings(caplog) == []
    assert health.gauges()["rrm/alarms"] == 0


def test_every_alarm_is_told_once_with_key_and_fix(caplog: pytest.LogCaptureFixture) -> None:
    health = Health(HealthConfig(length_baseline=5.0))
    told(health, votes=3000)
    told(health, votes=3000, first=0.95, missing=0.3, groups=64)
    told(health, votes=3000, first=0.95, missing=0.3, groups=64)
    found = warnings(caplog)
    assert len(found) == 4
    for key, fix in [
        ("health.max_no_verdict", "judge.max_tokens"),
        ("health.max_position_bias", "judge.order=both"),
        ("health.max_bias_jump", "exchanged"),
        ("health.max_length_drift", "cap them"),
    ]:
        assert sum(key in text and fix in text for text in found) == 1, key
    assert health.gauges()["rrm/alarms"] == 4


@pytest.mark.parametrize("reason", list(NoVerdict))
def test_missing_verdicts_are_explained_by_their_commonest_reason(
    reason, caplog: pytest.LogCaptureFixture
) -> None:
    health = Health()
    for _ in range(300):
        health.judged(judgment(Vote(True, Verdict(None, reason))), 1.0, late=False)
    told(health, groups=8)
    assert f"mostly {reason.value}" in warnings(caplog)[0]


def test_a_bias_that_chance_explains_is_no_alarm(caplog: pytest.LogCaptureFixture) -> None:
    health = Health()
    for choice in [1] * 70 + [2] * 30:  # 0.7 of a hundred
        health.judged(judgment(vote(choice)), 1.0, late=False)
    told(health, groups=64)
    assert warnings(caplog) == []


def test_null_leaves_an_alarm_out(caplog: pytest.LogCaptureFixture) -> None:
    health = Health(HealthConfig(None, None, None, None, 1.0))
    told(health, votes=3000, first=1.0, missing=0.5, groups=64)
    assert warnings(caplog) == []


@pytest.mark.parametrize(
    "override", ["health.max_length_drift=0.5", "health.length_baseline=0", "health.max_bias_jump=-1"]
)
def test_thresholds_that_make_no_sense_are_refused(override) -> None:
    with pytest.raises(ConfigError, match="must be at least"):
        load(overrides=["judge.model=m", "judge.urls=[http://h/v1]", override])


def test_a_group_that_cannot_be_measured_is_logged_once_and_hurts_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    health = Health()
    broken = replace(group(), rewards=None)
    with caplog.at_level(logging.ERROR):
        health.closed(broken)
        health.closed(broken)
    assert caplog.text.count("could not be measured") == 1


# In the arena


def test_the_arena_tells_health_everything_and_shows_it() -> None:
    """A judge with no scale but a favourite place: balanced orders show it, and so do circles."""
    texts = [f"0.{k} " + "word " * k for k in range(1, 9)]

    async def main():
        players = Arena(
            QualityJudge(noise=4.0, latency=lambda a, b: 2.0),
            lambda n, seed: make_tournament("round_robin", n, seed=seed),
            make_rating("elo"),
            make_reward("natural", 5.0),
        )
        results = [await players.judge(Group(str(k), f"q{k}", texts)) for k in range(2)]
        return results, players.snapshot(), players.health.gauges()

    results, snapshot, gauges = clock.run(main())
    outcomes = [o for result in results for o in result.outcomes]
    firsts = sum(v.verdict.choice == 1 for o in outcomes for v in o.votes)
    assert results[0].lengths == tuple(len(text.strip()) for text in texts)
    assert gauges["rrm/first_share"] == pytest.approx(firsts / len(outcomes), abs=0.01)
    assert gauges["rrm/seconds_p50"] == pytest.approx(2.0, rel=0.021)
    assert 0 < gauges["rrm/intransitive"] < 1
    assert snapshot["health_first_share"] == gauges["rrm/first_share"]


def test_a_perfect_judge_makes_no_circles_and_its_rewards_follow_quality() -> None:
    texts = [f"0.{k} " + "word " * k for k in range(1, 9)]

    async def main():
        players = Arena(
            QualityJudge(),
            lambda n, seed: make_tournament("round_robin", n, seed=seed),
            make_rating("elo"),
            make_reward("natural", 5.0),
        )
        await players.judge(Group("g", "q", texts))
        return players.health.gauges()

    gauges = clock.run(main())
    assert gauges["rrm/intransitive"] == 0
    assert gauges["rrm/length_correlation"] > 0.9


def test_gauges_are_the_same_for_the_same_judgments_in_whatever_batches() -> None:
    choices = [1, 2, 1, 1, 2, None]
    one, other = Health(half_life=1e9), Health(half_life=1e9)
    for order, health in ((choices, one), (choices[::-1], other)):
        for choice in itertools.chain(order, order):
            health.judged(judgment(vote(choice)), 1.0, late=True)
    assert one.gauges() == pytest.approx(other.gauges(), abs=1e-6, nan_ok=True)


def test_the_documentation_names_every_gauge_and_what_it_means() -> None:
    text = (Path(__file__).parents[2] / "docs/health.md").read_text()
    for name, meaning in GAUGES.items():
        assert f"`{name}`" in text
        assert meaning in text


def test_the_documentation_marks_what_travels_with_every_sample() -> None:
    text = (Path(__file__).parents[2] / "docs/health.md").read_text()
    assert {name for name in GAUGES if f"`{name}` *" in text} == set(HEADLINES)


def test_headlines_are_the_same_finite_numbers_from_the_start() -> None:
    health = Health()
    before = health.headlines()
    told(health, votes=100, groups=1)
    after = health.headlines()
    assert before.keys() == after.keys() == set(HEADLINES)
    assert set(before.values()) == {0.0}
    assert all(math.isfinite(value) for value in after.values())
    assert after["rrm/thinking_tokens"] == pytest.approx(100)


def test_what_was_learnt_of_the_position_bias_shows_from_the_first_group_that_used_it() -> None:
    health = Health()
    health.closed(GroupResult("g", np.zeros(2), Ratings(np.zeros(2), np.ones(2)), (), 1, 1, 0))
    assert math.isnan(health.gauges()["rrm/position"])
    learnt = PositionBelief(1.25, 0.5)
    health.closed(
        GroupResult("g", np.zeros(2), Ratings(np.zeros(2), np.ones(2)), (), 1, 1, 0, position=learnt)
    )
    assert (health.gauges()["rrm/position"], health.gauges()["rrm/position_error"]) == (1.25, 0.5)
