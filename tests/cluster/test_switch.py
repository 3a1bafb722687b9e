"""The counting switch behind `SharedJudge.awake`, without Ray."""

from __future__ import annotations

import asyncio

import pytest

from rrm_reward.cluster._switch import Switch
from tests.support.waiting import until


class Lamp:
    """Notes what is done to it; each way may be held up."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.may_light = asyncio.Event()
        self.may_fade = asyncio.Event()
        self.may_light.set()
        self.may_fade.set()
        self.switch = Switch(self._light, self._fade)

    async def _light(self) -> None:
        self.log.append("lighting")
        await self.may_light.wait()
        self.log.append("on")

    async def _fade(self) -> None:
        self.log.append("fading")
        await self.may_fade.wait()
        self.log.append("off")


async def off() -> Lamp:
    lamp = Lamp()
    await lamp.switch.settle()
    assert lamp.log == ["fading", "off"]
    lamp.log.clear()
    return lamp


async def test_the_first_user_turns_it_on_and_the_last_turns_it_off() -> None:
    lamp = await off()
    async with lamp.switch.held(), lamp.switch.held():
        async with lamp.switch.held():
            pass
        assert lamp.log == ["lighting", "on"]
    assert lamp.log == ["lighting", "on", "fading", "off"]


async def test_what_is_raised_inside_comes_out_and_the_count_is_right_afterwards() -> None:
    lamp = await off()
    with pytest.raises(ZeroDivisionError):
        async with lamp.switch.held():
            raise ZeroDivisionError
    assert lamp.log[-1] == "off"


async def test_user_who_is_cancelled_while_it_turns_on_leaves_it_off() -> None:
    lamp = await off()
    lamp.may_light.clear()

    async def use() -> None:
        async with lamp.switch.held():
            raise AssertionError("it was cancelled before")

    user = asyncio.create_task(use())
    await until(lambda: lamp.log == ["lighting"])
    user.cancel()
    lamp.may_light.set()
    with pytest.raises(asyncio.CancelledError):
        await user
    # what had begun ran to its end, and then the other way
    assert lamp.log == ["lighting", "on", "fading", "off"]
    async with lamp.switch.held():
        assert lamp.log[-1] == "on"
    assert lamp.log[-1] == "off"


async def test_user_who_is_cancelled_while_it_turns_off_leaves_it_off() -> None:
    lamp = await off()
    lamp.may_fade.clear()

    async def use() -> None:
        async with lamp.switch.held():
            pass

    user = asyncio.create_task(use())
    await until(lambda: lamp.log[-1:] == ["fading"])
    user.cancel()
    with pytest.raises(asyncio.CancelledError):
        await user
    lamp.may_fade.set()
    await until(lambda: lamp.log[-1] == "off")
    async with lamp.switch.held():
        assert lamp.log[-1] == "on"


async def test_user_who_comes_while_it_turns_off_waits_and_finds_it_on() -> None:
    lamp = await off()
    lamp.may_fade.clear()
    async with asyncio.TaskGroup() as tasks:

        async def use() -> None:
            async with lamp.switch.held():
                assert lamp.log[-1] == "on"

        tasks.create_task(use())
        await until(lambda: lamp.log[-1:] == ["fading"])
        tasks.create_task(use())
        lamp.may_fade.set()
    assert lamp.log[-1] == "off"


async def test_what_was_done_last_is_done_again_when_it_is_asked_for_and_no_user_is_counted() -> None:
    lamp = await off()
    await lamp.switch.repeat()
    assert lamp.log == ["fading", "off"]
    async with lamp.switch.held():
        await lamp.switch.repeat()
        assert lamp.log[2:] == ["lighting", "on"] * 2
    assert lamp.log[6:] == ["fading", "off"]
