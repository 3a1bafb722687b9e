"""What each schedule promises beyond what all do."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_reward.tournament import make_tournament
from rrm_reward.tournament._pairs import orient
from rrm_reward.tournament._swiss import neighbours
from rrm_reward.types import Outcome

from .playing import drawn_verdicts, play

sizes = st.integers(2, 17)
seeds = st.integers(0, 2**32)
moderate = settings(max_examples=80, deadline=None)


def pairs(outcomes: list[Outcome]) -> Counter[tuple[int, int]]:
    return Counter((min(o.i, o.j), max(o.i, o.j)) for o in outcomes)


def degrees(n: int, outcomes: list[Outcome]) -> list[int]:
    count = Counter(i for o in outcomes for i in (o.i, o.j))
    return [count[i] for i in range(n)]


def parts(n: int, outcomes: list[Outcome]) -> int:
    """Number of sets of responses that no chain of matches connects."""
    label = list(range(n))
    for o in outcomes:
        label = [label[o.i] if x == label[o.j] else x for x in label]
    return len(set(label))


class TestRoundRobin:
    @given(sizes, seeds)
    @moderate
    def test_everybody_meets_everybody_once(self, n: int, seed: int) -> None:
        assert pairs(play("round_robin", n, seed=seed).outcomes) == Counter(
            itertools.combinations(range(n), 2)
        )

    @pytest.mark.parametrize("n", range(2, 14))
    def test_any_budget_is_spent_in_full_and_evenly_and_connects_all_it_can(self, n: int) -> None:
        for budget in range(1, n * (n - 1) // 2 + 1):
            outcomes = play("round_robin", n, budget=budget).outcomes
            assert len(pairs(outcomes)) == len(outcomes) == budget
            assert max(degrees(n, outcomes)) - min(degrees(n, outcomes)) <= 1
            if budget >= n - 1:
                assert parts(n, outcomes) == 1

    def test_a_match_is_ready_as_soon_as_both_have_arrived(self) -> None:
        tournament = make_tournament("round_robin", 8, seed=1)
        for there, i in enumerate([3, 0, 7, 1]):
            tournament.add(i)
            assert len(tournament.ready()) == there

    @given(st.integers(1, 12), st.data())
    @moderate
    def test_any_set_of_pairs_can_be_turned_so_that_all_are_first_half_the_time(
        self, n: int, data: st.DataObject
    ) -> None:
        every = list(itertools.combinations(range(n), 2))
        chosen = data.draw(st.lists(st.sampled_from(every), max_size=40)) if every else []
        turned = orient(n, [(a, b, 0) for a, b in chosen])
        assert [tuple(sorted(pair[:2])) for pair in turned] == chosen
        lead = Counter(a for a, _, _ in turned)
        lead.subtract(Counter(b for _, b, _ in turned))
        assert all(abs(x) <= 1 for x in lead.values())


class TestCircular:
    @given(sizes, seeds, st.integers(1, 6))
    @moderate
    def test_everybody_meets_k_others_on_one_ring(self, n: int, seed: int, half: int) -> None:
        outcomes = play("circular", n, seed=seed, options={"k": 2 * half}).outcomes
        assert max(pairs(outcomes).values()) == 1
        assert set(degrees(n, outcomes)) == {min(2 * half, n - 1)}
        ring = [o for o in outcomes if o.round == 0]
        assert parts(n, ring) == 1
        near = defaultdict(set)
        for o in ring:
            near[o.i].add(o.j)
            near[o.j].add(o.i)
        for o in outcomes:
            steps, reached = 0, {o.i}
            while o.j not in reached:
                steps, reached = steps + 1, reached.union(*(near[i] for i in reached))
            assert steps == o.round + 1

    def test_a_smaller_budget_shrinks_the_ring_and_not_a_part_of_it(self) -> None:
        for budget in range(10, 60):
            outcomes = play("circular", 10, budget=budget, options={"k": 8}).outcomes
            assert set(degrees(10, outcomes)) == {min(2 * (budget // 10), 8)}


class TestKnockout:
    @given(sizes, seeds, st.permutations(range(17)))
    @moderate
    def test_a_naive_bracket_with_the_same_first_round_plays_the_same_matches(
        self, n: int, seed: int, quality: list[int]
    ) -> None:
        better = lambda a, b, round: float(quality[a] > quality[b])  # noqa: E731
        outcomes = play("knockout", n, better, seed=seed).outcomes
        left = set(range(n))
        for round in range((n - 1).bit_length()):
            met = [(o.i, o.j) for o in outcomes if o.round == round]
            playing = {i for pair in met for i in pair}
            assert playing <= left
            # Byes in the first round only, as many as fill it up to a power of two.
            assert len(left - playing) == (2 ** (n - 1).bit_length() - n if round == 0 else 0)
            left -= {min(pair, key=lambda i: quality[i]) for pair in met}
        assert left == {max(range(n), key=lambda i: quality[i])}

    @given(sizes, seeds)
    @moderate
    def test_consolation_plays_for_every_place(self, n: int, seed: int) -> None:
        tournament = play("knockout", n, seed=seed, options={"consolation": True})
        per_round = Counter(o.round for o in tournament.outcomes)
        assert max(per_round) == (n - 1).bit_length() - 1
        record: dict[int, list[float]] = defaultdict(list)
        for o in sorted(tournament.outcomes, key=lambda o: o.round):
            record[o.i].append(o.p or 0.0)
            record[o.j].append(1 - (o.p or 0.0))
        if n & (n - 1) == 0:
            assert len(tournament.outcomes) == n // 2 * int(math.log2(n))
            assert len({tuple(results) for results in record.values()}) == n
        assert all(record[0])
        assert not any(record[n - 1])

    def test_a_second_round_match_does_not_wait_for_the_other_half(self) -> None:
        tournament = make_tournament("knockout", 8, seed=0)
        whole = play("knockout", 8, seed=0)
        semi = next(o for o in whole.outcomes if o.round == 1)
        half = {semi.i, semi.j} | {
            x for o in whole.outcomes if o.round == 0 and {o.i, o.j} & {semi.i, semi.j} for x in (o.i, o.j)
        }
        for i in half:
            tournament.add(i)
        for match in tournament.ready():
            tournament.record(Outcome(match.i, match.j, float(match.i < match.j), round=match.round))
        assert [(m.i, m.j, m.round) for m in tournament.ready()] == [(semi.i, semi.j, 1)]

    @pytest.mark.parametrize("n", [6, 10, 12])
    def test_byes_are_spread_over_the_bracket(self, n: int) -> None:
        for seed in range(20):
            outcomes = play("knockout", n, seed=seed).outcomes
            opened = {i for o in outcomes if o.round == 0 for i in (o.i, o.j)}
            byes = [len({o.i, o.j} - opened) for o in outcomes if o.round == 1]
            assert max(byes) - min(byes) <= 1

    def test_who_is_put_out_by_a_coin_does_not_play_among_the_losers(self) -> None:
        for seed in range(20):
            outcomes = play(
                "knockout",
                8,
                lambda a, b, round: None if {a, b} & {0} else 1.0,
                seed=seed,
                options={"consolation": True},
            ).outcomes
            opening = next(o for o in outcomes if o.round == 0 and o.p is None)
            one, other = (
                sum(o.round > 0 and i in (o.i, o.j) for o in outcomes) for i in (opening.i, opening.j)
            )
            assert min(one, other) == 0
            assert max(one, other) >= 1

    def test_depth_counts_down_to_the_final(self) -> None:
        tournament = make_tournament("knockout", 8, seed=0)
        for i in range(8):
            tournament.add(i)
        assert {m.depth for m in tournament.ready()} == {3}

    def test_without_a_verdict_either_may_go_on_whoever_was_shown_first(self) -> None:
        first_goes_on = 0
        for seed in range(400):
            outcomes = play("knockout", 4, lambda a, b, round: None, seed=seed).outcomes
            opening = next(o for o in outcomes if o.round == 0)
            first_goes_on += any(opening.i in (o.i, o.j) for o in outcomes if o.round == 1)
        assert 160 < first_goes_on < 240

    def test_a_tie_is_treated_as_no_verdict_is(self) -> None:
        for seed in range(50):
            missing = play("knockout", 8, lambda a, b, round: None, seed=seed).outcomes
            tied = play("knockout", 8, lambda a, b, round: 0.5, seed=seed).outcomes
            assert [(o.i, o.j) for o in missing] == [(o.i, o.j) for o in tied]

    def test_without_a_verdict_the_one_who_is_still_there_goes_on(self) -> None:
        for leaves in (0, 1):
            tournament = make_tournament("knockout", 4, seed=0)
            for i in range(4):
                tournament.add(i)
            one, other = tournament.ready()
            gone, stays = (one.i, one.j) if leaves == 0 else (one.j, one.i)
            tournament.withdraw(gone)
            tournament.record(Outcome(one.i, one.j, None))
            tournament.record(Outcome(other.i, other.j, 1.0))
            (final,) = tournament.ready()
            assert {final.i, final.j} == {stays, other.i}

    def test_a_winner_who_has_left_leaves_a_bye_and_the_result_stands(self) -> None:
        tournament = make_tournament("knockout", 4, seed=0)
        for i in range(4):
            tournament.add(i)
        one, other = tournament.ready()
        tournament.withdraw(one.i)
        tournament.record(Outcome(one.i, one.j, 1.0))
        tournament.record(Outcome(other.i, other.j, 1.0))
        assert tournament.done
        assert [o.p for o in tournament.outcomes] == [1.0, 1.0]

    def test_a_player_who_leaves_before_the_match_is_fetched_gives_a_bye(self) -> None:
        tournament = make_tournament("knockout", 4, seed=0)
        for i in range(4):
            tournament.add(i)
        twin = play("knockout", 4, seed=0)
        opening = [o for o in twin.outcomes if o.round == 0]
        tournament.withdraw(opening[0].i)
        (other,) = tournament.ready()
        tournament.record(Outcome(other.i, other.j, 1.0))
        (final,) = tournament.ready()
        assert {final.i, final.j} == {opening[0].j, other.i}


class TestDoubleElimination:
    @given(sizes, seeds, st.permutations(range(17)))
    @moderate
    def test_out_after_two_losses_and_the_best_two_play_the_final(
        self, n: int, seed: int, quality: list[int]
    ) -> None:
        tournament = play(
            "double_elimination", n, lambda a, b, round: float(quality[a] > quality[b]), seed=seed
        )
        ranked = sorted(range(n), key=lambda i: -quality[i])
        losses: Counter[int] = Counter()
        for o in sorted(tournament.outcomes, key=lambda o: o.round):
            assert losses[o.i] < 2
            assert losses[o.j] < 2
            losses[o.j if o.p else o.i] += 1
        final = max(tournament.outcomes, key=lambda o: o.round)
        assert {final.i, final.j} == set(ranked[:2])
        assert losses == Counter({i: 2 for i in ranked[1:]})
        assert len(tournament.outcomes) == 2 * n - 2

    def test_a_missing_verdict_puts_nobody_out(self) -> None:
        for seed in range(30):
            outcomes = play(
                "double_elimination", 8, lambda a, b, round: None if round == 0 else 1.0, seed=seed
            ).outcomes
            assert min(degrees(8, outcomes)) >= 2


class TestSwiss:
    @given(sizes, seeds, st.integers(2, 6))
    @moderate
    def test_nobody_meets_the_same_one_twice_and_everybody_plays_every_round(
        self, n: int, seed: int, rounds: int
    ) -> None:
        outcomes = play("swiss", n, drawn_verdicts(seed), seed=seed, options={"rounds": rounds}).outcomes
        assert max(pairs(outcomes).values()) == 1
        for round in range(min(rounds, n // 2)):
            players = [i for o in outcomes if o.round == round for i in (o.i, o.j)]
            assert len(players) == len(set(players)) == n - n % 2

    @pytest.mark.parametrize("n", [4, 8, 16, 32])
    def test_equal_scores_meet_until_one_is_unbeaten(self, n: int) -> None:
        score: Counter[int] = Counter()
        for o in play("swiss", n, seed=3).outcomes:
            assert score[o.i] // 2**20 == score[o.j] // 2**20 == o.round
            before = (score[o.i] % 2**20, score[o.j] % 2**20)
            assert before[0] == before[1]
            score[o.i] += 2**20 + bool(o.p)
            score[o.j] += 2**20 + (not o.p)
        assert [i for i in range(n) if score[i] % 2**20 == math.log2(n)] == [0]

    def test_a_bye_goes_to_a_different_one_each_round(self) -> None:
        outcomes = play("swiss", 7, options={"rounds": 5}).outcomes
        byes = [set(range(7)) - {i for o in outcomes if o.round == r for i in (o.i, o.j)} for r in range(5)]
        assert len(set.union(*byes)) == 5

    def test_without_a_verdict_both_stand_alike_in_the_table(self) -> None:
        """Of the two, either may be the one who meets the winner of the other match."""
        first_meets_the_winner = 0
        for seed in range(300):
            tournament = make_tournament("swiss", 4, seed=seed)
            for i in range(4):
                tournament.add(i)
            one, other = tournament.ready()
            tournament.record(Outcome(one.i, one.j, None))
            tournament.record(Outcome(other.i, other.j, 1.0))
            first_meets_the_winner += any({m.i, m.j} == {one.i, other.i} for m in tournament.ready())
        assert 110 < first_meets_the_winner < 190

    def test_a_smaller_budget_means_fewer_whole_rounds(self) -> None:
        assert len(play("swiss", 9, budget=11).outcomes) == 8
        assert len(play("swiss", 9, budget=15).outcomes) == 12

    def test_a_round_waits_for_the_last_verdict_of_the_one_before(self) -> None:
        tournament = make_tournament("swiss", 4, seed=0)
        for i in range(4):
            assert tournament.ready() == []
            tournament.add(i)
        one, other = tournament.ready()
        tournament.record(Outcome(one.i, one.j, 1.0))
        assert tournament.ready() == []
        tournament.record(Outcome(other.i, other.j, None))
        assert {m.round for m in tournament.ready()} == {1}

    @given(st.integers(1, 6), st.data())
    @moderate
    def test_pairing_is_complete_whenever_half_the_table_is_still_to_meet(
        self, half: int, data: st.DataObject
    ) -> None:
        n = 2 * half
        met: set[tuple[int, int]] = set()
        for a, b in data.draw(
            st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=3 * n)
        ):
            new = met | {(a, b), (b, a)}
            if a != b and all(sum((x, y) in new for y in range(n)) <= half - 1 for x in (a, b)):
                met = new
        cut = data.draw(st.integers(0, n))
        groups = [group for group in (list(range(cut)), list(range(cut, n))) if group]
        paired = neighbours(groups, met)
        assert sorted(i for pair in paired for i in pair) == list(range(n))
        assert not met & set(paired)


class TestAnchor:
    @given(sizes, seeds, st.integers(1, 4))
    @moderate
    def test_everybody_meets_every_anchor(self, n: int, seed: int, anchors: int) -> None:
        outcomes = play("anchor", n, seed=seed, options={"anchors": anchors}).outcomes
        anchors = min(anchors, n - 1)
        assert max(pairs(outcomes).values()) == 1
        assert sorted(degrees(n, outcomes)) == [anchors] * (n - anchors) + [n - 1] * anchors

    @given(st.integers(3, 9), seeds, st.integers(1, 3))
    @moderate
    def test_a_failed_anchor_is_replaced(self, n: int, seed: int, anchors: int) -> None:
        options = {"anchors": anchors}
        whole = degrees(n, play("anchor", n, seed=seed, options=options).outcomes)
        anchor = whole.index(n - 1)
        outcomes = play("anchor", n, seed=seed, options=options, gone=frozenset([anchor])).outcomes
        rest = [d for i, d in enumerate(degrees(n, outcomes)) if i != anchor]
        k = min(anchors, n - 2)
        assert sorted(rest) == [k] * (n - 1 - k) + [n - 2] * k

    def test_an_anchor_that_leaves_before_any_match_is_fetched_is_replaced_at_once(self) -> None:
        anchor = degrees(6, play("anchor", 6, seed=5).outcomes).index(5)
        tournament = make_tournament("anchor", 6, seed=5)
        for i in range(6):
            tournament.add(i)
        tournament.withdraw(anchor)
        matches = tournament.ready()
        assert len(matches) == 4
        assert {i for m in matches for i in (m.i, m.j)} == set(range(6)) - {anchor}

    def test_an_anchor_that_leaves_half_way_is_replaced_for_those_it_has_not_met(self) -> None:
        whole = degrees(6, play("anchor", 6, seed=5).outcomes)
        anchor = whole.index(5)
        tournament = make_tournament("anchor", 6, seed=5)
        others = [i for i in range(6) if i != anchor]
        for i in [anchor, *others[:2]]:
            tournament.add(i)
        early = tournament.ready()
        tournament.withdraw(anchor)
        for i in others[2:]:
            tournament.add(i)
        late = tournament.ready()
        assert {i for m in early for i in (m.i, m.j)} == {anchor, *others[:2]}
        assert {i for m in early + late for i in (m.i, m.j)} == set(range(6))
        assert len(early + late) <= tournament.planned
