"""What is read from a judge's completion, on transcripts and on arbitrary text."""

from __future__ import annotations

import time
import timeit
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_reward.judge._verdict import parse_verdict
from rrm_reward.types import NoVerdict, Verdict

DATA = Path(__file__).parent / "data"


class Transcript(NamedTuple):
    name: str
    text: str
    expected: Verdict
    finish_reason: str
    reasoning: str | None


def read_transcripts() -> list[Transcript]:
    """The records of data/transcripts.txt, whose first lines describe their form."""
    transcripts = []
    for record in ("\n" + (DATA / "transcripts.txt").read_text(encoding="utf-8")).split("\n=== ")[1:]:
        head, _, text = record.partition("\n---")
        name, *lines = head.split("\n")
        fields = dict(line.split(": ", 1) for line in lines)
        expect = fields["expect"]
        verdict = Verdict(int(expect)) if expect in "12" else Verdict(None, NoVerdict(expect))
        transcripts.append(
            Transcript(name, text[1:], verdict, fields.get("finish", "stop"), fields.get("reasoning"))
        )
    return transcripts


TRANSCRIPTS = read_transcripts()


def test_there_are_at_least_sixty_transcripts_and_no_two_share_a_name() -> None:
    assert len({transcript.name for transcript in TRANSCRIPTS}) == len(TRANSCRIPTS) >= 60


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
def test_transcript_gives_its_verdict(transcript: Transcript) -> None:
    _, text, expected, finish_reason, reasoning = transcript
    assert parse_verdict(text, finish_reason=finish_reason, reasoning=reasoning) == expected


def test_the_model_cards_example_prefers_assistant_2() -> None:
    printed = (
        (DATA / "model_card.txt").read_text(encoding="utf-8").partition("The generated text:")[2].strip()
    )
    assert parse_verdict(printed) == Verdict(2)
    # The card prints the text with its escapes; this is what the model wrote.
    generated = printed.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
    assert generated.endswith("</think>\n\n\\boxed{Assistant 2}")
    assert parse_verdict(generated) == Verdict(2)


FRAGMENTS = [
    *(
        "<think>",
        "</think>",
        "\\boxed{",
        "boxed",
        "\\boxed{Assistant 1}",
        "\\boxed{Assistant 2}",
        "Assistant 1",
    ),
    *("{", "}", "\\", "\\text{", " or ", "\n", ". ", "｛", "２", "İ", "\ud800", "\x00", "x" * 130),
]
hostile_text = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=5)).map("".join)
finish_reasons = st.sampled_from(["stop", "length", "abort", "content_filter", "something new", ""])


@given(text=hostile_text | st.text(), finish_reason=finish_reasons, reasoning=st.none() | hostile_text)
def test_arbitrary_text_never_raises(text: str, finish_reason: str, reasoning: str | None) -> None:
    parse_verdict(text, finish_reason=finish_reason, reasoning=reasoning)


@given(text=hostile_text, finish_reason=finish_reasons, reasoning=st.none() | hostile_text)
def test_text_that_boxes_nothing_gives_no_verdict(
    text: str, finish_reason: str, reasoning: str | None
) -> None:
    text = text.replace("boxed", "framed")
    assert parse_verdict(text, finish_reason=finish_reason, reasoning=reasoning).choice is None


@given(before=hostile_text, choice=st.sampled_from([1, 2]), finish_reason=finish_reasons)
def test_a_box_right_after_the_reasoning_is_the_verdict(before: str, choice: int, finish_reason: str) -> None:
    text = f"{before}</think>\n\n\\boxed{{Assistant {choice}}}"
    assert parse_verdict(text, finish_reason=finish_reason) == Verdict(choice)


@given(before=hostile_text, choice=st.sampled_from([1, 2]))
def test_a_box_after_words_that_decide_is_the_verdict(before: str, choice: int) -> None:
    text = f"{before}</think>{before.replace('think', '')} On reflection: \\boxed{{Assistant {choice}}}"
    assert parse_verdict(text) == Verdict(choice)


@given(reasoning=hostile_text, answer=hostile_text)
def test_what_the_reasoning_says_changes_nothing(reasoning: str, answer: str) -> None:
    answer = answer.replace("</think>", "")
    assert parse_verdict(f"{reasoning}</think>{answer}") == parse_verdict(f"</think>{answer}")


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "\\boxed{",
            "boxed",
            "boxed ",
            "{",
            "}",
            "\\",
            "\\boxed{Assistant 1} or ",
            "\\boxed{\\a",
            "boxed{}",
        ),
        *("\\boxed{Assistant 1", " ", "<think>", "\\boxed{Assistant 1}" + " " * 70, "boxed{{{{{{}"),
    ],
)
def test_time_is_linear_in_hostile_text(unit: str) -> None:
    def seconds(length: int) -> float:
        text = "</think>" + unit * (length // len(unit))
        times = []
        for _ in range(5):
            start = time.thread_time()
            parse_verdict(text)
            times.append(time.thread_time() - start)
        return min(times)

    assert seconds(40_000) < min(1.0, 0.05 + 8 * seconds(10_000))  # sixteen times, were it quadratic


def test_a_typical_completion_is_read_in_microseconds() -> None:
    text = "Okay, so the first response is a bit brief. " * 100 + "</think>\n\n\\boxed{Assistant 2}"
    assert (
        min(timeit.repeat(lambda: parse_verdict(text), timer=time.thread_time, number=1000, repeat=7)) / 1000
        < 100e-6
    )
