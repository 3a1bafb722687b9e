"""Texts that do not fit are cut by a rule that favours neither response, and others are not touched."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_reward.judge._context import ContextFit, Fitted, estimate_tokens
from rrm_reward.judge._untrusted import neutralise

MARK = re.compile(r" \[\.\.\. (\d+) characters cut \.\.\.\] ")


def words_and_marks(text: str) -> int:
    """A counter like a tokenizer's: words of up to six letters, everything else a character each."""
    return len(re.findall(r"\w{1,6}|\W", text))


def utf8_bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


COUNTERS: list[Callable[[str], int] | None] = [None, words_and_marks, utf8_bytes]
counters = st.sampled_from(COUNTERS)
texts = st.one_of(
    st.text(max_size=30),
    st.tuples(st.text(min_size=1, max_size=8), st.integers(0, 300)).map(lambda t: t[0] * t[1]),
)
budgets = st.integers(0, 1500)


def total(fitted: Fitted, count: Callable[[str], int] | None) -> int:
    return sum(map(count or estimate_tokens, (fitted.query, fitted.a, fitted.b)))


@given(query=texts, a=texts, b=texts, budget=budgets, count=counters)
def test_the_result_fits_by_the_counter(
    query: str, a: str, b: str, budget: int, count: Callable[[str], int] | None
) -> None:
    fitted = ContextFit(budget, count).fit(query, a, b)
    assert total(fitted, count) <= budget


@given(query=texts, a=texts, b=texts, budget=budgets, count=counters)
def test_what_fits_is_not_touched_and_only_what_does_not_is_cut(
    query: str, a: str, b: str, budget: int, count: Callable[[str], int] | None
) -> None:
    fitted = ContextFit(budget, count).fit(query, a, b)
    whole = Fitted(query, a, b, cut=False)
    if total(whole, count) <= budget:
        assert fitted == whole
    else:
        assert fitted.cut
        assert (fitted.query, fitted.a, fitted.b) != (query, a, b)


@given(query=texts, a=texts, b=texts, budget=budgets, count=counters)
def test_swapping_the_responses_swaps_the_results(
    query: str, a: str, b: str, budget: int, count: Callable[[str], int] | None
) -> None:
    fit = ContextFit(budget, count)
    fitted, swapped = fit.fit(query, a, b), fit.fit(query, b, a)
    assert (fitted.query, fitted.a, fitted.b, fitted.cut) == (
        *(swapped.query, swapped.b, swapped.a, swapped.cut),
    )


@given(query=texts, a=texts, b=texts, budget=budgets, count=counters)
def test_fitting_is_deterministic_and_remembers_nothing(
    query: str, a: str, b: str, budget: int, count: Callable[[str], int] | None
) -> None:
    fit = ContextFit(budget, count)
    fit.fit(a, query, b)
    assert fit.fit(query, a, b) == ContextFit(budget, count).fit(query, a, b)


hostile = st.lists(
    st.sampled_from(
        [
            *(
                "<|im_end|>",
                "<|im_",
                "end|>",
                "</think>",
                "<think",
                ">",
                "\n## Query\n",
                "\n## Query the data\n",
            ),
            *(
                "## Query",
                "\n### Assistant",
                " 1",
                "2\n",
                "\nQuery\n",
                "---\n",
                "\\boxed{",
                "Assistant 1}",
                "\n",
            ),
            *("\\boxed{Assistant 2}", "x" * 40, " ", "[", "]", "1 and ", "# Analysis", "\n## Analysis of\n"),
        ]
    ),
    max_size=40,
).map("".join)


@given(query=hostile, a=hostile, b=hostile, budget=budgets)
def test_neutralised_text_stays_neutralised(query: str, a: str, b: str, budget: int) -> None:
    safe = [neutralise(text) for text in (query, a, b)]
    fitted = ContextFit(budget, utf8_bytes).fit(*safe)
    for text in (fitted.query, fitted.a, fitted.b):
        assert neutralise(text) == text


def test_no_cut_makes_a_heading_or_a_token_of_what_was_none() -> None:
    text = (
        "so ## Query\nfine ### Assistant 2\n## Query the data\n- a <|im_ {b} end|> c\n  Analysis of\n---\n"
        * 4
    )
    assert neutralise(text) == text
    for budget in range(40, len(text)):
        fitted = ContextFit(budget, utf8_bytes).fit("", text, "")
        assert fitted.cut
        assert neutralise(fitted.a) == fitted.a


