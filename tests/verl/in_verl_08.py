"""Answers `test_verl_08`'s questions in the environment of verl 0.8, all in one process; reads and prints JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
from verl.trainer.ppo.core_algos import get_adv_estimator_fn

from tests.verl.composing import compose_and_check


def advantages() -> list[list[float]]:
    """Of two rollouts of one token, rewarded by 1 and 3, by the estimator that verl knows as `rrm`."""
    found, _ = get_adv_estimator_fn("rrm")(
        token_level_rewards=torch.tensor([[1.0], [3.0]]),
        response_mask=torch.ones(2, 1),
        index=np.array(["u", "u"], dtype=object),
        config=None,
    )
    return found.tolist()


def refusal() -> str:
    """What the agent-loop manager says when it is imported."""
    try:
        import rrm_reward.integrations.verl.agent_loop  # noqa: F401
    except ImportError as error:
        return str(error)
    return ""


def main() -> None:
    told = json.load(sys.stdin)
    answers: dict[str, Any] = {
        "advantages": advantages(),
        "variants": [compose_and_check(told["recipes"], overrides) for overrides in told["variants"]],
        "refusal": refusal(),
    }
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
