"""`rrm-reward rank` without a network: lines, order, continuation, streaming, plan."""

import asyncio
import fcntl
import json
import os
import shutil
import struct
import tempfile
import termios
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrm_reward.arena import Arena
from rrm_reward.config import JudgeConfig
from rrm_reward.errors import ConfigError, InputError
from rrm_reward.rank import OutputFile, OutputStream, error_row, parse_line, plan, rank, result_row
from rrm_reward.rank import _drive as drive
from rrm_reward.rank._output import InOrder
from rrm_reward.rank._reader import lines, stream
from rrm_reward.rating import make_rating
from rrm_reward.reward import make_reward
from rrm_reward.tournament import SCHEDULES, default_rating, make_tournament
from rrm_reward.types import Group, GroupResult, NoVerdict, Outcome, Ratings, Verdict, Vote
from tests.support import clock
from tests.support.comparer import QualityJudge
from tests.support.waiting import until

GOOD = {"id": "a", "query": "Why?", "responses": ["0.1 x", "0.2 y", None]}


def encoded(record) -> bytes:
    return json.dumps(record).encode() + b"\n"


def arena(judge=None, schedule="round_robin", **options) -> Arena:
    return Arena(
        judge or QualityJudge(),
        lambda n, seed: make_tournament(schedule, n, seed=seed),
        make_rating(default_rating(schedule)),
        make_reward("natural", 5.0),
        **options,
    )


# --- lines


def test_a_line_becomes_a_group_and_keeps_its_id_as_it_was_given():
    line = parse_line(3, encoded({**GOOD, "id": 17, "answer": "ignored"}))
    assert line.id == 17
    assert line.group == Group("17", "Why?", ["0.1 x", "0.2 y", None])
    assert line.error == ""


def test_a_query_may_be_whatever_the_judge_can_read():
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "x"}}]
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    messages = [{"role": "user", "content": parts}, call]
    assert parse_line(1, encoded({**GOOD, "query": messages})).group.query == messages


def test_a_query_may_be_chat_messages():
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "?"}]
    assert parse_line(1, encoded({**GOOD, "query": messages})).group.query == messages


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"id": 1, "query"', "not JSON: Expecting ':' delimiter at column 18"),
        (b"\xff\xfe", "not UTF-8 at byte 1"),
        (b"[1]", "must be an object with id, query and responses, not a list"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"id": ' + b"1" * 5000 + b"}", "a number of thousands of digits"),
        (encoded({k: v for k, v in GOOD.items() if k != "id"}), "id is missing"),
        (encoded({**GOOD, "id": None}), "id must be a string or an integer, not null"),
        (encoded({**GOOD, "id": True}), "id must be a string or an integer, not a boolean"),
        (encoded({**GOOD, "query": ""}), "query is empty"),
        (encoded({**GOOD, "query": []}), "query is empty"),
        (encoded({**GOOD, "query": 3}), "query must be a string or a list of chat messages, not a number"),
        (encoded({**GOOD, "query": ["x"]}), "query[0]: expected a message with role and content, not str"),
        (
            encoded({**GOOD, "query": [{"role": "user"}]}),
            "query[0].content: expected text or a list of parts",
        ),
        (encoded({**GOOD, "query": [{"role": "", "content": "x"}]}), "query[0].role: expected a name"),
        (encoded({**GOOD, "responses": {}}), "responses must be a list, not an object"),
        (encoded({**GOOD, "responses": []}), "responses is empty"),
        (
            encoded({**GOOD, "responses": ["a", None, 3.5]}),
            "responses[2] must be a string or null, not a number",
        ),
    ],
)
def test_a_malformed_line_names_its_number_and_field(raw, message):
    line = parse_line(7, raw)
    assert line.group is None
    assert line.error.startswith("line 7: ")
    assert message in line.error


SCRAPS = st.sampled_from(
    [None, True, 3, 0.5, "", "x", [], ["x", None], [3], {}, [{"role": "user", "content": "x"}]]
)


@settings(deadline=None)
@given(st.binary() | st.dictionaries(st.sampled_from(["id", "query", "responses"]), SCRAPS).map(encoded))
def test_no_line_raises(raw):
    line = parse_line(1, raw)
    assert (line.group is None) == bool(line.error)


def test_what_is_unknown_is_null_in_the_output():
    numbers = np.array([0.5, np.nan, np.inf])
    result = GroupResult("x", numbers, Ratings(numbers, numbers), (), 1, 2, 3)
    assert json.loads(result_row("é", result)) == {
        "id": "é",
        "rewards": [0.5, None, None],
        "ratings": [0.5, None, None],
        "stderr": [0.5, None, None],
        "comparisons": 1,
        "calls": 2,
        "missing": 3,
    }


