"""The endpoints: answers, errors that name field and fix, limits, the token."""

import asyncio
import base64
import json

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rrm_reward.health import plain_name
from rrm_reward.rank import parse_line, result_row
from tests.service.serving import AnyTextJudge, client, live, sample, service
from tests.support.waiting import until

GROUP = {"id": "a", "query": "Why?", "responses": ["one", "two", None, "one"]}


async def test_a_group_is_answered_by_the_line_that_rank_writes():
    served = service()
    async with client(served) as http:
        answer = await http.post("/v1/rewards", json=GROUP)
    expected = await service().arena.judge(parse_line(1, json.dumps(GROUP).encode()).group)
    assert answer.status_code == 200
    assert answer.text == result_row("a", expected)
    assert answer.json()["rewards"][2] is None
    assert served.desk.held == 0


async def test_samples_get_the_rewards_of_their_group():
    texts = ["one", "two", "three"]
    async with client(service()) as http:
        group = await http.post("/v1/rewards", json={"id": 7, "query": "q", "responses": texts})
        answers = await asyncio.gather(
            *(http.post("/v1/samples", json=sample(k, text)) for k, text in enumerate(texts))
        )
    assert [answer.status_code for answer in answers] == [200] * 3
    assert list(answers[0].json()) == ["reward", "rating", "stderr"]
    for key, column in (("reward", "rewards"), ("rating", "ratings"), ("stderr", "stderr")):
        assert [answer.json()[key] for answer in answers] == group.json()[column]


async def test_a_group_of_one_has_no_reward_and_says_null():
    async with client(service()) as http:
        answer = await http.post("/v1/samples", json=sample(0, size=1))
    assert answer.json() == {"reward": None, "rating": None, "stderr": None}


async def test_openrlhf_gets_its_contract():
    async with client(service(group_size=2)) as http:
        bodies = [{"query": [f"p{k}"], "prompts": ["p"], "labels": ["unused"]} for k in (1, 2)]
        answers = await asyncio.gather(*(http.post("/v1/openrlhf", json=body) for body in bodies))
    rewards = [answer.json()["rewards"] for answer in answers]
    assert sum(rewards) == pytest.approx(0.0)
    assert rewards[0] != rewards[1]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/samples", b"", 400, "the body is not JSON: Expecting value at column 1"),
        ("/v1/samples", b"\xff", 400, "the body is not UTF-8 at byte 1"),
        ("/v1/samples", b"[" * 100_000, 400, "nested too deeply"),
        ("/v1/samples", b'{"slot": ' + b"1" * 5000 + b"}", 400, "a number of thousands of digits"),
        ("/v1/samples", b"[]", 400, "must be an object with group, slot, size, query and response"),
        ("/v1/samples", {**sample(0), "slot": 3}, 422, "slot must be at least 0 and at most 2, not 3"),
        ("/v1/samples", {**sample(0), "slot": -1}, 422, "slot must be at least 0 and at most 2, not -1"),
        ("/v1/samples", {**sample(0), "slot": True}, 422, "slot must be an integer, not a boolean"),
        ("/v1/samples", {**sample(0), "slot": 10**400}, 422, "not a number of more than 9 digits"),
        ("/v1/samples", {**sample(0), "slot": float("nan")}, 422, "slot must be an integer, not a number"),
        ("/v1/samples", {**sample(0), "size": 0}, 422, "size must be at least 1 and at most 256, not 0"),
        ("/v1/samples", {**sample(0), "size": 257}, 422, "size must be at least 1 and at most 256, not 257"),
        ("/v1/samples", {**sample(0), "group": ""}, 422, "group must have 1 to 512 characters, not 0"),
        ("/v1/samples", {**sample(0), "group": None}, 422, "group must be a string or an integer, not null"),
        ("/v1/samples", {**sample(0), "query": " "}, 422, "query is empty"),
        ("/v1/samples", {**sample(0), "query": [{"content": "x"}]}, 422, "query[0].role"),
        ("/v1/samples", {**sample(0), "response": 1}, 422, "response must be a string or null"),
        ("/v1/samples", {"group": "g", "slot": 0, "size": 2, "query": "q"}, 422, "response is missing"),
        ("/v1/rewards", {**GROUP, "responses": []}, 422, "responses is empty"),
        ("/v1/rewards", {**GROUP, "responses": ["x"] * 257}, 422, "responses must be at most 256, not 257"),
        ("/v1/rewards", {**GROUP, "responses": ["x", 1]}, 422, "responses[1] must be a string or null"),
        ("/v1/openrlhf", {"query": ["pq"], "labels": []}, 422, "prompts is missing"),
        ("/v1/openrlhf", {"query": ["p"] * 2, "prompts": ["p"] * 2}, 422, "prompts must hold one text"),
        ("/v1/openrlhf", {"query": [None], "prompts": ["p"]}, 422, "query[0] must be a string, not null"),
        ("/v1/nothing", {}, 404, "POST /v1/nothing: Not Found; see /openapi.json"),
        ("/health", {}, 405, "POST /health: Method Not Allowed"),
    ],
)
async def test_an_error_names_the_field_and_what_it_should_be(path, body, status, message):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    served = service(group_size=2)
    async with client(served) as http:
        answer = await http.post(path, content=raw)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert message in answer.json()["error"]
    assert served.desk.held == 0


async def test_openrlhf_without_a_group_size_says_what_to_set():
    async with client(service()) as http:
        answer = await http.post("/v1/openrlhf", json={"query": ["pq"], "prompts": ["p"], "labels": [""]})
    assert answer.status_code == 400
    assert "service.group_size" in answer.json()["error"]


