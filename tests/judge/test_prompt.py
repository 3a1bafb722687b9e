"""The prompt is the model card's, byte for byte, and queries of every shape become one text."""

from __future__ import annotations

import ast
import time
import timeit
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_reward.errors import InputError
from rrm_reward.judge._prompt import build_messages, render_query

MODEL_CARD = Path(__file__).parent / "data" / "model_card.txt"
"""The code and the sample output of section 5 of the RRM-7B model card, as it was published."""


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    """The card's own variables: every assignment up to ``messages``, run as the card wrote it."""
    source = MODEL_CARD.read_text(encoding="utf-8").partition("The generated text:")[0]
    names: dict[str, Any] = {}
    for node in ast.parse(source).body:
        targets = {t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)}
        if isinstance(node, ast.Assign) and not targets & {"model_id", "tokenizer", "model"}:
            exec(compile(ast.Module([node], []), str(MODEL_CARD), "exec"), names)
        if "messages" in targets:
            return names
    raise AssertionError("the model card's excerpt holds no messages")


def test_messages_are_those_of_the_model_card_byte_for_byte(card: dict[str, Any]) -> None:
    ours = build_messages(card["query"], card["response1"], card["response2"])
    assert ours == card["messages"]
    assert [message["content"].encode() for message in ours] == [
        message["content"].encode() for message in card["messages"]
    ]


@given(query=st.text(), a=st.text(), b=st.text())
def test_messages_are_those_of_the_model_card_for_any_text(
    card: dict[str, Any], query: str, a: str, b: str
) -> None:
    user = card["Skywork_PROMPT"].format(question=query, answer1=a, answer2=b)
    assert build_messages(query, a, b)[1]["content"] == user + card["Skywork_ASSISTANT_PROMPT"]
    assert build_messages(query, a, b)[0]["content"] == card["Skywork_SYSTEM_PROMPT"]


def test_braces_and_percent_signs_in_responses_survive() -> None:
    content = build_messages("{question}", r"\frac{1}{2} {answer2} %s", "{{}} {0}")[1]["content"]
    assert "\n\n{question}\n\n" in content
    assert r"\frac{1}{2} {answer2} %s" in content
    assert "{{}} {0}" in content


def test_building_messages_takes_microseconds() -> None:
    def build() -> None:
        build_messages("query", "a", "b")

    once = min(timeit.repeat(build, timer=time.thread_time, number=1000, repeat=7)) / 1000
    assert once < 50e-6


def test_a_single_user_message_is_its_content_as_it_is() -> None:
    assert render_query([{"role": "user", "content": "  What is {x}?\n"}]) == "  What is {x}?\n"


def test_earlier_turns_are_rendered_with_their_roles() -> None:
    query = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name a prime."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "primes", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "7"},
        {"role": "assistant", "content": "7."},
        {"role": "user", "content": "Another?"},
    ]
    assert render_query(query) == (
        "System: Be brief.\n\nUser: Name a prime.\n\nAssistant: [tool call: primes({})]\n\nTool: 7\n\n"
        "Assistant: 7.\n\nUser: Another?"
    )


def test_a_lone_message_that_is_not_the_users_keeps_its_role() -> None:
    assert render_query([{"role": "system", "content": "Write a poem."}]) == "System: Write a poem."


def test_parts_that_are_not_text_are_named() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:..."}},
        {"type": "text", "text": "What is this?"},
        {"type": "input_audio", "input_audio": {}},
        {"type": "image"},
        "Answer in French.",
    ]
    assert render_query([{"role": "user", "content": parts}]) == (
        "[image]\nWhat is this?\n[audio]\n[image]\nAnswer in French."
    )


def test_messages_read_from_parquet_are_a_list_too() -> None:
    query = np.array([{"role": "user", "content": "Hi"}], dtype=object)
    assert render_query(query) == "Hi"  # type: ignore[arg-type]
    assert "\n\nHi\n\n" in build_messages(query, "a", "b")[1]["content"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (None, "query"),
        (b"bytes", "query"),
        ({"role": "user", "content": "Hi"}, "query"),
        ([], "query"),
        (["Hi"], r"query\[0\]"),
        ([{"content": "Hi"}], r"query\[0\]\.role"),
        ([{"role": "user", "content": "Hi"}, {"role": 3, "content": "Hi"}], r"query\[1\]\.role"),
        ([{"role": "user"}], r"query\[0\]\.content"),
        ([{"role": "user", "content": 5}], r"query\[0\]\.content"),
        ([{"role": "user", "content": ["Hi", {"text": "no type"}]}], r"query\[0\]\.content\[1\]"),
        ([{"role": "user", "content": [{"type": "text"}]}], r"query\[0\]\.content\[0\]\.text"),
    ],
)
def test_a_malformed_query_names_its_field(query: Any, field: str) -> None:
    with pytest.raises(InputError, match=rf"^{field}:"):
        build_messages(query, "a", "b")
