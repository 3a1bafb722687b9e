"""The public sets that the paper's pairs come from, by hub name and schema, each read into one of three kinds of item.

| name | set | item | columns |
|---|---|---|---|
| skywork-reward | Skywork/Skywork-Reward-Preference-80K-v0.2 | Preference | chosen, rejected: message lists |
| tulu | allenai/tulu-3-sft-mixture | Prompt | messages |
| webinstruct | TIGER-Lab/WebInstruct-verified | Question | question, answer; answer_type if it is there |
| skywork-or1 | Skywork/Skywork-OR1-RL-Data, split math | Question | prompt, reward_model: a JSON list of answers |
| big-math | SynthLabsAI/Big-Math-RL-Verified | Question | problem, answer |
| dapo | BytedTsinghua-SIA/DAPO-Math-17k | Question | prompt, reward_model |

A reader takes a row of its schema and gives an item, or the reason why the row cannot be used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rrm_reward.errors import ConfigError
from rrm_reward.judge import Message

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
"""Asked of every question, as the model card of R1-Distill-Qwen advises, so that a rule can find the answer."""

_DAPO_BEFORE = (
    "Solve the following math problem step by step. The last line of your response should be of the form "
    "Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n"
)
_DAPO_AFTER = '\n\nRemember to put your answer on its own line after "Answer:".'


@dataclass(frozen=True, slots=True)
class Preference:
    """A pair that is one already."""

    query: list[Message]
    better: str
    worse: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that waits for two responses and a label."""

    messages: list[Message]


@dataclass(frozen=True, slots=True)
class Question:
    """A question with known answers (any of them is right).

    Attributes:
        text: as its source has it.
        answers: all known ones.
        answer_type: what kind of answer they are, as WebInstruct names it; "" where nobody said.
    """

    text: str
    answers: tuple[str, ...]
    answer_type: str = ""

    @property
    def messages(self) -> list[Message]:
        """What is asked: with `INSTRUCTION`."""
        return [{"role": "user", "content": f"{self.text}\n\n{INSTRUCTION}"}]


Item = Preference | Prompt | Question
Row = Mapping[str, Any]
Reader = Callable[[Row], Item | str]


@dataclass(frozen=True, slots=True)
class Source:
    """A set.

    Attributes:
        name: short name, as on the command line.
        hub: where it lies.
        split: that is read.
        columns: that must be there.
        kind: of its items.
        read: row to item, or to the reason why not.
    """

    name: str
    hub: str
    split: str
    columns: tuple[str, ...]
    kind: type[Preference] | type[Prompt] | type[Question]
    read: Reader


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _messages(value: object) -> list[Message]:
    """Messages with content, whatever sequence they come in; an empty list for anything else."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
        return []
    found: list[Message] = []
    for message in value:
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            return []
        found.append({"role": _text(message.get("role")), "content": message["content"]})
    return found


def _preference(row: Row) -> Item | str:
    chosen, rejected = _messages(row["chosen"]), _messages(row["rejected"])
    if min(len(chosen), len(rejected)) < 2 or {chosen[-1]["role"], rejected[-1]["role"]} != {"assistant"}:
        return "malformed"
    if chosen[:-1] != rejected[:-1]:
        return "prompts differ"
    better, worse = chosen[-1]["content"], rejected[-1]["content"]
    if not better.strip() or not worse.strip():
        return "empty response"
    return "identical responses" if better == worse else Preference(chosen[:-1], better, worse)


def _conversation(row: Row) -> Item | str:
    messages = _messages(row["messages"])
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if not messages or messages[-1]["role"] != "user":
        return "malformed"
    return Prompt(messages) if messages[-1]["content"].strip() else "empty question"


def _question(text: str, answers: Sequence[str], answer_type: str = "") -> Item | str:
    if not text:
        return "empty question"
    known = tuple(answer for answer in answers if answer)
    if not known:
        return "no answer"
    return Question(text, known, answer_type)


def _webinstruct(row: Row) -> Item | str:
    return _question(_text(row["question"]), [_text(row["answer"])], _text(row.get("answer_type")))


def _big_math(row: Row) -> Item | str:
    return _question(_text(row["problem"]), [_text(row["answer"])])


def _asked(row: Row) -> str:
    messages = _messages(row["prompt"])
    return messages[-1]["content"] if messages else ""


def _ground_truth(row: Row) -> str:
    reward_model = row["reward_model"]
    return _text(reward_model.get("ground_truth")) if isinstance(reward_model, Mapping) else ""


def _skywork_or1(row: Row) -> Item | str:
    truth = _ground_truth(row)
    try:
        answers = json.loads(truth) if truth.startswith("[") else truth
    except ValueError:
        answers = truth  # an answer that begins with a bracket, for example a half-open interval
    if not isinstance(answers, list):
        answers = [truth]
    return _question(_asked(row).strip(), [_text(answer) for answer in answers])


def _dapo(row: Row) -> Item | str:
    text = _asked(row).removeprefix(_DAPO_BEFORE).removesuffix(_DAPO_AFTER)
    return _question(text.strip(), [_ground_truth(row)])


SOURCES = {
    source.name: source
    for source in (
        Source(
            "skywork-reward",
            "Skywork/Skywork-Reward-Preference-80K-v0.2",
            "train",
            ("chosen", "rejected"),
            Preference,
            _preference,
        ),
        Source("tulu", "allenai/tulu-3-sft-mixture", "train", ("messages",), Prompt, _conversation),
        Source(
            "webinstruct",
            "TIGER-Lab/WebInstruct-verified",
            "train",
            ("question", "answer"),
            Question,
            _webinstruct,
        ),
        Source(
            "skywork-or1",
            "Skywork/Skywork-OR1-RL-Data",
            "math",
            ("prompt", "reward_model"),
            Question,
            _skywork_or1,
        ),
        Source(
            "big-math",
            "SynthLabsAI/Big-Math-RL-Verified",
            "train",
            ("problem", "answer"),
            Question,
            _big_math,
        ),
        Source(
            "dapo", "BytedTsinghua-SIA/DAPO-Math-17k", "train", ("prompt", "reward_model"), Question, _dapo
        ),
    )
}


def source_of(name: str) -> Source:
    """The source of a short name.

    Raises:
        ConfigError: there is none.
    """
    if name not in SOURCES:
        raise ConfigError("--source", name, f"choose one of {', '.join(SOURCES)}")
    return SOURCES[name]
