"""An OpenAI-compatible chat server on 127.0.0.1 whose answers a function decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answers = Callable[[str, int], Sequence[str | tuple[str, str]]]
"""(last user message, n) -> texts, or (text, finish_reason)."""


def right_and_wrong(question: str, n: int) -> list[str]:
    """Right answers to "What is A plus B?" in turn with wrong ones."""
    words = question.split("?")[0].split()
    total = int(words[2]) + int(words[4])
    return [f"<think>Hm.</think>It is \\boxed{{{total + i % 2}}}." for i in range(n)]


@dataclass
class LoopbackSampler:
    """The server.

    Attributes:
        answers: see `Answers`.
        latency: seconds of an answer.
        fail: whether a question is answered with status 500.
        questions: what was asked, in order.
    """

    answers: Answers = right_and_wrong
    latency: float = 0.0
    fail: Callable[[str], bool] = lambda question: False
    model: str = "policy"
    questions: list[str] = field(default_factory=list)
    url: str = ""

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": self.model, "max_model_len": 32768}]})

    async def _chat(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        question = body["messages"][-1]["content"]
        self.questions.append(question)
        await asyncio.sleep(self.latency)
        if self.fail(question):
            return web.json_response({"error": {"message": "told to fail"}}, status=500)
        given = [
            a if isinstance(a, tuple) else (a, "stop") for a in self.answers(question, body.get("n") or 1)
        ]
        choices = [
            {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
            for i, (text, finish) in enumerate(given)
        ]
        return web.json_response({"object": "chat.completion", "model": self.model, "choices": choices})