# --- order and continuation


@settings(deadline=None)
@given(st.permutations(range(12)))
def test_rows_are_given_back_in_order_as_soon_as_their_turn_has_come(order):
    turn, written = InOrder(0), []
    for done, position in enumerate(order, 1):
        written += turn.put(position, str(position))
        finished = set(order[:done])
        assert len(written) == next(k for k in range(13) if k not in finished)
        assert turn.held == done - len(written)
    assert written == [str(k) for k in range(12)]


def row(position: int) -> str:
    if position % 4 == 3:
        return error_row(position, f"line {position + 1}: responses is empty")
    return json.dumps({"id": position, "rewards": [0.0, 1.0], "comparisons": 1})


def line(position: int):
    responses = [] if position % 4 == 3 else ["a", "b"]
    return parse_line(position + 1, encoded({"id": position, "query": "q", "responses": responses}))


def play(output, order, stop=None) -> list[int]:
    """Put what was not recalled, in this order; positions that had to be judged."""
    known = {k for k in range(len(order)) if output.recall(k, line(k)) is not None}
    asked = [k for k in order if k not in known][:stop]
    for position in asked:
        output.put(position, row(position))
    return asked


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(12)), st.permutations(range(12)), st.integers(0, 12), st.integers(0, 9))
def test_a_run_that_was_killed_anywhere_is_continued_without_judging_anything_twice(first, second, stop, cut):
    with tempfile.TemporaryDirectory() as folder:
        path, crashed = Path(folder, "out.jsonl"), Path(folder, "crashed.jsonl")
        output = OutputFile(path)
        asked = play(output, first, stop)
        for suffix in ("", ".ahead"):
            shutil.copy(f"{path}{suffix}", f"{crashed}{suffix}")
        output.close()
        if cut:
            with open(crashed, "ab") as file:
                file.write(row(11)[:cut].encode())
        with OutputFile(crashed) as output:
            again = play(output, second)
            output.complete(12)
        assert not set(asked) & set(again)
        assert crashed.read_text().splitlines() == [row(k) for k in range(12)]
        assert not Path(f"{crashed}.ahead").exists()


def test_a_row_that_was_cut_in_half_is_judged_again(tmp_path):
    path = tmp_path / "out.jsonl"
    with OutputFile(path) as output:
        play(output, range(4))
    whole = path.read_bytes()
    for cut in range(1, len(row(3)) + 1):
        path.write_bytes(whole[:-cut])
        with OutputFile(path) as output:
            assert output.finished == 3
            assert play(output, range(4)) == [3]
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"id": "z"}, "its line 1 has the id 0, line 1 of this one 'z'"),
        ({"id": "0"}, "its line 1 has the id 0, line 1 of this one '0'"),
        ({"responses": ["a", "b", "c"]}, "its line 1 has 2 rewards, line 1 of this one 3 responses"),
        ({"responses": 1}, "its line 1 has 2 rewards, line 1 of this one 0 responses"),
    ],
)
def test_an_output_of_another_input_is_refused(tmp_path, other, message):
    path = tmp_path / "out.jsonl"
    with OutputFile(path) as output:
        play(output, range(3))
    record = {"id": 0, "query": "q", "responses": ["a", "b"]}
    with (
        OutputFile(path) as output,
        pytest.raises(InputError, match="holds results of another input") as raised,
    ):
        output.recall(0, parse_line(1, encoded({**record, **other})))
    assert message in str(raised.value)


def test_an_output_of_a_longer_input_is_refused(tmp_path):
    with OutputFile(tmp_path / "out.jsonl") as output:
        play(output, range(3))
    with OutputFile(tmp_path / "out.jsonl") as output:
        output.recall(0, line(0))
        with pytest.raises(InputError, match="beyond the 1 lines"):
            output.complete(1)


@pytest.mark.parametrize("text", ["my notes", "my notes\n", '{"id": 1}\n', '{"id": 1, "rewards": []}\n3\n'])
def test_a_file_that_is_not_ours_is_left_alone(tmp_path, text):
    path = tmp_path / "precious.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is no result of rrm-reward rank"):
        OutputFile(path)
    assert path.read_text() == text


def test_two_processes_cannot_write_one_output(tmp_path):
    with OutputFile(tmp_path / "out.jsonl"), pytest.raises(ConfigError, match="another process"):
        OutputFile(tmp_path / "out.jsonl")


