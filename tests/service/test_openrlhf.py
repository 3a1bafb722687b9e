"""OpenRLHF's contract: always a finite number, in time, from the right siblings."""

import asyncio
import math

import pytest

from rrm_reward.assembler import Assembler
from rrm_reward.service._desk import Desk
from rrm_reward.service._errors import Refused
from rrm_reward.service._openrlhf import PATIENCE, Gone, OpenRLHF
from rrm_reward.service._seats import AWAY
from tests.support import clock
from tests.support.comparer import QualityJudge
from tests.test_arena import arena

PROMPT = "<|im_start|>user\nSort the digits: 937<|im_end|>\n<|im_start|>assistant\n"


def host(judge=None, size=3, gather=600.0, room=100):
    return OpenRLHF(Desk(Assembler(arena(judge or QualityJudge())), room), size, gather)


async def connected(reward):
    return await reward


def cut_after(seconds):
    async def listening(reward):
        try:
            return await asyncio.wait_for(reward, seconds)
        except TimeoutError:
            raise Gone from None

    return listening


def send(at, text, prompt=PROMPT, listening=connected):
    return asyncio.ensure_future(at.answer(prompt, prompt + text, listening))


def test_siblings_meet_by_their_prompt():
    async def main():
        at = host()
        return await asyncio.gather(
            *(send(at, f"0.{k} x<|im_end|>") for k in (1, 9, 5)),
            *(send(at, f"0.{k} x", prompt="another ") for k in (2, 1, 3)),
        )

    low, high, middle, *others = clock.run(main())
    assert low["rewards"] < middle["rewards"] < high["rewards"]
    assert others[1]["rewards"] < others[0]["rewards"] < others[2]["rewards"]
    assert low["extra_logs"]["rrm_group_size"] == 3.0
    assert {tuple(row["extra_logs"]) for row in (low, high, *others)} == {tuple(low["extra_logs"])}


def test_the_score_is_one_that_dynamic_filtering_can_use():
    async def main():
        at = host()
        clear = await asyncio.gather(*(send(at, f"0.{k} x") for k in (1, 9, 5)))
        equal = await asyncio.gather(*(send(at, "0.5 x", prompt="another ") for _ in range(3)))
        return clear, equal

    clear, equal = clock.run(main())
    assert len({row["scores"] for row in clear}) == 1
    assert 0.0 < clear[0]["scores"] < 1.0
    assert [row["scores"] for row in equal] == [0.0, 0.0, 0.0]


def test_the_client_times_out_twice_and_its_sample_joins_once():
    judge = QualityJudge()

    async def main():
        at = host(judge)
        waiting = [send(at, "0.1 x", listening=cut_after(180))]
        await asyncio.sleep(181)
        waiting += [send(at, "0.1 x", listening=cut_after(180)), send(at, "0.9 x")]
        await asyncio.sleep(181)
        waiting += [send(at, "0.1 x"), send(at, "0.5 x")]
        return await asyncio.gather(*waiting, return_exceptions=True)

    first, second, best, again, middle = clock.run(main())
    assert isinstance(first, Gone)
    assert isinstance(second, Gone)
    assert again["rewards"] < middle["rewards"] < best["rewards"]
    assert sum(judge.asked.values()) == 3


def test_a_sibling_that_never_comes_is_not_waited_for_longer_than_said():
    async def main():
        at = host(gather=100)
        began = asyncio.get_running_loop().time()
        rows = await asyncio.gather(send(at, "0.1 x"), send(at, "0.9 x"))
        return at, rows, asyncio.get_running_loop().time() - began

    at, rows, seconds = clock.run(main())
    assert rows[0]["rewards"] < rows[1]["rewards"]
    assert 100 <= seconds < 110
    assert at.counts["incomplete"] == 1


def test_a_judge_that_is_too_slow_costs_the_reward_and_not_the_run():
    async def main():
        at = host(QualityJudge(latency=lambda a, b: 10_000.0))
        began = asyncio.get_running_loop().time()
        rows = await asyncio.gather(*(send(at, f"0.{k} x") for k in range(3)))
        return at, rows, asyncio.get_running_loop().time() - began

    at, rows, seconds = clock.run(main())
    assert [row["rewards"] for row in rows] == [0.0, 0.0, 0.0]
    assert [row["extra_logs"]["rrm_known"] for row in rows] == [0.0, 0.0, 0.0]
    assert seconds <= PATIENCE < 5 * 180
    assert at.counts["neutral"] == 3


def test_a_sample_whose_verdicts_are_missing_gets_a_finite_number():
    async def main():
        at = host(QualityJudge(missing=lambda a, b: True))
        return await asyncio.gather(*(send(at, f"0.{k} x") for k in range(3)))

    for row in clock.run(main()):
        numbers = [row["rewards"], row["scores"], *row["extra_logs"].values()]
        assert all(isinstance(number, float) and math.isfinite(number) for number in numbers)


def test_the_next_run_does_not_meet_the_samples_of_one_that_died():
    async def main():
        at = host()
        dead = [send(at, f"0.{k} x", listening=cut_after(20)) for k in (1, 2)]
        await asyncio.gather(*dead, return_exceptions=True)
        await asyncio.sleep(AWAY + 10)
        rows = await asyncio.gather(*(send(at, f"0.{k} x") for k in (7, 9, 8)))
        return at, rows

    at, rows = clock.run(main())
    assert [row["extra_logs"]["rrm_group_size"] for row in rows] == [3.0] * 3
    assert rows[0]["rewards"] < rows[2]["rewards"] < rows[1]["rewards"]
    assert at.counts["deserted"] == 1


@pytest.mark.parametrize(
    ("prompt", "sequence", "response"),
    [
        (PROMPT, PROMPT + "0.5 x<|im_end|>", "0.5 x"),
        (PROMPT, PROMPT + "0.5 x<|im_end|>\n<|endoftext|>", "0.5 x"),
        (PROMPT, PROMPT + "0.5 a </s> b</s>", "0.5 a </s> b"),
        ("Why?", "<s> Why? 0.5 x</s>", " 0.5 x"),
        ("x" * 100 + PROMPT, PROMPT + "0.5 x", "0.5 x"),
        (PROMPT, "0.5 x", "0.5 x"),
        (PROMPT, PROMPT, ""),
    ],
)
def test_the_response_is_what_follows_the_prompt(prompt, sequence, response):
    assert host()._response(prompt, sequence) == response


def test_a_sequence_without_its_prompt_is_counted():
    at = host()
    at._response(PROMPT, "0.5 x")
    assert at.counts["unsplit"] == 1


def test_a_sample_that_is_refused_leaves_no_seat_behind():
    async def main():
        at = host(room=3)
        waiting = send(at, "0.1 x", prompt="one ")
        await asyncio.sleep(0)
        with pytest.raises(Refused):
            await send(at, "0.1 x", prompt="two ")
        await asyncio.gather(waiting, *(send(at, f"0.{k} x", prompt="one ") for k in (2, 3)))
        rows = await asyncio.gather(*(send(at, f"0.{k} x", prompt="two ") for k in (1, 2, 3)))
        assert [row["extra_logs"]["rrm_group_size"] for row in rows] == [3.0] * 3

    clock.run(main())
