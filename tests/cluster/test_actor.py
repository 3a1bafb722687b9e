"""What a keeper hears of an actor's death, by Ray's own exceptions and without its processes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from rrm_reward.cluster._actor import Actor
from rrm_reward.cluster._life import Gone
from rrm_reward.judge import Completion


@pytest.mark.parametrize(
    "call",
    [lambda actor: actor.prepare(["}"]), lambda actor: actor.next_token(Completion("1"), "}")],
    ids=["prepare", "next_token"],
)
@pytest.mark.parametrize(
    "arguments", [("ActorDiedError",), ("ActorUnavailableError", "the node is lost", None)]
)
def test_an_actor_that_dies_over_a_call_is_gone(call, arguments):
    import ray.exceptions

    async def died(*_):
        name, *said = arguments
        raise getattr(ray.exceptions, name)(*said)

    actor = Actor.__new__(Actor)
    actor._handle = SimpleNamespace(
        prepare=SimpleNamespace(remote=died), next_token=SimpleNamespace(remote=died)
    )
    with pytest.raises(Gone):
        asyncio.run(call(actor))
