"""Scores over HTTP, in the shape of vLLM's classify endpoint."""

import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from rrm_reward.build import build_arena
from rrm_reward.config import load
from rrm_reward.errors import ConfigError
from rrm_reward.scoring._classify import decode_score
from rrm_reward.types import Group


class ClassifyServer:
    """Scores a chat by the length of its last message; answers as vLLM 0.29 does."""

    def __init__(self, classes=1, fail=0):
        self.classes, self.fail = classes, fail
        self.bodies = []

    async def classify(self, request):
        body = await request.json()
        self.bodies.append(body)
        if len(self.bodies) > 1 and self.fail:
            self.fail -= 1
            return web.json_response({"error": "told to fail"}, status=500)
        value = len(body["messages"][-1]["content"]) / 10
        item = {"index": 0, "label": "LABEL_0", "probs": [value] * self.classes, "num_classes": self.classes}
        return web.json_response(
            {"object": "list", "model": body["model"], "data": [item], "usage": {"prompt_tokens": 9}}
        )

    async def models(self, request):
        return web.json_response({"object": "list", "data": [{"id": "rm", "max_model_len": 4096}]})


@asynccontextmanager
async def serving(server):
    app = web.Application()
    app.router.add_post("/classify", server.classify)
    app.router.add_get("/v1/models", server.models)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def configured(url, *overrides):
    return load(overrides=["judge.kind=scalar", "judge.model=rm", f"judge.urls=[{url}]", *overrides])


async def test_each_response_is_one_request_in_the_layout_of_skywork_reward():
    server = ClassifyServer()
    query = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "?"},
        {"role": "user", "content": "2+2"},
    ]
    async with serving(server) as url, build_arena(configured(url)) as arena:
        result = await arena.judge(Group("g", query, ["4", "four", "4"]))
    assert result.ratings.value.tolist() == [0.1, 0.4, 0.1]
    assert (result.calls, result.prompt_tokens) == (2, 18)
    _, first, second = server.bodies
    assert first["messages"] == [*query, {"role": "assistant", "content": "4"}]
    assert second["messages"][-1]["content"] == "four"
    assert first["use_activation"] is False
    assert first["model"] == "rm"


async def test_a_request_that_fails_is_tried_again():
    server = ClassifyServer(fail=1)
    async with serving(server) as url, build_arena(configured(url)) as arena:
        result = await arena.judge(Group("g", "q", ["4", "four"]))
    assert result.missing == 0


async def test_a_score_that_cannot_be_had_is_unknown_and_counted():
    server = ClassifyServer(fail=100)
    async with serving(server) as url, build_arena(configured(url, "judge.retries=0")) as arena:
        result = await arena.judge(Group("g", "q", ["4", "four"]))
        assert arena.snapshot()["score_errors"] == 2.0
    assert result.missing == 2


async def test_a_server_that_does_not_score_is_found_at_start_up():
    async with serving(ClassifyServer(classes=2)) as url:
        with pytest.raises(ConfigError, match="--runner pooling") as caught:
            await build_arena(configured(url, "judge.retries=0")).start()
    assert caught.value.key == "judge.model"


@pytest.mark.parametrize(
    "body", [{}, {"data": []}, {"data": [{"probs": [0.1, 0.9]}]}, {"data": [{"probs": ["x"]}]}]
)
def test_what_is_no_single_score_is_refused(body):
    with pytest.raises(ValueError, match="not a single score"):
        decode_score(json.dumps(body).encode())
