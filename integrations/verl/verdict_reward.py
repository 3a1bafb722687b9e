r"""The rule that trains a Reward Reasoning Model: +1 for the verdict that names the better response, else -1.

    reward:
      custom_reward_function: {path: pkg://rrm_reward.integrations.verl.verdict_reward, name: compute_score}

Nothing but the verdict is looked at, as in the paper: not the reasoning, its length, or its form. An answer that
cannot be read is as wrong as a wrong one. Rows are those of ``rrm-reward data pairs``; their ground truth is the
better assistant, ``"1"`` or ``"2"``.

What verl hands a reward function is text, without the reason why it ended. So a completion without ``</think>`` counts
as cut off, whatever is boxed in it: the chat template of the R1 models opens the think block in the prompt, and a
verdict inside the reasoning is not one. Without this rule, a judge would learn to box a guess and never stop thinking.
"""

from __future__ import annotations

from typing import Any

from rrm_reward.judge import parse_verdict

_THINK_CLOSE = "</think>"


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Any = None,
    *,
    thinks: bool = True,
    **_: Any,
) -> dict[str, float]:
    """The reward of one judgment, and what `rrm_reward.integrations.verl.verdict_log` makes of it.

    Args:
        data_source: of the row; every source is rewarded alike.
        solution_str: the judge's completion.
        ground_truth: ``"1"`` or ``"2"``, the better response.
        extra_info: of the row; not looked at.
        thinks: a completion without ``</think>`` was cut. Set ``reward_kwargs: {thinks: False}`` to train a judge that
            answers at once.

    Returns:
        ``score`` (+1 or -1), ``acc`` (1 if right), ``first`` (1 if the verdict names Assistant 1), ``first_is_better``
        (1 if it should), ``no_verdict`` (1 if there is none). The same keys for every row, as verl demands.

    Raises:
        ValueError: another ground truth: these are not the rows of ``rrm-reward data pairs``.
    """
    if ground_truth not in ("1", "2"):
        raise ValueError(
            f"reward_model.ground_truth={ground_truth!r}: must be '1' or '2', the better assistant"
        )
    cut = thinks and _THINK_CLOSE not in solution_str
    choice = parse_verdict(solution_str, finish_reason="length" if cut else "stop").choice
    better = int(ground_truth)
    return {
        "score": 1.0 if choice == better else -1.0,
        "acc": float(choice == better),
        "first": float(choice == 1),
        "first_is_better": float(better == 1),
        "no_verdict": float(choice is None),
    }
