r"""Is an answer right: what the rules tell, what they refuse to tell, and that no answer can hang the run."""

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_reward.data.pairs._check import Checker
from rrm_reward.data.pairs._journal import Journal, key_of
from rrm_reward.data.pairs._rules import VERSION, agrees, given_answer, is_right, same_answer

HANGS = r"\boxed{9^{9^{9^{9}}}}"


@pytest.mark.parametrize(
    ("response", "answer", "right"),
    [
        (r"So \boxed{42}", "42", True),
        (r"So \boxed{43}", "42", False),
        (r"First \boxed{42}, no: \boxed{43}", "43", True),
        ("...\nAnswer: 42", "42", True),
        ("The final answer is 41.", "42", False),
        ("I do not know.", "42", None),
        (r"<think>\boxed{42}</think>", "42", None),
        (r"<think>surely \boxed{42}", "42", None),
        (r"\boxed{42", "42", None),
    ],
)
def test_an_answer_is_what_is_boxed_or_said_after_the_thought(response, answer, right):
    assert is_right(response, [answer]) is right


SURE = [
    # numbers
    ("0.5", r"\frac{1}{2}", True),
    (r"\dfrac{1}{2}", "1/2", True),
    (r"\frac12", "0.5", True),
    ("1,000", "1000", True),
    ("10", "10.0", True),
    (r"2.5 \times 10^{-3}", "2.5e-3", True),
    ("10", "11", False),
    ("-3", "3", False),
    ("100", "1000", False),
    ("9.8", "12.3", False),
    # units and percent
    (r"12 \text{ cm}", "12", True),
    (r"30^\circ", "30", True),
    (r"\$5", "5", True),
    (r"5\text{ m/s}", r"6\text{ m/s}", False),
    (r"25\%", "0.25", True),
    (r"0.5", r"50\%", True),
    # formulae
    ("x = 3", "3", True),
    ("x = 3", "x = 4", False),
    ("(x+1)^2", "x^2+2x+1", True),
    ("(x+1)^2+1", "x^2+2x+1", False),
    ("y = 2x+1", "2x+1", True),
    ("2x+3", "2x+4", False),
    ("2xy", "3xy", False),
    ("2ab", "2ba", True),
    (r"\sqrt{8}", r"2\sqrt{2}", True),
    (r"\sqrt{2}", "2", False),
    (r"\frac{\sqrt{3}}{2}", r"\frac{\sqrt{2}}{2}", False),
    (r"3\pi", r"4\pi", False),
    (r"\sin(x)", "sin x", True),
    ("2^{10}", "1024", True),
    ("5!", "120", True),
    ("2 + 3i", "3i+2", True),
    # points, sets and lists
    ("(1,2)", r"\left(1, 2\right)", True),
    ("(1,2)", "(2,1)", False),
    (r"\{1,2\}", r"\{2,1\}", True),
    (r"\{1,2\}", r"\{1,3\}", False),
    ("1, 3", "1, 2", False),
    # choices
    (r"\text{(B)}", "B", True),
    ("B. a cat", "(B)", True),
    ("C", "B", False),
    ("B", "(B) 42", True),
    ("C", "C. 42", True),
    ("42", "C. 42", True),
    ("D", "C. 42", False),
    ("43", "C. 42", False),
    # words
    ("Yes", "True", True),
    (r"\text{No}", "True", False),
    ("It increases", "it increases", True),
]
UNSURE = [
    # roundings, units, percent: the same or not, who knows
    ("3.1416", "3.14"),
    ("0.33", "1/3"),
    ("9.8", "9.81"),
    ("-9.8", "9.8"),
    ("16700", "16666"),
    ("0.25", "250"),
    (r"3\pi", "9.42"),
    (r"\sqrt{2}", "1.41"),
    ("5 km", "5000 m"),
    ("5 km", "5000"),
    (r"1\text{ hour}", r"60\text{ minutes}"),
    ("25", r"25\%"),
    (r"\frac{\pi}{6}", "30"),
    ("5 million", "5"),
    ("12 or 13", "12"),
    # letters are symbols, and their case counts
    (r"\pi R^2", r"\pi r^2"),
    (r"\Phi", r"\phi"),
    ("N", "n"),
    ("x'", "x"),
    ("2xy", "2"),
    ("5 m", "5"),
    ("2ab", "2bc"),
    ("x = 3", "y = 3"),
    (r"\sin x", r"\cos x"),
    (r"\log 100", "2"),
    ("x^2+C", "x^2+1+C"),
    # chemistry
    ("H_2O", "H2O"),
    (r"\text{H}_2\text{O}", "H2O"),
    ("CO", "Co"),
    ("H", "He"),
    # notations that mean this or that
    ("101_2", "5"),
    (r"1\frac{1}{2}", r"\frac{3}{2}"),
    ("3:4", "3/4"),
    ("1/2 x", "x/2"),
    ("1,2", "2,1"),
    ("(0,1)", "[0,1)"),
    ("(3,2)", "(3,2,1)"),
    # choices and words
    ("a cat", "B"),
    ("B. a cat", "4"),
    ("(B) 42", "B. 43"),
    ("(B) 42", "C. 42"),
    ("B", "B) it grows, C) it shrinks"),
    ("It goes up", "it increases"),
    ("maybe", "True"),
]


@pytest.mark.parametrize(("given", "answer", "right"), SURE)
def test_what_is_the_same_in_other_dress_is_right_and_another_of_its_kind_is_wrong(given, answer, right):
    assert same_answer(given, answer) is right
    assert same_answer(answer, given) is right


@pytest.mark.parametrize(("given", "answer"), UNSURE)
def test_what_no_rule_can_tell_for_sure_is_neither_right_nor_wrong(given, answer):
    assert same_answer(given, answer) is None
    assert same_answer(answer, given) is None


DRESSES = [
    "${}$",
    r"\text{{{}}}",
    r" {} . ",
    "{}.",
    r"\mathrm{{{}}}",
    r"\displaystyle {}",
    r"\,{}\;",
    r"\({}\)",
]
ANSWERS = [
    *(answer for answer, _, _ in SURE),
    *(answer for _, answer, _ in SURE),
    *(answer for pair in UNSURE for answer in pair),
]


@pytest.mark.parametrize("dress", DRESSES)
def test_every_answer_is_itself_in_other_dress(dress):
    wraps_words = dress.startswith((r"\text", r"\mathrm"))
    for answer in ANSWERS:
        if not (wraps_words and "{" in answer):
            assert same_answer(dress.format(answer), answer) is True, (dress, answer)


whole = st.integers(-(10**6), 10**6)


@given(whole, whole)
def test_whole_numbers_are_never_mistaken(a, b):
    told = same_answer(str(a), f"{b:,}")
    assert told is True if a == b else told is not True
    if a != b and abs(a - b) > max(abs(a), abs(b)) / 2:
        assert told is False


@given(st.floats(-1e6, 1e6), st.integers(0, 6), st.integers(0, 6), st.sampled_from(["", r"\text{ m}"]))
def test_a_number_rounded_twice_is_never_wrong(value, places, fewer, unit):
    """However many places a response keeps, and with or without the unit."""
    one, other = f"{value:.{places}f}", f"{value:.{fewer}f}{unit}"
    assert same_answer(one, other) is not False
    assert same_answer(other, one) is same_answer(one, other)


@given(
    st.floats(0.01, 1e6), st.floats(0.01, 1e6), st.sampled_from([("", ""), (r"\%", r"\%"), (" km", " km")])
)
def test_measured_numbers_far_apart_are_wrong_and_near_ones_are_not(a, b, units):
    ratio = math.log10(a / b) % 1
    told = same_answer(f"{a:.6f}{units[0]}", f"{b:.6f}{units[1]}")
    if 0.1 < ratio < 0.9 and abs(a - b) > 1:
        assert told is False
    elif abs(a / b - 1) < 0.02 and a != b:
        assert told is not False


@settings(max_examples=6, deadline=None)
@given(
    st.lists(st.integers(-9, 9), min_size=2, max_size=4), st.lists(st.integers(-9, 9), min_size=2, max_size=4)
)
def test_polynomials_are_compared_by_what_they_are(a, b):
    """However their terms are ordered."""

    def written(terms):
        return " + ".join(f"({number})x^{{{power}}}" for power, number in terms)

    one, other = written(enumerate(a)), written(reversed(list(enumerate(b))))
    strip = [list(numbers) for numbers in (a, b)]
    for numbers in strip:
        while numbers and numbers[-1] == 0:
            numbers.pop()
    told = same_answer(one, other)
    assert told is same_answer(other, one)
    assert told is (strip[0] == strip[1]) or (told is None and strip[0] != strip[1])
    assert same_answer(one, written(reversed(list(enumerate(a))))) is True


def test_any_of_several_answers_is_right():
    assert agrees("7", ["5", "7"]) is True
    assert agrees("6", ["5", "7"]) is False
    assert agrees("6", ["5", "six"]) is None


def test_the_kind_of_answer_says_what_a_difference_is_worth():
    assert agrees("9", ["12"], "Integer") is False
    assert agrees("12.3", ["12"], "Float") is None
    assert agrees("12", ["13"], "Float") is None, "13 may be rounded"
    assert agrees("9", ["12"], "Float") is False
    assert agrees("9", ["12"], "String") is None
    assert agrees("12", ["12"], "String") is True


def test_the_answer_is_that_of_the_final_answer_not_of_the_reasoning():
    assert given_answer(r"<think>Is it \boxed{1}?</think>No, \boxed{2}.") == "2"


def test_nested_braces_are_one_answer():
    assert given_answer(r"\boxed{\frac{1}{2}}") == r"\frac{1}{2}"


def test_a_check_that_hangs_is_killed_and_the_next_one_is_answered(tmp_path):
    async def checks():
        checker = Checker(Journal(tmp_path / "checks.jsonl"), processes=1, seconds=6.0)
        try:
            hanging = await checker.is_right(HANGS, ["387420489"])
            sane = await checker.is_right(r"\boxed{4}", ["4"])
            return hanging, sane, checker.killed
        finally:
            checker.close()

    assert asyncio.run(checks()) == (None, True, 1)


def test_what_was_checked_is_known_to_the_next_run_unless_it_gives_a_killed_check_more_time(tmp_path):
    async def check(response, seconds=60.0, *, alive):
        with Journal(tmp_path / "checks.jsonl") as journal:
            checker = Checker(journal, processes=1, seconds=seconds)
            if not alive:
                checker.close()
            try:
                return await checker.is_right(response, ["x^2+2x+1"])
            finally:
                checker.close()

    right = r"So \boxed{(x+1)^2}"
    assert asyncio.run(check(right, alive=True)) is True
    assert asyncio.run(check("In other words \\boxed{(x+1)^2}", alive=False)) is True, "no process was needed"
    with Journal(tmp_path / "checks.jsonl") as journal:
        key = key_of("check", VERSION, "9", ["x^2+2x+1"], "")
        journal.put(key, {"told": None, "killed_after": 1.0})
    assert asyncio.run(check(r"\boxed{9}", 1.0, alive=False)) is None
    with pytest.raises(RuntimeError):
        asyncio.run(check(r"\boxed{9}", 2.0, alive=False))