async def test_texts_that_unicode_cannot_encode_are_judged_as_rank_judges_them():
    texts = ["half \ud83d", "two", "nul \0"]
    async with client(service()) as http:
        raw = json.dumps({"id": "\ud83d", "query": "q \udc00", "responses": texts}).encode()
        answer = await http.post("/v1/rewards", content=raw)
    expected = await service().arena.judge(parse_line(1, raw).group)
    assert answer.text == result_row("\ud83d", expected)


async def test_a_size_that_the_schedule_cannot_judge_is_refused_with_the_reason():
    from rrm_reward.errors import ConfigError

    served = service()

    def draw(n, seed):
        raise ConfigError("tournament.budget", 1, f"is too small for {n} responses")

    served.arena.schedule = draw
    async with client(served) as http:
        answer = await http.post("/v1/samples", json=sample(0))
    assert answer.status_code == 422
    assert "size cannot be 3: tournament.budget=1: is too small" in answer.json()["error"]


async def test_a_body_beyond_the_limit_is_refused_whether_announced_or_not():
    async def chunks():
        for _ in range(100):
            yield b"x" * 1000

    async with client(service(max_body=2000)) as http:
        announced = await http.post("/v1/samples", content=b"x" * 2001)
        streamed = await http.post("/v1/samples", content=chunks())
    for answer in (announced, streamed):
        assert answer.status_code == 413
        assert "at most 2000 bytes (service.max_body)" in answer.json()["error"]


async def test_a_full_service_asks_its_clients_to_come_again():
    judge = AnyTextJudge()
    judge.gate.clear()
    served = service(judge, max_waiting=4, max_group=4)
    async with client(served) as http:
        waiting = asyncio.create_task(http.post("/v1/rewards", json=GROUP))
        await until(lambda: served.desk.held == 4)
        for path, body in (("/v1/rewards", GROUP), ("/v1/samples", sample(0))):
            answer = await http.post(path, json=body)
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
        judge.gate.set()
        assert (await waiting).status_code == 200
        assert (await http.post("/v1/rewards", json=GROUP)).status_code == 200


async def test_a_token_is_asked_for_where_one_is_set(monkeypatch):
    monkeypatch.setenv("RRM_REWARD_TOKEN", "s3cret")
    basic = base64.b64encode(b"any:s3cret").decode()
    async with client(service()) as http:
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer s3cre"}, 401),
            ({"Authorization": "Bearer sécret".encode()}, 401),
            ({"Authorization": "s3cret"}, 401),
            ({"Authorization": "Basic !"}, 401),
            ({"Authorization": "Bearer s3cret"}, 200),
            ({"Authorization": "bearer s3cret"}, 200),
            ({"Authorization": f"Basic {basic}"}, 200),
        ):
            for path in ("/metrics", "/openapi.json"):
                assert (await http.get(path, headers=headers)).status_code == status, headers
        answer = await http.post("/v1/rewards", json=GROUP)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "Authorization: Bearer TOKEN" in answer.json()["error"]
        assert (await http.get("/health")).status_code == 200
        secured = (await http.get("/openapi.json", headers={"Authorization": "Bearer s3cret"})).json()
    assert secured["paths"]["/v1/rewards"]["post"]["security"] == [{"token": []}]


async def test_metrics_are_those_of_the_arena_and_of_the_endpoints():
    async with client(service()) as http:
        await http.post("/v1/rewards", json=GROUP)
        await http.post("/v1/rewards", json={})
        text = (await http.get("/metrics")).text
    found = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["rrm_comparisons_total", ()] == 1.0
    assert found["rrm_groups_total", ()] == 1.0
    assert found["rrm_held_responses", ()] == 0.0
    for gauge in (
        "first_share",
        "no_verdict",
        "no_verdict/truncated",
        "thinking_tokens",
        "seconds_p50",
        "alarms",
    ):
        assert ("rrm_" + plain_name(f"rrm/{gauge}"), ()) in found
    assert found["rrm_http_requests_total", ("/v1/rewards", "200")] == 1.0
    assert found["rrm_http_requests_total", ("/v1/rewards", "422")] == 1.0
    assert found["rrm_http_seconds_count", ("/v1/rewards",)] == 2.0


async def test_a_collector_may_be_added():
    from prometheus_client import Gauge

    served = service()
    Gauge("rrm_alarm", "of somebody else", registry=served.metrics.registry).set(3)
    async with client(served) as http:
        assert "rrm_alarm 3.0" in (await http.get("/metrics")).text


async def leave(request, moment):
    """Break a request's connection when the service has come so far with it."""
    sending = asyncio.create_task(request)
    await until(moment)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_a_broken_connection_frees_its_request_and_keeps_its_sample():
    judge = AnyTextJudge()
    served = service(judge)
    async with live(served) as url, httpx.AsyncClient(base_url=url, timeout=60) as http:
        await leave(http.post("/v1/samples", json=sample(0)), lambda: served.desk.held == 3)
        await until(lambda: "499" in served.metrics.text().decode())
        assert served.desk.held == 3
        answers = await asyncio.gather(*(http.post("/v1/samples", json=sample(k)) for k in (1, 2, 0)))
    assert all(answer.json()["reward"] is not None for answer in answers)
    assert set(judge.asked.values()) == {1}


async def test_a_whole_group_whose_client_left_is_not_judged_on():
    judge = AnyTextJudge()
    judge.gate.clear()
    served = service(judge)
    async with live(served) as url, httpx.AsyncClient(base_url=url, timeout=60) as http:
        await leave(http.post("/v1/rewards", json=GROUP), lambda: served.desk.held == 4)
        await until(lambda: served.desk.held == 0)
        assert served.arena.snapshot()["open_groups"] == 0.0
        judge.gate.set()
        assert (await http.post("/v1/rewards", json=GROUP)).status_code == 200
