"""What the speed page rests on: its figures are those of the data, and the bound of a makespan is the true one."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks import speed_page
from benchmarks._judges import Times
from rrm_reward.judge import Judgment
from rrm_reward.types import Match


def test_the_speed_page_is_what_the_results_say() -> None:
    assert speed_page.PAGE.read_text() == speed_page.render()


def longest(
    matches: list[tuple[Match, float]], after: int = -1, players: frozenset[int] | None = None
) -> float:
    """The naive twin: try every chain, match by match."""
    ends = [0.0]
    for match, seconds in matches:
        mine = {match.i, match.j}
        if match.round > after and (players is None or mine & players):
            ends.append(seconds + longest(matches, match.round, frozenset(mine)))
    return max(ends)


@given(st.lists(st.permutations(range(6)), min_size=1, max_size=3), st.data())
def test_the_longest_chain_is_that_of_all_chains(rounds, draw) -> None:
    """In each round everybody plays once, in pairs that hypothesis chooses; some pairs do not play."""
    times, matches = Times(), []
    for number, order in enumerate(rounds):
        for i, j in zip(order[::2], order[1::2], strict=True):
            if draw.draw(st.booleans()):
                seconds = draw.draw(st.floats(0.1, 10))
                matches.append((Match(i, j, number), seconds))
    for match, seconds in draw.draw(st.permutations(matches)):
        times.judged(0, match, Judgment(1.0, (), 1), seconds, late=False)
    if matches:
        assert abs(times.longest_chain - longest(matches)) < 1e-9
    assert abs(times.work - sum(seconds for _, seconds in matches)) < 1e-9
