r"""A verdict out of a chain of thought that was cut: end the thought, begin the verdict, look at the next token.

    ... so Assistant 2 forgot the unit, and <cut>
    </think>

    \boxed{Assistant _

The model's probabilities of ``1`` and ``2`` in that place say whom it would have named. This is the method's own way to
think within a budget (sequential scaling), and it costs one token. What comes of it is a probability, not a verdict
that was reasoned to its end, so it is kept apart (`Vote.soft`).

Nothing that a rollout says can steer the continuation: it is made of the very token ids that the model read and wrote,
never of their text tokenised anew, in which a repeated ``<|im_end|>`` would become the token of that name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from rrm_reward.judge._backend import Completion
from rrm_reward.judge._verdict import THINK_CLOSE
from rrm_reward.types import NoVerdict, Verdict

WITHIN_THOUGHT = f"\n{THINK_CLOSE}\n\n\\boxed{{Assistant "
AFTER_THOUGHT = "\n\n\\boxed{Assistant "
ENDINGS = (WITHIN_THOUGHT, AFTER_THOUGHT)
"""What may be appended; backends prepare both."""

TOKENS = 24
"""More than any ending and its verdict cost: what the context must hold beside prompt and completion."""

LEAST_MASS = 0.5
"""Probability that 1 and 2 must have together: a model that would go on otherwise has not understood the question."""


def can_be_forced(completion: Completion, verdict: Verdict) -> bool:
    """True for a completion that ran into its limit before it came to a verdict."""
    return verdict.reason is NoVerdict.TRUNCATED and completion.finish_reason == "length"


def ending_for(completion: Completion) -> str:
    """What is to be appended to this completion."""
    answered = THINK_CLOSE in completion.text or (completion.reasoning and completion.text)
    return AFTER_THOUGHT if answered else WITHIN_THOUGHT


def soft_verdict(logprobs: Mapping[str, float]) -> float | None:
    """Probability of Assistant 1, given that one of both is named; None if that is unlikely.

    Args:
        logprobs: of the likeliest next tokens, by their text, at temperature 1. A token that is not among them counts
            as impossible.
    """
    one = sum(math.exp(value) for token, value in logprobs.items() if token.strip() == "1")
    two = sum(math.exp(value) for token, value in logprobs.items() if token.strip() == "2")
    return one / (one + two) if one + two >= LEAST_MASS else None
