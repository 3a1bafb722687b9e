"""What each rating promises beyond what all do: its numbers, checked against twins and other people's code."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from fractions import Fraction
from typing import Any

import choix
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_reward.rating import make_rating
from rrm_reward.rating._elo import POINTS, expected_score, orders_of_play
from rrm_reward.rating._strength import Comparisons, maximise
from rrm_reward.types import FloatArray, Outcome, PositionBelief, Verdict, Vote

from ..tournament.playing import drawn_verdicts, play

moderate = settings(max_examples=40, deadline=None)


@st.composite
def clear_outcomes(draw: st.DrawFn, n: int) -> list[Outcome]:
    """Any number of matches between any two, each won by one of them."""
    pair = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1), st.booleans()).filter(
        lambda t: t[0] != t[1]
    )
    return [Outcome(i, j, float(won)) for i, j, won in draw(st.lists(pair, min_size=1, max_size=30))]


def all_pairs(n: int, rng: np.random.Generator, strength: FloatArray, position: float = 0.0) -> list[Outcome]:
    outcomes = []
    for i, j in itertools.combinations(range(n), 2):
        i_first = bool(rng.random() < 0.5)
        logit = strength[i] - strength[j] + (position if i_first else -position)
        won = bool(rng.random() < 1 / (1 + np.exp(-logit)))
        vote = Vote(i_first, Verdict(1 if won == i_first else 2))
        outcomes.append(Outcome(i, j, float(won), (vote,)))
    return outcomes


class TestWinRate:
    @given(st.integers(0, 10_000), st.sampled_from(["round_robin", "circular", "swiss"]))
    @moderate
    def test_agrees_with_exact_fractions(self, seed: int, schedule: str) -> None:
        outcomes = play(schedule, 7, drawn_verdicts(seed), seed=seed).outcomes
        shares: dict[int, list[Fraction]] = defaultdict(list)
        for o in outcomes:
            if o.p is not None:
                shares[o.i].append(Fraction(o.p))
                shares[o.j].append(1 - Fraction(o.p))
        ratings = make_rating("win_rate")(7, outcomes)
        for i, mine in shares.items():
            assert ratings.value[i] == pytest.approx(float(sum(mine) / len(mine)), abs=1e-11)
            a, b = sum(mine) + 2, len(mine) - sum(mine) + 2
            error = a * b / ((a + b) ** 2 * (a + b + 1)) + (sum(mine) / len(mine) - a / (a + b)) ** 2
            assert ratings.stderr[i] ** 2 == pytest.approx(float(error))

    def test_shares_that_add_up_alike_are_equal_though_rounding_differs(self) -> None:
        assert (0.1 + 0.2) + 0.3 != (0.3 + 0.2) + 0.1
        outcomes = [Outcome(0, j, p) for j, p in ((2, 0.1), (3, 0.2), (4, 0.3))]
        outcomes += [Outcome(1, j, p) for j, p in ((2, 0.3), (3, 0.2), (4, 0.1))]
        value = make_rating("win_rate")(5, outcomes).value
        assert value[0] == value[1]

    def test_the_standard_error_covers_the_true_win_rate(self) -> None:
        rng = np.random.default_rng(0)
        inside = []
        for _ in range(300):
            strength = rng.normal(0, 1, 9)
            chance = 1 / (1 + np.exp(strength[None, :] - strength[:, None]))
            truth = (chance.sum(axis=1) - 0.5) / 8
            ratings = make_rating("win_rate")(9, all_pairs(9, rng, strength))
            inside += list(abs(ratings.value - truth) < 1.96 * ratings.stderr)
        assert 0.93 < np.mean(inside) < 0.98


class TestBradleyTerry:
    @given(st.integers(2, 7).flatmap(lambda n: st.tuples(st.just(n), clear_outcomes(n))), st.floats(0.3, 3))
    @moderate
    def test_agrees_with_choix_under_the_same_prior(
        self, group: tuple[int, list[Outcome]], prior: float
    ) -> None:
        n, outcomes = group
        wins = [(o.i, o.j) if o.p else (o.j, o.i) for o in outcomes]
        # choix penalises alpha |s|^2, so that alpha = 1 / (2 prior^2).
        oracle = choix.opt_pairwise(n, wins, alpha=1 / (2 * prior**2), tol=1e-10)
        ours = make_rating("bradley_terry", options={"prior": prior})(n, outcomes).value
        known = ~np.isnan(ours)
        np.testing.assert_allclose(ours[known], oracle[known], atol=1e-5)

    def test_agrees_with_choix_without_a_prior_where_that_is_defined(self) -> None:
        rng = np.random.default_rng(1)
        outcomes = [o for _ in range(10) for o in all_pairs(6, rng, np.linspace(-1, 1, 6))]
        wins = [(o.i, o.j) if o.p else (o.j, o.i) for o in outcomes]
        ours = make_rating("bradley_terry", options={"prior": 100.0})(6, outcomes).value
        np.testing.assert_allclose(ours, choix.ilsr_pairwise(6, wins), atol=1e-3)

    def test_a_share_of_the_votes_weighs_as_the_mixture_of_both_results(self) -> None:
        part = [Outcome(0, 1, 0.75), Outcome(1, 2, 0.25), Outcome(0, 2, 1.0)]
        split = [Outcome(o.i, o.j, float(k < o.p * 4)) for o in part for k in range(4) if o.p is not None]
        # Four matches in place of one are four times the evidence; half the prior's deviation evens it out.
        one = make_rating("bradley_terry", options={"prior": 2.0})(3, part).value
        four = make_rating("bradley_terry", options={"prior": 1.0})(3, split).value
        np.testing.assert_allclose(one, four, atol=1e-9)

    @given(st.integers(2, 8), st.integers(0, 10_000), st.floats(0.2, 100))
    @moderate
    def test_no_other_strengths_are_more_probable(self, n: int, seed: int, prior: float) -> None:
        """A naive twin: the posterior written out, at the mode and beside it."""
        outcomes = play("round_robin", n, drawn_verdicts(seed, (0.0, 1.0, 0.3)), seed=seed).outcomes
        value = make_rating("bradley_terry", options={"prior": prior})(n, outcomes).value

        def posterior(s: FloatArray) -> float:
            total = -sum(x * x for x in s) / (2 * prior**2)
            for o in outcomes:
                d = s[o.i] - s[o.j]
                total -= o.p * np.logaddexp(0, -d) + (1 - o.p) * np.logaddexp(0, d)  # type: ignore[operator]
            return total

        best = posterior(value)
        rng = np.random.default_rng(seed)
        for size in (1e-3, 0.1, 1.0):
            assert posterior(value + size * rng.normal(size=n)) < best
        assert sum(value) == pytest.approx(0, abs=1e-8)

    def test_unbeaten_winless_and_unconnected_responses_get_finite_strengths(self) -> None:
        value = make_rating("bradley_terry")(5, [Outcome(0, 1, 1.0), Outcome(2, 3, 1.0)]).value
        assert value[0] == value[2] == -value[1] == -value[3]
        assert 0.3 < value[0] < 1
        assert np.isnan(value[4])

    @pytest.mark.parametrize("prior", [1e-3, 1.5, 100.0])
    @pytest.mark.parametrize("offset", [0.0, 30.0, -100.0])
    def test_newton_arrives_from_anywhere(self, prior: float, offset: float) -> None:
        rng = np.random.default_rng(2)
        i, j = np.array(list(itertools.combinations(range(16), 2))).T
        m = len(i)
        rows = Comparisons(i, j, rng.integers(0, 2, m).astype(float), np.full(m, 5.0), np.full(m, offset))
        fit = maximise(16, rows, prior, PositionBelief(1.0))
        strength, covariance = fit.strength, fit.covariance[:16, :16]
        d = strength[i] - strength[j] + offset
        residual = rows.weight * (rows.p - 1 / (1 + np.exp(-d)))
        gradient = np.bincount(i, residual, 16) - np.bincount(j, residual, 16) - strength / prior**2
        assert abs(gradient).max() < 1e-6 * max(1.0, 1 / prior**2)
        assert (np.linalg.eigvalsh(covariance) > 0).all()

    def test_the_standard_error_is_that_of_centred_strengths(self) -> None:
        outcomes = play("circular", 9, drawn_verdicts(4)).outcomes
        rows = [(o.i, o.j, o.p, 1.0, 0.0) for o in outcomes if o.p is not None]
        i, j, p, weight, order = np.array(rows, dtype=np.float64).T
        fit = maximise(9, Comparisons(i.astype(int), j.astype(int), p, weight, order), 1.5)
        covariance = fit.covariance[:9, :9]
        centre = np.eye(9) - 1 / 9
        expected = np.sqrt(np.diag(centre @ covariance @ centre))
        np.testing.assert_allclose(make_rating("bradley_terry")(9, outcomes).stderr, expected)

    def test_the_standard_error_covers_the_true_strength(self) -> None:
        rng = np.random.default_rng(3)
        rating = make_rating("bradley_terry")
        z = []
        for _ in range(300):
            strength = rng.normal(0, 1.5, 8)
            ratings = rating(8, all_pairs(8, rng, strength))
            z += list((ratings.value - (strength - strength.mean())) / ratings.stderr)
        assert 0.92 < np.mean(np.abs(z) < 1.96) < 0.975
        assert 0.64 < np.mean(np.abs(z) < 1.0) < 0.73
        assert abs(np.mean(z)) < 0.02

    def test_the_position_term_takes_the_judges_bias_off(self) -> None:
        rng = np.random.default_rng(4)
        errors: dict[float, list[float]] = {0.0: [], 1.5: []}
        for _ in range(200):
            strength = rng.normal(0, 1.5, 8)
            outcomes = all_pairs(8, rng, strength, position=1.5)
            for position, found in errors.items():
                value = make_rating("bradley_terry", options={"position": position})(8, outcomes).value
                found.append(float(np.mean((value - strength + strength.mean()) ** 2)))
        assert np.mean(errors[1.5]) < 0.9 * np.mean(errors[0.0])

    def test_a_win_against_the_order_is_worth_more_than_one_with_it(self) -> None:
        rating = make_rating("bradley_terry", options={"position": 1.0})
        with_it = rating(2, [Outcome(0, 1, 1.0, (Vote(True, Verdict(1)),))]).value[0]
        against_it = rating(2, [Outcome(0, 1, 1.0, (Vote(False, Verdict(2)),))]).value[0]
        unknown = rating(2, [Outcome(0, 1, 1.0)]).value[0]
        assert 0 < with_it < unknown < against_it

    def test_both_orders_cancel_and_a_majority_keeps_its_decision(self) -> None:
        rating = make_rating("bradley_terry", options={"position": 2.0})
        split = (Vote(True, Verdict(1)), Vote(False, Verdict(1)))
        assert rating(2, [Outcome(0, 1, 0.5, split)]).value.tolist() == [0.0, 0.0]
        balanced = (*split, Vote(True, Verdict(1)), Vote(False, Verdict(2)))
        majority = rating(2, [Outcome(0, 1, 1.0, balanced)]).value
        np.testing.assert_allclose(majority, rating(2, [Outcome(0, 1, 1.0)]).value)

    def test_the_position_can_be_given_with_the_call(self) -> None:
        outcomes = [Outcome(0, 1, 1.0, (Vote(True, Verdict(1)),))]
        rating: Any = make_rating("bradley_terry")
        fixed = make_rating("bradley_terry", options={"position": 0.7})
        np.testing.assert_array_equal(
            rating(2, outcomes, PositionBelief(0.7)).value, fixed(2, outcomes).value
        )

    def test_a_match_counts_once_unless_votes_are_said_to_be_independent(self) -> None:
        votes = tuple(Vote(k % 2 == 0, Verdict(1 if k % 2 == 0 else 2)) for k in range(4))
        many, one = [Outcome(0, 1, 1.0, votes)], [Outcome(0, 1, 1.0)]
        default = make_rating("bradley_terry")
        np.testing.assert_array_equal(default(2, many).value, default(2, one).value)
        independent = make_rating("bradley_terry", options={"vote_correlation": 0.0})
        np.testing.assert_allclose(independent(2, many).value, default(2, one * 4).value)


class TestElo:
    def test_expected_scores_of_the_published_example(self) -> None:
        """Wikipedia, "Elo rating system": a 1613 player against 1609, 1477, 1388, 1586 and 1720."""
        differences = 1613 - np.array([1609.0, 1477.0, 1388.0, 1586.0, 1720.0])
        expected = expected_score(differences)
        np.testing.assert_allclose(expected, [0.51, 0.69, 0.79, 0.54, 0.35], atol=0.0055)
        assert round(1613 + 32 * (2.5 - expected.sum())) == 1601

    def test_one_game_between_equals_moves_half_of_k(self) -> None:
        rating = make_rating("elo", options={"mode": "online", "k": 32})
        assert rating(3, [Outcome(0, 1, 1.0)]).value[:2].tolist() == [1516.0, 1484.0]

    @given(st.integers(0, 10_000))
    @moderate
    def test_online_agrees_with_a_naive_loop_over_the_same_orders(self, seed: int) -> None:
        outcomes = play("round_robin", 6, drawn_verdicts(seed), seed=seed).outcomes
        known = [o for o in outcomes if o.p is not None]
        options = {"mode": "online", "k": 24, "repeats": 5, "initial": 1000}
        ours = make_rating("elo", seed=seed, options=options)(6, outcomes).value
        totals = np.zeros(6)
        for order in orders_of_play(len(known), 5, seed):
            assert sorted(order) == list(range(len(known)))
            rating = [1000.0] * 6
            for at in order:
                o = known[at]
                expected = 1 / (1 + 10 ** ((rating[o.j] - rating[o.i]) / 400))
                rating[o.i] += 24 * (o.p - expected)  # type: ignore[operator]
                rating[o.j] -= 24 * (o.p - expected)  # type: ignore[operator]
            totals += rating
        played = ~np.isnan(ours)
        np.testing.assert_allclose(ours[played], (totals / 5)[played], atol=1e-6)

    def test_online_conserves_points_and_repeats_itself(self) -> None:
        outcomes = play("round_robin", 8, drawn_verdicts(1, (0.0, 1.0))).outcomes
        one = make_rating("elo", seed=1, options={"mode": "online"})(8, outcomes)
        again = make_rating("elo", seed=1, options={"mode": "online"})(8, outcomes)
        other = make_rating("elo", seed=2, options={"mode": "online"})(8, outcomes)
        assert one.value.mean() == pytest.approx(1500)
        np.testing.assert_array_equal(one.value, again.value)
        assert abs(one.value - other.value).max() > 0
        assert np.isnan(one.stderr).all()

    def test_maximum_likelihood_is_bradley_terry_on_elos_scale(self) -> None:
        outcomes = play("circular", 9, drawn_verdicts(5)).outcomes
        elo, strength = make_rating("elo")(9, outcomes), make_rating("bradley_terry")(9, outcomes)
        np.testing.assert_allclose(elo.value, 1500 + POINTS * strength.value, atol=1e-6)
        np.testing.assert_allclose(elo.stderr, POINTS * strength.stderr, atol=1e-6)

    def test_online_with_small_k_over_many_replays_approaches_maximum_likelihood(self) -> None:
        outcomes = play("round_robin", 6, drawn_verdicts(8, (0.2, 0.4, 0.6, 0.8))).outcomes
        likely = make_rating("elo", options={"prior": 1e4})(6, outcomes).value
        online = make_rating("elo", options={"mode": "online", "k": 2, "repeats": 64})(
            6, outcomes * 300
        ).value
        np.testing.assert_allclose(online, likely, atol=2.0)


class TestPlacement:
    def rank(self, n: int, outcomes: list[Outcome]) -> FloatArray:
        """Expected places, from 1, of all who played."""
        value = make_rating("placement")(n, outcomes).value
        played = len({i for o in outcomes for i in (o.i, o.j)})
        return played - value * (played - 1)

    @given(st.integers(2, 17), st.integers(0, 10_000))
    @moderate
    def test_a_plain_knockout_counts_who_went_further(self, n: int, seed: int) -> None:
        """A naive twin: one's place is behind all who went further and in the middle of those who went as far."""
        outcomes = play("knockout", n, drawn_verdicts(seed, (0.0, 1.0)), seed=seed).outcomes
        out_in = {(o.j if o.p else o.i): o.round for o in outcomes}
        out_in |= {i: 99 for i in range(n) if i not in out_in}
        places = self.rank(n, outcomes)
        for i in range(n):
            further = sum(r > out_in[i] for r in out_in.values())
            as_far = sum(r == out_in[i] for r in out_in.values())
            assert places[i] == pytest.approx(further + (as_far + 1) / 2)

    @given(st.sampled_from([2, 4, 8, 16]), st.integers(0, 10_000))
    @moderate
    def test_consolation_reads_the_results_as_binary_digits(self, n: int, seed: int) -> None:
        """A naive twin: with n = 2^r, a loss in round k costs n / 2^(k+1) places."""
        options = {"consolation": True}
        outcomes = play("knockout", n, drawn_verdicts(seed, (0.0, 1.0)), seed=seed, options=options).outcomes
        places = np.ones(n)
        for o in outcomes:
            places[o.j if o.p else o.i] += n / 2 ** (o.round + 1)
        np.testing.assert_allclose(self.rank(n, outcomes), places)

    def test_put_out_by_a_coin_is_no_loss(self) -> None:
        """0 and 1 had no verdict and 0 went on, to lose the final: 1 is anywhere among the four."""
        outcomes = [Outcome(0, 1, None, round=0), Outcome(2, 3, 1.0, round=0), Outcome(2, 0, 1.0, round=1)]
        assert np.isnan(self.rank(4, outcomes)[1])  # no outcome, no rating
        tied = [Outcome(0, 1, 0.5, round=0), *outcomes[1:]]
        places = self.rank(4, tied)
        # A uniformly placed fourth pushes the other three from 1, 2, 3 to 1.25, 2.5, 3.75.
        np.testing.assert_allclose(places, [2.5, 2.5, 1.25, 3.75])

    def test_no_verdict_in_the_final_leaves_both_with_the_same_place(self) -> None:
        outcomes = [Outcome(0, 1, 1.0), Outcome(2, 3, 1.0), Outcome(0, 2, None, round=1)]
        np.testing.assert_allclose(self.rank(4, outcomes), [1.5, 3.5, 1.5, 3.5])

    def test_a_bye_counts_as_the_round_it_leads_to(self) -> None:
        outcomes = [Outcome(0, 1, 1.0, round=0), Outcome(2, 0, 1.0, round=1)]
        np.testing.assert_allclose(self.rank(3, outcomes), [2.0, 3.0, 1.0])

    def test_making_room_is_the_expectation_over_random_insertions(self) -> None:
        rng = random.Random(0)
        found = np.zeros(3)
        for _ in range(20_000):
            order = ["a", "b", "c"]
            for censored in "xy":
                order.insert(rng.randint(0, len(order)), censored)
            found += [order.index(name) + 1 for name in "abc"]
        np.testing.assert_allclose(found / 20_000, np.array([1, 2, 3]) * 6 / 4, atol=0.03)