def test_the_journal_of_an_output_that_was_deleted_is_stale(tmp_path):
    output = OutputFile(tmp_path / "out.jsonl")
    output.put(1, row(1))
    output.close()
    (tmp_path / "out.jsonl").unlink()
    with OutputFile(tmp_path / "out.jsonl") as output:
        assert play(output, range(2)) == [0, 1]


# --- input


def test_blank_lines_are_skipped_and_counted(tmp_path):
    (tmp_path / "in").write_bytes(b"a\n\n  \nb")
    with open(tmp_path / "in", "rb") as file:
        assert list(lines(file)) == [(1, b"a\n"), (4, b"b")]


def test_waiting_for_a_slow_pipe_does_not_hold_up_the_loop():
    receiver, sender = os.pipe()
    ticked, in_time = threading.Semaphore(0), []

    def write():
        with open(sender, "wb", buffering=0) as file:
            for text in (b"one\n", b"two\n"):
                in_time.extend(ticked.acquire(timeout=60) for _ in range(10))
                file.write(text)

    async def main(file):
        async def tick():
            while True:
                await asyncio.sleep(0.01)
                ticked.release()

        ticking = asyncio.create_task(tick())
        read = [text async for text in stream(file)]
        ticking.cancel()
        return read

    threading.Thread(target=write).start()
    with open(receiver, "rb") as file:
        assert asyncio.run(main(file)) == [(1, b"one\n"), (2, b"two\n")]
    assert in_time == [True] * 20, "the loop went on while nothing was there to read"


