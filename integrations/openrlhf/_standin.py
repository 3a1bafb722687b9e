"""A rollout in the place of one that failed.

An exception out of an executor ends the whole run, and OpenRLHF reshapes its batches to n rollouts a prompt: each
rollout must be there. The one that stands in is a copy of a sibling's, at the group's mean reward, so that its
advantage is 0; a copy fits the trainer in everything, images and log-probabilities included. If no sibling survived,
it is the prompt and an end-of-sequence token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_IMAGE_TOKENS = ("image_token_id", "video_token_id")


def copy_of(sibling: Mapping[str, Any]) -> dict[str, Any]:
    """A rollout like its sibling's, without its reward."""
    return {
        **sibling,
        "observation_tokens": list(sibling["observation_tokens"]),
        "action_ranges": list(sibling["action_ranges"]),
        "extra_logs": {},
    }


def empty_rollout(
    prompt: Any, label: Any, images: Any, tokenizer: Any, max_length: int, *, log_probs: bool
) -> dict[str, Any]:
    """A rollout that says nothing. Never raises.

    Args:
        prompt: of the row.
        label: of the row, echoed.
        images: of the row, echoed.
        tokenizer: of the policy; a processor, where there are images.
        max_length: most tokens of prompt and response together.
        log_probs: whether the trainer wants log-probabilities of the rollout.
    """
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    end = getattr(inner, "eos_token_id", None)
    end = end if isinstance(end, int) else 0
    try:
        tokens = [int(token) for token in inner(text=prompt, add_special_tokens=False)["input_ids"]]
    except Exception:  # perhaps the very reason why the rollout failed
        tokens = []
    # placeholders of images would want images
    pads = {getattr(tokenizer, name, None) for name in _IMAGE_TOKENS}
    tokens = [token for token in tokens if token not in pads][-max(max_length - 1, 1) :] or [end]
    return {
        "prompt": prompt,
        "label": label,
        "images": images,
        "mm_train_inputs": None,
        "observation_tokens": [*tokens, end],
        "action_ranges": [(len(tokens), len(tokens) + 1)],
        "rollout_log_probs": [0.0] * (len(tokens) + 1) if log_probs else None,
        "truncated": False,
        "reward": None,
        "scores": None,
        "extra_logs": {},
    }
