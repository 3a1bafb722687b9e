"""A rule for validation rows: the response is the answer, word for word.

rrm_verl: {validation: rule}
reward:
  custom_reward_function: {path: pkg://rrm_reward.integrations.verl.exact_match, name: compute_score}
"""

from __future__ import annotations

from typing import Any


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None, **_: Any
) -> float:
    """1.0 if the response equals the ground truth, white space at the ends aside, else 0.0."""
    return float(solution_str.strip() == ground_truth.strip())