def waiting_in(pipe):
    """Bytes that were written and are not read yet."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


def test_a_pipe_is_read_one_line_ahead_and_no_further():
    receiver, sender = os.pipe()

    async def main(file):
        source = stream(file)
        first = await anext(source)
        await until(lambda: waiting_in(receiver) <= len(b"four\n"))
        await asyncio.sleep(0.05)
        return first, os.read(receiver, 100)

    with open(sender, "wb", buffering=0) as writer, open(receiver, "rb", buffering=0) as file:
        writer.write(b"one\ntwo\nthree\nfour\n")
        assert asyncio.run(main(file)) == ((1, b"one\n"), b"four\n")


# --- judging


class Sink(OutputStream):
    """Keeps rows; knows how many were held at most."""

    def __init__(self):
        self.rows, self.most_held = [], 0
        self._turn = InOrder(0)

    def put(self, position, row):
        self.rows += [json.loads(text) for text in self._turn.put(position, row)]
        self.most_held = max(self.most_held, self.held)


async def source_of(records):
    for number, record in enumerate(records, 1):
        yield number, encoded(record) if isinstance(record, dict) else record


def test_results_come_in_input_order_and_the_rest_runs_when_a_line_is_malformed(caplog):
    slow_first = QualityJudge(latency=lambda a, b: 10.0 if "slow" in a else 1.0)
    records = [
        {"id": "slow", "query": "q", "responses": ["0.1 slow", "0.9 slow"]},
        b"nonsense\n",
        {"id": "quick", "query": "q", "responses": ["0.9 x", None, "0.1 y"]},
        {"id": "quick", "query": "q", "responses": ["0.5 alone"]},
    ]
    sink = Sink()

    async def main():
        return await rank(arena(slow_first), source_of(records), sink)

    tally = clock.run(main())
    assert [found["id"] for found in sink.rows] == ["slow", None, "quick", "quick"]
    assert sink.rows[1] == {"id": None, "error": "line 2: not JSON: Expecting value at column 1"}
    assert "line 2: not JSON" in caplog.text
    rewards = sink.rows[2]["rewards"]
    assert rewards[0] > rewards[2]
    assert rewards[1] is None
    assert (tally.groups, tally.malformed, tally.finished, tally.comparisons) == (3, 1, 4, 2)
    assert sink.most_held == 3


def test_no_more_groups_are_open_than_keep_the_judge_busy():
    judge = QualityJudge()
    played = arena(judge, concurrency=6)
    most_open = 0
    groups = [
        {"id": k, "query": f"q{k}", "responses": [f"0.{i} {k}" for i in range(1, 5)]} for k in range(40)
    ]

    def look(tally):
        nonlocal most_open
        most_open = max(most_open, int(played.snapshot()["open_groups"]))

    clock.run(rank(played, source_of(groups), Sink(), look))
    assert judge.most_in_flight == 6
    assert most_open <= drive.AHEAD * 6 / 6 + 1
    assert sum(judge.asked.values()) == 40 * 6


def test_a_slow_group_at_the_head_holds_back_a_bounded_number_of_results(monkeypatch):
    monkeypatch.setattr(drive, "HELD", 5)
    judge = QualityJudge(latency=lambda a, b: 100.0 if "slow" in a else 1.0)
    groups = [{"id": k, "query": "q", "responses": [f"0.1 {k}", f"0.2 {k}"]} for k in range(50)]
    groups[0]["responses"] = ["0.1 slow", "0.2 slow"]
    sink = Sink()
    tally = clock.run(rank(arena(judge, concurrency=1 + 1), source_of(groups), sink))
    assert [found["id"] for found in sink.rows] == list(range(50))
    assert tally.groups == 50
    assert sink.most_held <= 5 + drive.AHEAD * 2


def test_a_group_that_the_schedule_cannot_take_is_one_bad_line():
    def draw(n, seed):
        return make_tournament("round_robin", n, seed=seed, budget=4)

    small = Arena(QualityJudge(), draw, make_rating("win_rate"), make_reward("natural", 5.0))
    groups = [{"id": n, "query": "q", "responses": [f"0.{i + 1} {n}" for i in range(n)]} for n in (4, 9, 4)]
    sink = Sink()
    tally = clock.run(rank(small, source_of(groups), sink))
    assert ["error" in found for found in sink.rows] == [False, "error" in sink.rows[1], False]
    assert tally.malformed == ("error" in sink.rows[1])


def test_an_output_that_cannot_be_written_ends_the_run():
    class Full(Sink):
        def put(self, position, row):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        clock.run(rank(arena(), source_of([GOOD] * 5), Full()))


def test_missing_outcomes_are_summed_up_by_their_reason():
    missing = QualityJudge(missing=lambda a, b: "x" in a or "x" in b)
    tally = clock.run(
        rank(arena(missing), source_of([{**GOOD, "responses": ["0.1 x", "0.2", "0.3"]}]), Sink())
    )
    assert tally.missing == 2
    assert tally.reasons == {"truncated": 2}
    assert tally.unrewarded == 1
    assert "3 comparisons, 3 calls, 2 missing (2 truncated)" in tally.summary(1.0)


def test_a_missing_outcome_takes_the_commonest_reason_of_its_votes():
    def vote(reason):
        return Vote(True, Verdict(None, reason))

    reasons = (NoVerdict.ERROR, NoVerdict.TRUNCATED, NoVerdict.TRUNCATED)
    nan = np.full(2, np.nan)
    outcomes = (Outcome(0, 1, None, tuple(map(vote, reasons))), Outcome(0, 1, None))
    tally = drive.Tally()
    tally.add(GroupResult("g", nan, Ratings(nan, nan), outcomes, 2, 3, 2))
    assert tally.reasons == {"truncated": 1, "not asked": 1}


# --- plan


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_the_plan_is_what_is_then_played(schedule):
    groups = [
        {"id": 0, "query": "q", "responses": [f"0.{k} x" for k in range(1, 9)]},
        {"id": 1, "query": "q", "responses": ["0.1 x", "0.2 x", "0.1 x", None, "0.3 x", "0.3 x"]},
        {"id": 2, "query": "q", "responses": ["0.1 x", "0.1 x"]},
        {"id": 3, "query": "q", "responses": [None]},
    ]
    numbered = [(number, encoded(record)) for number, record in enumerate(groups, 1)]
    counted = plan(arena(schedule=schedule), JudgeConfig(), [*numbered, (5, b"nonsense")])
    tally = clock.run(rank(arena(schedule=schedule), source_of(groups), Sink()))
    # Who is whose neighbour, and whether there is a second final, is drawn or judged: the plan takes one way.
    spread = 1 if schedule in ("circular", "double_elimination") else 0
    assert abs(counted.comparisons - tally.comparisons) <= spread
    assert (counted.groups, counted.responses, counted.duplicates, counted.malformed) == (4, 15, 3, 1)


@pytest.mark.parametrize(
    ("settings", "factor"), [({}, 1), ({"votes": 3}, 3), ({"votes": 3, "order": "both"}, 6)]
)
def test_calls_count_votes_and_orders(settings, factor):
    counted = plan(arena(), JudgeConfig(**settings), [(1, encoded({**GOOD, "responses": ["a", "b", "c"]}))])
    assert (counted.comparisons, counted.calls) == (3, 3 * factor)
