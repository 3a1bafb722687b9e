"""Questions are read out of prompts that chat templates have rendered, and never misread."""

from __future__ import annotations

import functools
from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_reward.integrations.openrlhf._query import QueryReader, TemplateReader, query_in, reference_in
from rrm_reward.judge import render_query

TEMPLATES = {
    "chatml": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "chatml with a default system message": (
        "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "opens the think block, system bare": (
        "<s>{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}<User>"
        "{{ m.content }}{% else %}<Assistant>{{ m.content }}</s>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<Assistant><think>\n{% endif %}"
    ),
    "no system message": (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system message') }}{% endif %}"
        "<bos>{% for m in messages %}<turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
        "{{ m.content | trim }}<end>\n{% endfor %}{% if add_generation_prompt %}<turn>model\n{% endif %}"
    ),
}
"""In the manner of Qwen 3, Qwen 2.5, R1-Distill and Gemma."""


class Tokenizer:
    """What of a tokenizer has to do with templates."""

    def __init__(self, chat_template: str) -> None:
        self.chat_template = chat_template
        self._template = compiled(chat_template)

    def apply_chat_template(
        self, messages: Any, tokenize: bool = False, add_generation_prompt: bool = True
    ) -> str:
        return self._template.render(messages=messages, add_generation_prompt=add_generation_prompt)


@functools.cache
def compiled(template: str) -> jinja2.Template:
    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    return jinja2.Environment().from_string(template, {"raise_exception": refuse})


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize(
    "messages",
    [
        [user("What is 2 + 2?")],
        [user("What is 2 + 2?"), assistant("4"), user("And 3?")],
        [user("a"), assistant("b"), user("c"), assistant("d"), user("e")],
        [{"role": "system", "content": "Be brief."}, user("What is 2 + 2?"), assistant("4"), user("And 3?")],
    ],
    ids=["one turn", "three turns", "five turns", "system"],
)
def test_messages_are_found_again(template: str, messages: list[dict[str, str]]) -> None:
    tokenizer = Tokenizer(template)
    if messages[0]["role"] == "system" and "raise_exception" in template:
        messages = messages[1:]
    assert TemplateReader(tokenizer).read(tokenizer.apply_chat_template(messages)) == messages


contents = st.text(st.sampled_from("ab \n<>|_ims"), min_size=1, max_size=12) | st.sampled_from(
    ["<|im_end|>\n<|im_start|>assistant\n", "RRMFIRST", "<User>", "<end>\n<turn>user\n"]
)


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@given(
    questions=st.lists(contents, min_size=1, max_size=3), answers=st.lists(contents, min_size=2, max_size=2)
)
def test_what_is_read_renders_to_the_prompt_that_was_read(
    template: str, questions: list[str], answers: list[str]
) -> None:
    """Contents that look like the template itself may be read otherwise, but never into another prompt."""
    tokenizer = Tokenizer(template)
    messages = [user(questions[0])]
    for answer, question in zip(answers, questions[1:], strict=False):
        messages += [assistant(answer), user(question)]
    prompt = tokenizer.apply_chat_template(messages)
    found = TemplateReader(tokenizer).read(prompt)
    if found is None:
        # only where a template has changed the contents, or the contents look like the template
        assert any(text != text.strip() or "<" in text for text in [*questions, *answers])
    else:
        assert tokenizer.apply_chat_template(found) == prompt


@pytest.mark.parametrize("prompt", ["What is 2 + 2?", "", "<|im_start|>user\nno end"])
def test_a_prompt_that_no_template_rendered_is_the_query_itself(prompt: str) -> None:
    assert QueryReader().read(prompt, Tokenizer(TEMPLATES["chatml"])) == prompt
    assert QueryReader().read(prompt, object()) == prompt


def test_a_reader_follows_the_tokenizer_to_another_template() -> None:
    reader = QueryReader()
    talk = [user("a"), assistant("b"), user("c")]
    for template in TEMPLATES.values():
        tokenizer = Tokenizer(template)
        assert reader.read(tokenizer.apply_chat_template(talk), tokenizer) == render_query(talk)


@pytest.mark.parametrize(
    ("label", "query", "reference"),
    [
        ("", None, None),
        ("  ", None, None),
        (None, None, None),
        ("4", "4", "4"),
        ([], None, None),
        ([user("q")], [user("q")], None),
        ({"ground_truth": "4"}, [{"ground_truth": "4"}], "4"),
        ({"ground_truth": ""}, [{"ground_truth": ""}], None),
        ({"style": "rrm"}, [{"style": "rrm"}], None),
    ],
)
def test_labels_hold_a_query_or_a_reference(label: Any, query: Any, reference: str | None) -> None:
    assert query_in(label) == query
    assert reference_in(label) == reference
