"""Which rollouts are one group, and what is said when that cannot be known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_reward.errors import ConfigError
from rrm_reward.integrations.trl._grouping import GroupSize, find_groups, group_size


class Trainer:
    """What of a trainer reaches a reward function: the object that ``log_metric`` is bound to."""

    def __init__(self, train: int, evaluate: int, *, training: bool) -> None:
        self.num_generations, self.num_generations_eval = train, evaluate
        self.model = SimpleNamespace(training=training)

    def log_metric(self, name: str, value: float) -> None: ...


def said(number: int | None) -> GroupSize:
    return GroupSize(number, number, "num_generations")


@pytest.mark.parametrize(("training", "size"), [(True, 8), (False, 2)])
def test_the_trainer_says_how_many_rollouts_a_prompt_has_in_training_and_in_evaluation(
    training: bool, size: int
) -> None:
    log_metric = Trainer(8, 2, training=training).log_metric
    assert group_size(None, None, log_metric).size == size
    assert group_size(8, 2, log_metric).size == size
    # what was said of training says nothing of evaluation
    assert len(find_groups([None] * size, group_size(8, None, log_metric))) == 1


def test_without_a_trainer_the_user_says_it() -> None:
    for log_metric in (None, print, "nothing"):
        assert group_size(4, None, log_metric).size == 4
        assert group_size(None, None, log_metric).size is None


@pytest.mark.parametrize(
    ("training", "setting", "wrong", "right"),
    [(True, "num_generations", 4, 8), (False, "num_generations_eval", 4, 2)],
)
def test_a_user_who_contradicts_the_trainer_is_told_both_numbers(
    training: bool, setting: str, wrong: int, right: int
) -> None:
    size = group_size(4, 4, Trainer(8, 2, training=training).log_metric)
    with pytest.raises(ConfigError, match=f"{setting}={wrong}: the trainer rolls out {right} "):
        find_groups(["a"] * 8, size)


@given(st.lists(st.integers(1, 6), max_size=8))
def test_neighbours_with_one_prompt_id_are_a_group(sizes: list[int]) -> None:
    keys = [str(group) for group, size in enumerate(sizes) for _ in range(size)]
    assert [len(group) for group in find_groups(keys, said(None))] == sizes


@given(st.integers(1, 8), st.integers(0, 8))
def test_groups_cover_every_row_once(size: int, count: int) -> None:
    groups = find_groups([None] * (size * count), said(size))
    assert [row for group in groups for row in group] == list(range(size * count))
    assert {len(group) for group in groups} <= {size}


def test_a_known_size_parts_neighbours_with_the_same_prompt_id() -> None:
    assert find_groups(["a"] * 8, said(4)) == [range(0, 4), range(4, 8)]


@pytest.mark.parametrize(
    ("keys", "size", "message"),
    [
        ([None] * 8, None, "nothing says which completions are a group"),
        ([None] * 12, 8, "12 completions over all processes are no whole number of groups of 8"),
        (["a", "a", "b", "b"], 4, "the 4 completions from number 0 on belong to the prompts a, b"),
    ],
)
def test_what_cannot_be_grouped_is_refused_with_the_numbers(
    keys: list[Any], size: int | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        find_groups(keys, said(size))