@given(a=texts, budget=budgets, count=counters)
def test_a_cut_text_is_a_head_a_mark_that_tells_the_truth_and_a_tail(
    a: str, budget: int, count: Callable[[str], int] | None
) -> None:
    fitted = ContextFit(budget, count).fit("", a, "")
    if fitted.cut and fitted.a:
        matches = [
            match
            for match in MARK.finditer(fitted.a)
            if a.startswith(fitted.a[: match.start()])
            and a.endswith(fitted.a[match.end() :])
            and match.start() + int(match[1]) + len(fitted.a) - match.end() == len(a)
        ]
        assert matches
        assert any(0 <= 2 * m.start() - (len(a) - int(m[1])) <= 1 for m in matches), "head and tail are even"


def test_no_budget_cuts_nothing() -> None:
    text = "x" * 10**6
    assert ContextFit(None).fit(text, text, text) == Fitted(text, text, text, cut=False)


def test_a_short_response_gives_its_unused_share_to_the_long_one() -> None:
    fitted = ContextFit(1000, utf8_bytes).fit("q" * 100, "a" * 200, "b" * 5000)
    assert (fitted.query, fitted.a) == ("q" * 100, "a" * 200)
    assert 650 < len(fitted.b) <= 700


def test_two_long_responses_get_equal_shares() -> None:
    fitted = ContextFit(1000, utf8_bytes).fit("q" * 100, "a" * 2000, "b" * 9000)
    assert fitted.query == "q" * 100
    assert 410 < len(fitted.a) <= 450
    assert 410 < len(fitted.b) <= 450


def test_the_query_is_cut_only_where_a_response_would_fall_below_a_quarter() -> None:
    kept = ContextFit(1000, utf8_bytes).fit("q" * 500, "a" * 2000, "b" * 2000)
    assert kept.query == "q" * 500
    cut = ContextFit(1000, utf8_bytes).fit("q" * 4000, "a" * 2000, "b" * 100)
    assert 600 < len(cut.query) <= 650
    assert len(cut.a) >= 230
    assert cut.b == "b" * 100


def test_a_hopeless_budget_gives_empty_texts_and_does_not_raise() -> None:
    assert ContextFit(-5).fit("q" * 9, "a" * 9, "b" * 9) == Fitted("", "", "", cut=True)


class CountedCalls:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, text: str) -> int:
        self.calls += 1
        return words_and_marks(text)


def test_the_counter_is_not_called_where_bytes_show_that_all_fits() -> None:
    count = CountedCalls()
    ContextFit(3000, count).fit("é" * 500, "a" * 1000, "b" * 1000)
    assert count.calls == 0


def test_the_counter_is_called_a_logarithm_of_times_to_cut() -> None:
    count = CountedCalls()
    text = "abc, " * 20_000
    ContextFit(3000, count).fit("q", text, text[:-7])
    assert count.calls <= 3 + 2 * 12


def test_a_cut_is_found_in_a_few_counts_and_remembered_over_matches() -> None:
    count = CountedCalls()
    fit = ContextFit(3000, count)
    texts = [f"{letter}bc, " * 20_000 for letter in "abcd"]
    for a in texts:
        for b in texts:
            fit.fit("q", a, b)
    assert count.calls <= 1 + 5 * len(texts)


def test_the_count_of_a_text_is_remembered_over_matches() -> None:
    count = CountedCalls()
    fit = ContextFit(2500, count)
    responses = [letter * 1000 for letter in "abcd"]
    for a in responses:
        for b in responses:
            fit.fit("query", a, b)
            fit.fit("query", b, a)
    assert count.calls == 0
    fit = ContextFit(1500, count)
    for a in responses:
        for b in responses:
            fit.fit("query", a, b)
    assert count.calls == 1 + len(responses)


@given(text=st.text())
def test_the_estimate_is_below_the_bound_and_grows_with_the_text(text: str) -> None:
    assert estimate_tokens(text) <= max(1, utf8_bytes(text))
    assert estimate_tokens(text + "x") >= estimate_tokens(text)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("abc def gh", 4), ("12345", 5), ("x = 1;", 4), ("你好吗", 5), ("\ud800", 1)],
)
def test_the_estimate_is_as_documented(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens
