r"""Is an answer right: what the rules tell, what they refuse to tell, and that no answer can hang the run."""

import asyncio

import pytest

from rrm_reward.data.pairs._check import Checker
from rrm_reward.data.pairs._rules import given_answer, is_right

HANGS = r"\boxed{9^{9^{9^{9}}}}"


@pytest.mark.parametrize(
    ("response", "answer", "right"),
    [
        # exact and mathematical
        (r"So \boxed{42}", "42", True),
        (r"So \boxed{43}", "42", False),
        (r"So \boxed{0.5}", r"\frac{1}{2}", True),
        (r"So \boxed{x = 3}", "3", True),
        (r"So \boxed{(x+1)^2}", "x^2+2x+1", True),
        (r"So \boxed{12 \text{ cm}}", "12", True),
        (r"So \boxed{1,000}", "1000", True),
        (r"First \boxed{42}, no: \boxed{43}", "43", True),
        ("...\nAnswer: 42", "42", True),
        ("The final answer is 41.", "42", False),
        # choice letters
        (r"\boxed{B}", "B", True),
        (r"\boxed{\text{(B)}}", "B", True),
        (r"\boxed{B. a cat}", "(B)", True),
        (r"\boxed{C}", "B", False),
        (r"\boxed{a cat}", "B", None),
        # yes and no
        (r"\boxed{Yes}", "True", True),
        (r"\boxed{\text{No}}", "True", False),
        # words: right if they are the same, else nobody can tell by a rule
        (r"\boxed{It increases}", "it increases", True),
        (r"\boxed{It goes up}", "it increases", None),
        # no answer at all
        ("I do not know.", "42", None),
        (r"<think>\boxed{42}</think>", "42", None),
        (r"<think>surely \boxed{42}", "42", None),
        (r"\boxed{42", "42", None),
    ],
)
def test_a_rule_tells_right_from_wrong_or_says_that_it_cannot(response, answer, right):
    assert is_right(response, [answer]) is right


def test_any_of_several_answers_is_right():
    assert is_right(r"\boxed{7}", ["5", "7"]) is True
    assert is_right(r"\boxed{6}", ["5", "7"]) is False


def test_the_answer_is_that_of_the_final_answer_not_of_the_reasoning():
    assert given_answer(r"<think>Is it \boxed{1}?</think>No, \boxed{2}.") == "2"


def test_nested_braces_are_one_answer():
    assert given_answer(r"\boxed{\frac{1}{2}}") == r"\frac{1}{2}"


def test_a_check_that_hangs_is_killed_and_the_next_one_is_answered():
    async def checks():
        checker = Checker(processes=1, seconds=3.0)
        try:
            hanging = await checker.is_right(HANGS, ["387420489"])
            sane = await checker.is_right(r"\boxed{4}", ["4"])
            return hanging, sane, checker.killed
        finally:
            checker.close()

    assert asyncio.run(checks()) == (None, True, 1)
