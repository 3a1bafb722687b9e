"""The question in a prompt that a chat template has rendered.

OpenRLHF renders the messages of a row before an executor sees them (``--data.apply_chat_template``). A judge should
read the question, not ``<|im_start|>user``, and a group must have the same query in every trainer, for its seeds derive
from it. So the template is asked how it renders messages whose contents are known, what stands between those contents
is looked for in the prompt, and the messages that are found so are rendered again: only if that gives the very same
prompt are they believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rrm_reward.judge import render_query
from rrm_reward.types import Query

Messages = list[dict[str, str]]

_SYSTEM, _FIRST, _ANSWER, _SECOND = ("RRMSYSTEM", "RRMFIRST", "RRMANSWER", "RRMSECOND")


class TemplateReader:
    """Reads messages out of prompts that one chat template has rendered.

    Args:
        tokenizer: has the template; a tokenizer or processor of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._turns: tuple[str, str] | None = None
        self._heads: list[tuple[str, str | None]] = []
        self._end = ""
        plain = self._render([_user(_FIRST)])
        if plain is None or _FIRST not in plain:
            return
        head, self._end = plain.split(_FIRST, 1)
        self._heads.append((head, None))
        with_system = self._render([{"role": "system", "content": _SYSTEM}, _user(_FIRST)])
        if with_system is not None and _SYSTEM in with_system and with_system.endswith(_FIRST + self._end):
            head, rest = with_system.split(_SYSTEM, 1)
            self._heads.append((head, rest[: -len(_FIRST + self._end)]))
        talk = self._render([_user(_FIRST), {"role": "assistant", "content": _ANSWER}, _user(_SECOND)])
        if talk is not None and all(text in talk for text in (_FIRST, _ANSWER, _SECOND)):
            to_answer = talk.split(_FIRST, 1)[1].split(_ANSWER, 1)[0]
            self._turns = to_answer, talk.split(_ANSWER, 1)[1].split(_SECOND, 1)[0]

    def read(self, prompt: str) -> Messages | None:
        """The messages of a prompt; None if it is not of this template."""
        for head, after_system in self._heads:
            if not (prompt.startswith(head) and prompt.endswith(self._end)):
                continue
            body = prompt[len(head) : len(prompt) - len(self._end)]
            messages: Messages = []
            if after_system is not None:
                system, found, body = body.partition(after_system)
                if not found:
                    continue
                messages.append({"role": "system", "content": system})
            messages += self._split(body)
            if self._render(messages) == prompt:
                return messages
        return None

    def _split(self, body: str) -> Messages:
        messages: Messages = []
        if self._turns is not None and all(self._turns):
            to_answer, to_question = self._turns
            while to_answer in body and to_question in body.split(to_answer, 1)[1]:
                question, rest = body.split(to_answer, 1)
                answer, body = rest.split(to_question, 1)
                messages += [_user(question), {"role": "assistant", "content": answer}]
        return [*messages, _user(body)]

    def _render(self, messages: Messages) -> str | None:
        try:
            rendered = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except Exception:  # jinja's errors, no template, a role that the template refuses
            return None
        return rendered if isinstance(rendered, str) else None


class QueryReader:
    """Queries of prompts; a template is learned once, however often Ray makes a new tokenizer with it."""

    def __init__(self) -> None:
        self._template: object = None
        self._reader: TemplateReader | None = None

    def read(self, prompt: str, tokenizer: Any) -> str:
        """The query of a prompt, as `render_query` writes it; the prompt itself if no template has rendered it."""
        template = repr(getattr(tokenizer, "chat_template", None))
        if self._reader is None or template != self._template:
            self._reader, self._template = TemplateReader(tokenizer), template
        messages = self._reader.read(prompt)
        return prompt if messages is None else render_query(messages)


def query_in(label: Any) -> Query | None:
    """The query that a label holds, None if it holds none."""
    if isinstance(label, str):
        return label if label.strip() else None
    if isinstance(label, Mapping):
        return [label]
    return label or None


def reference_in(label: Any) -> str | None:
    """The reference answer that a label holds, None if it holds none.

    A label is a text, or verl's ``reward_model`` with its ``ground_truth``: `rrm-reward data` writes such rows.
    """
    answer = label.get("ground_truth") if isinstance(label, Mapping) else label
    if isinstance(answer, list):
        return None
    return str(answer) if answer is not None and str(answer).strip() else None


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}
