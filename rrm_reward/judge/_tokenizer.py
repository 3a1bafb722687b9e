r"""A judge's tokenizer: loaded, refused if it would garble the prompt, and used to count what fits.

With transformers 5, ``AutoTokenizer`` takes the tokenizer's class from the model's ``config.json``; for
some model types it then builds its own pre-tokenizer and silently drops the one in ``tokenizer.json``.
Nothing raises, and every verdict is unreadable. So what was loaded is compared with the file itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rrm_reward.errors import ConfigError
from rrm_reward.judge._context import SEAM_TOKENS, ContextFit, estimate_tokens
from rrm_reward.judge._prompt import FRAME, build_messages

_TEXT = r"The sum of 937 and 28 is \boxed{965}. I think, therefore I am (probably)."
_VERDICT = r"\boxed{Assistant 1}"
_TEMPLATE_TOKENS = 64
"""What a chat template may add to the prompt, where there is no tokenizer to ask."""

_DROPPED = (
    "transformers reads this folder otherwise than its tokenizer.json says: it takes the class from the "
    "model type in config.json, and drops a custom pre-tokenizer. Point judge.tokenizer at a copy of the "
    "tokenizer's files without config.json, or save the judge as another model type (llama, qwen3)"
)


def load_tokenizer(name: str, key: str) -> Any:
    """A tokenizer that renders chats and reads back what it wrote.

    Args:
        name: folder or hub name.
        key: of the setting that named it, for errors.

    Raises:
        ConfigError: not there, without a chat template, or garbling.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ConfigError(key, name, "needs transformers: pip install 'rrm-reward[transformers]'") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:
        # OSError, ValueError, KeyError, and the Rust library's bare Exception: all mean the same to the user.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(key, name, f"no tokenizer can be loaded from there ({reason})") from error
    check_tokenizer(tokenizer, name, key)
    return tokenizer


def check_tokenizer(tokenizer: Any, name: str, key: str) -> None:
    """Refuse a tokenizer with which no verdict could be read.

    Raises:
        ConfigError: see `load_tokenizer`.
    """
    if not tokenizer.chat_template:
        raise ConfigError(key, name, "has no chat template; give the judge's own tokenizer")
    file = Path(name) / "tokenizer.json"
    if file.is_file():
        from tokenizers import Tokenizer

        said = Tokenizer.from_file(str(file)).encode(_TEXT, add_special_tokens=False).ids
        if said != _ids(tokenizer, _TEXT):
            raise ConfigError(key, name, _DROPPED)
    # Decoders may add a space in front; all else must come back.
    if tokenizer.decode(_ids(tokenizer, _VERDICT)).strip() != _VERDICT:
        raise ConfigError(key, name, f"does not give back {_VERDICT}; give the judge's own tokenizer")
    prompt = _ids(tokenizer, FRAME + _TEXT)
    if tokenizer.unk_token_id is not None and prompt.count(tokenizer.unk_token_id) > len(prompt) // 20:
        raise ConfigError(
            key, name, "does not know most of the judge's prompt; give the judge's own tokenizer"
        )


def context_fit(context_tokens: int, max_tokens: int, tokenizer: Any = None) -> ContextFit:
    """Cuts query and responses to what a context leaves beside the frame, the template and the completion.

    Args:
        context_tokens: the judge's context length.
        max_tokens: the completion limit.
        tokenizer: the judge's, for exact counts; None estimates.

    Raises:
        ConfigError: nothing is left.
    """
    if tokenizer is None:
        frame, count = estimate_tokens(FRAME) + _TEMPLATE_TOKENS, None
    else:
        empty = build_messages("", "", "")
        rendered = tokenizer.apply_chat_template(empty, add_generation_prompt=True, tokenize=False)
        frame, count = len(_ids(tokenizer, rendered)), lambda text: len(_ids(tokenizer, text))
    budget = context_tokens - max_tokens - frame - SEAM_TOKENS
    if budget <= 0:
        fix = f"leaves no room for query and responses in a context of {context_tokens} tokens; lower it"
        raise ConfigError("judge.max_tokens", max_tokens, fix)
    return ContextFit(budget, count)


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
