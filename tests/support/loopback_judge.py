r"""A real OpenAI-compatible judge on 127.0.0.1 that knows each response's quality and fails when told to.

Tests give a response its quality in its text, ``quality=0.73``; a response without one gets a fixed
pseudo-random quality from its text, so that the rollouts of a real trainer are judged consistently too. The
server reads both responses out of the RRM prompt, decides by one rule, and answers as RRM-7B does:

    async with LoopbackJudge(faults=Faults(http_500=0.02)) as judge:
        backend = OpenAIBackend([judge.url], judge.model)

The rule: Assistant 1 wins if ``q1 - q2 + bias + N(0, noise) >= 0``. Bias and noise 0 is the perfect judge, a
bias of inf always prefers the first. Noise depends on the texts and on how often they were asked, not on the
order of arrival; faults depend on the seed and the request's number.

It knows vLLM's way to continue a completion: a token is a character, its id the character's code. What is asked to go
on after ``\boxed{Assistant `` (``/v1/completions``) is decided by the rule, with probability `sure`.

As a process (the first line of its output is the URL; SIGTERM or SIGINT ends it):

    python -m tests.support.loopback_judge --port 0 --http-500 0.02 --latency 0.2
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import re
import signal
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from aiohttp import web

_FIRST = "### Assistant 1\n\n"
_SECOND = "### Assistant 2\n\n"
_ANALYSIS = "\n## Analysis"
_QUALITY = re.compile(r"quality=([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)")
_REASONING = "Assistant 1 and Assistant 2 both answer the query; I compare them step by step."


@dataclass
class Faults:
    """Shares of requests in [0, 1] that go wrong; their sum is at most 1.

    Attributes:
        http_500: answered with status 500.
        no_verdict: answered without a verdict.
        truncated: cut off while reasoning (``finish_reason`` "length").
        disconnect: the connection is closed without an answer.
        slow: answered, but only after ``slow_seconds``.
        slow_seconds: see `slow`.
        status: every request is answered with this status, where it is not 0.
        retry_after: value of the Retry-After header of error answers, if any.
    """

    http_500: float = 0.0
    no_verdict: float = 0.0
    truncated: float = 0.0
    disconnect: float = 0.0
    slow: float = 0.0
    slow_seconds: float = 60.0
    status: int = 0
    retry_after: str | None = None


@dataclass
class LoopbackJudge:
    """The server; see the module's text. Every attribute may be changed while it runs.

    Attributes:
        bias, noise: of the rule; the seed is that of noise and faults.
        faults: what goes wrong.
        latency: seconds an answer takes, or its mean where `latency_sigma` > 0 makes it lognormal.
        quality: overrides how a response text is valued.
        model, max_model_len: what ``/v1/models`` says.
        choices: most choices of one request (llama.cpp gives 1 whatever n says), None for as many as asked.
        reject_n: answer 400 to n > 1, as some servers do.
        reasoning_field: the field that holds the reasoning, None for in the text, up to ``</think>``.
        usage: whether answers count tokens (one per four characters).
        api_key: the key without which all is 401.
        token_ids: whether it tells token ids when asked to, as vLLM does.
        sure: probability of the better one where a verdict is forced.
        answered_hook: is called with the body of each chat request that was answered, before the answer is sent.
        keep: remember requests in `bodies` and `headers`, and those that force a verdict in `forced`.
        port: to listen on, 0 for any; kept over `stop` and `start`.
    """

    bias: float = 0.0
    noise: float = 0.0
    seed: int = 0
    faults: Faults = field(default_factory=Faults)
    latency: float = 0.0
    latency_sigma: float = 0.0
    quality: Callable[[str], float] | None = None
    model: str = "RRM-7B"
    max_model_len: int | None = 32768
    choices: int | None = None
    reject_n: bool = False
    reasoning_field: str | None = None
    usage: bool = True
    api_key: str | None = None
    token_ids: bool = True
    sure: float = 0.9
    answered_hook: Callable[[dict[str, Any]], None] | None = None
    keep: bool = False
    port: int = 0

    counts: Counter[str] = field(default_factory=Counter, init=False)
    """``requests`` (chat), ``votes``, ``models`` (probes), ``cancelled``, and one key per fault."""
    bodies: list[dict[str, Any]] = field(default_factory=list, init=False)
    forced: list[dict[str, Any]] = field(default_factory=list, init=False)
    headers: list[dict[str, str]] = field(default_factory=list, init=False)
    in_flight: int = field(default=0, init=False)
    peak: int = field(default=0, init=False)
    """Most chat requests in flight at once."""

    def __post_init__(self) -> None:
        self._fault_random = random.Random(f"faults {self.seed}")
        self._latency_random = random.Random(f"latency {self.seed}")
        self._asked: Counter[int] = Counter()
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """Base URL as OpenAI clients take it, ending in ``/v1``."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        """Listen. After `stop`, listens on the same port again."""
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=4096, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Drop every connection and refuse new ones, as a server that was killed."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def __aenter__(self) -> LoopbackJudge:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    def decide(self, prompt: str) -> int:
        """The verdict, 1 or 2, on an RRM prompt (its user message).

        Raises:
            ValueError: the prompt is not one of an RRM.
        """
        second = prompt.rindex(_SECOND)
        first = prompt.rindex(_FIRST, 0, second)
        end = prompt.find(_ANALYSIS, second)
        one = prompt[first + len(_FIRST) : second].strip()
        two = prompt[second + len(_SECOND) : end if end >= 0 else len(prompt)].strip()
        margin = self._value(one) - self._value(two) + self.bias
        if self.noise:
            key = zlib.crc32(f"{one}\0{two}".encode("utf-8", "surrogatepass"))
            self._asked[key] += 1
            margin += random.Random(f"{self.seed} {key} {self._asked[key]}").gauss(0.0, self.noise)
        return 1 if margin >= 0 else 2

    def _value(self, response: str) -> float:
        if self.quality is not None:
            return self.quality(response)
        if found := _QUALITY.search(response):
            return float(found[1])
        return zlib.crc32(response.encode("utf-8", "surrogatepass")) / 2**32

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.api_key is not None and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            self.counts["unauthorized"] += 1
            return _error(401, "no or wrong API key")
        if request.path == "/v1/chat/completions" and request.method == "POST":
            return await self._chat(request)
        if request.path == "/v1/completions" and request.method == "POST":
            return await self._continue(request)
        if request.path == "/v1/models":
            self.counts["models"] += 1
            card: dict[str, Any] = {"id": self.model, "object": "model"}
            if self.max_model_len is not None:
                card["max_model_len"] = self.max_model_len
            return _answer({"object": "list", "data": [card]})
        if request.path == "/admin":
            return await self._admin(request)
        return _error(404, f"no {request.method} {request.path} here")

    async def _admin(self, request: web.BaseRequest) -> web.StreamResponse:
        """GET: the counters. POST ``{"faults": {...}, "bias": ..., ...}``: change what is given."""
        if request.method == "POST":
            for key, value in json.loads(await request.read()).items():
                setattr(self, key, Faults(**value) if key == "faults" else value)
        return _answer({**self.counts, "in_flight": self.in_flight, "peak": self.peak})

    async def _chat(self, request: web.BaseRequest) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.counts["requests"] += 1
        if self.keep:
            self.bodies.append(body)
            self.headers.append(dict(request.headers))
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            return await self._complete(request, body)
        except asyncio.CancelledError:
            self.counts["cancelled"] += 1
            raise
        finally:
            self.in_flight -= 1

    async def _continue(self, request: web.BaseRequest) -> web.StreamResponse:
        """What comes after token ids, or the ids of a text."""
        body = json.loads(await request.read())
        prompt = body["prompt"]
        if isinstance(prompt, str):
            ids = _ids(prompt) if body.get("return_token_ids") and self.token_ids else None
            return _answer({"choices": [{"text": "", "finish_reason": "length", "prompt_token_ids": ids}]})
        self.counts["forced"] += 1
        if self.keep:
            self.forced.append(body)
        delay = self._draw_latency()
        if delay > 0:
            await asyncio.sleep(delay)
        if self.faults.status:
            return _error(self.faults.status, "told to fail", self.faults.retry_after)
        text = "".join(map(chr, prompt))
        if not text.endswith("\\boxed{Assistant "):
            likely = {"and": -0.1, "1": -5.0, "2": -6.0}
        else:
            p = min(max(self.sure if self.decide(text) == 1 else 1 - self.sure, 1e-9), 1 - 1e-9)
            likely = {"1": math.log(p), "2": math.log(1 - p)}
        return _answer({"choices": [{"text": "1", "logprobs": {"top_logprobs": [likely]}}]})

    async def _complete(self, request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        fault = self._draw_fault()
        delay = self._draw_latency() + (self.faults.slow_seconds if fault == "slow" else 0.0)
        if delay > 0:
            await asyncio.sleep(delay)
        if self.faults.status or fault == "http_500":
            return _error(self.faults.status or 500, "told to fail", self.faults.retry_after)
        if fault == "disconnect":
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if body["model"] != self.model:
            return _error(404, f"The model `{body['model']}` does not exist.")
        n = body.get("n") or 1
        if n > 1 and self.reject_n:
            return _error(400, "n > 1 is not supported")
        prompt = body["messages"][-1]["content"]
        n = n if self.choices is None else min(n, self.choices)
        self.counts["votes"] += n
        try:
            verdicts = [self.decide(prompt) for _ in range(n)]
        except ValueError:
            return _error(400, "this is not an RRM prompt")
        if self.answered_hook is not None:
            self.answered_hook(body)
        return self._render(prompt, verdicts, fault, ids=bool(body.get("return_token_ids")))

    def _render(self, prompt: str, verdicts: list[int], fault: str, *, ids: bool) -> web.Response:
        choices: list[dict[str, Any]] = []
        for index, verdict in enumerate(verdicts):
            answer = "\n\nI cannot say." if fault == "no_verdict" else f"\n\n\\boxed{{Assistant {verdict}}}"
            if self.reasoning_field is not None:
                content = None if fault == "truncated" else answer
                message = {"role": "assistant", "content": content, self.reasoning_field: _REASONING}
            elif fault == "truncated":
                message = {"role": "assistant", "content": _REASONING}
            else:
                message = {"role": "assistant", "content": f"{_REASONING}\n</think>{answer}"}
            finish = "length" if fault == "truncated" else "stop"
            choices.append({"index": index, "message": message, "finish_reason": finish})
            if ids and self.token_ids:
                choices[-1]["token_ids"] = _ids(
                    _REASONING if fault == "truncated" else message["content"] or ""
                )
        answer_body: dict[str, Any] = {"object": "chat.completion", "model": self.model, "choices": choices}
        if ids and self.token_ids:
            answer_body["prompt_token_ids"] = _ids(prompt)
        if self.usage:
            spent, written = len(prompt) // 4, 25 * len(verdicts)
            answer_body["usage"] = {
                "prompt_tokens": spent,
                "completion_tokens": written,
                "total_tokens": spent + written,
            }
        return _answer(answer_body)

    def _draw_fault(self) -> str:
        """The name of this request's fault, or "". One draw a request: the n-th has the same every time."""
        draw, upto = self._fault_random.random(), 0.0
        for name in ("http_500", "no_verdict", "truncated", "disconnect", "slow"):
            upto += getattr(self.faults, name)
            if draw < upto:
                self.counts[name] += 1
                return name
        return ""

    def _draw_latency(self) -> float:
        if self.latency <= 0 or self.latency_sigma <= 0:
            return self.latency
        shift = self.latency_sigma**2 / 2
        return self.latency * self._latency_random.lognormvariate(-shift, self.latency_sigma)


def _ids(text: str) -> list[int]:
    return [ord(character) for character in text]


def _answer(body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=json.dumps(body).encode(), status=status, headers=headers, content_type="application/json"
    )


def _error(status: int, message: str, retry_after: str | None = None) -> web.Response:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return _answer({"error": {"message": message, "code": status}}, status, headers)


async def _serve(judge: LoopbackJudge) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with judge:
        print(judge.url, flush=True)
        await ended.wait()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        description="An OpenAI-compatible judge that knows each response's quality."
    )
    told = (Faults(), LoopbackJudge())
    settings = {f.name: getattr(part, f.name) for part in told for f in fields(part) if f.init}
    for name, default in settings.items():
        if isinstance(default, (int, float, str)) and not isinstance(default, bool):
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    for name in ("reasoning_field", "api_key"):
        parser.add_argument(f"--{name.replace('_', '-')}")
    given = vars(parser.parse_args())
    faults = Faults(**{f.name: given.pop(f.name) for f in fields(Faults) if f.name in given})
    asyncio.run(_serve(LoopbackJudge(**given, faults=faults)))


if __name__ == "__main__":
    main()
