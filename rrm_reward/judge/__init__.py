"""Compares two responses by asking a Reward Reasoning Model.

`Judge` is what the arena sees; a `Backend` is what answers it. The prompt, what of a response reaches it, and
how a verdict is read from a completion are public too, for training and evaluation of judges.
"""

from rrm_reward.judge._backend import (
    Backend,
    BackendError,
    Completion,
    ContinuingBackend,
    Message,
    Sampling,
)
from rrm_reward.judge._backends import BACKENDS, make_backend
from rrm_reward.judge._base import Comparer, Judgment
from rrm_reward.judge._context import ContextFit
from rrm_reward.judge._health import JudgeCounts
from rrm_reward.judge._judge import Judge
from rrm_reward.judge._openai import OpenAIBackend
from rrm_reward.judge._prompt import build_messages, render_query
from rrm_reward.judge._store import VerdictStore
from rrm_reward.judge._untrusted import make_view, neutralise, special_tokens_of
from rrm_reward.judge._verdict import parse_verdict

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendError",
    "Comparer",
    "Completion",
    "ContextFit",
    "ContinuingBackend",
    "Judge",
    "JudgeCounts",
    "Judgment",
    "Message",
    "OpenAIBackend",
    "Sampling",
    "VerdictStore",
    "build_messages",
    "make_backend",
    "make_view",
    "neutralise",
    "parse_verdict",
    "render_query",
    "special_tokens_of",
]
