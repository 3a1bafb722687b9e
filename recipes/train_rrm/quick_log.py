"""`VerdictLog` that looks for finished rollouts every 0.02 s: see `recipes.miniature.verl_cpu.replay`."""

from __future__ import annotations

from recipes.miniature.verl_cpu.replay import QuickReplayBuffer
from rrm_reward.integrations.verl.verdict_log import VerdictLog


class QuickVerdictLog(VerdictLog, QuickReplayBuffer):
    """Both."""
