"""Judges that are no Reward Reasoning Model: the baselines of ablations, in the same configuration tree.

    judge: {kind: scalar, model: Skywork/Skywork-Reward-V2-Qwen3-8B, urls: [http://judge:8000/v1]}
    judge: {kind: oracle, function: "my_package.rules:prefer"}

A `Scorer` gives each response a number of its own, so its arena plays no tournament: one call a response, and the
scores are the ratings. An oracle is a function of yours: of (query, response) it is a scorer, of (query, a, b) it is
compared like any other judge.
"""

from rrm_reward.scoring._arena import ScoringArena, check_scored_reward
from rrm_reward.scoring._base import Score, Scorer
from rrm_reward.scoring._kinds import KINDS, make_judge
from rrm_reward.scoring._oracle import OracleComparer, OracleScorer

__all__ = [
    "KINDS",
    "OracleComparer",
    "OracleScorer",
    "Score",
    "Scorer",
    "ScoringArena",
    "check_scored_reward",
    "make_judge",
]
