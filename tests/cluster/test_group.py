"""The judge on a fake cluster of two nodes and eight GPUs: where replicas live, and calls that outlive them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections import Counter
from contextlib import aclosing
from pathlib import Path

import pytest

from rrm_reward.cluster._guard import MARK
from rrm_reward.errors import ConfigError
from rrm_reward.judge import BackendError, Judge, Sampling
from tests.support.waiting import until

pytestmark = [
    pytest.mark.trainer,
    pytest.mark.xdist_group("fake cluster"),
    pytest.mark.usefixtures("cluster"),
]

PATIENT = 300.0
"""Seconds that something may take on a busy machine."""

HANG = 30.0
"""Seconds until a replica that hangs is replaced. A healthy one answers in milliseconds, a busy machine allowing."""


def ask(text):
    return [{"role": "user", "content": text}]


def pid_of(completion):
    return int(completion.text.rsplit(" ", 1)[1])


async def pids_after(group, calls=64):
    """Processes that answer calls with many prefixes."""
    answers = await asyncio.gather(*(group.complete(ask(f"p{i}"), 1, Sampling()) for i in range(calls)))
    return Counter(pid_of(answer[0]) for answer in answers)


def present(group):
    return sum(member.present for member in group.replicas)


async def test_kill_one_of_four_under_400_calls_loses_none_and_it_comes_back(make_group, orders):
    group = make_group("replicas=4", seconds=1.0)
    await group.start()
    try:
        before = set(await pids_after(group))
        assert len(before) == 4
        orders.give("hang", min(before))  # or its calls could be over when it is killed
        calls = [asyncio.create_task(group.complete(ask(f"call {i}"), 1, Sampling())) for i in range(400)]
        await until(lambda: len(orders.votes()) >= 300, PATIENT)
        os.kill(min(before), signal.SIGKILL)
        answers = await asyncio.gather(*calls)
        # every call has exactly one answer, to its own question
        assert [len(answer) for answer in answers] == [1] * 400
        assert all(f" call {i} by " in answer[0].text for i, answer in enumerate(answers))
        assert group.counts["moved"] > 0
        await until(lambda: present(group) == 4, PATIENT)
        after = set(await pids_after(group))
        assert len(after) == 4
        assert min(before) not in after
        assert group.snapshot()["losses"] == 1
    finally:
        await group.aclose()


async def test_votes_that_came_are_kept_and_only_the_rest_is_asked_again(make_group, orders):
    group = make_group("replicas=2", seconds=30.0)
    await group.start()
    try:
        received = []

        async def collect():
            async with aclosing(group.stream(ask("q"), 3, Sampling())) as votes:
                async for vote in votes:
                    received.append(vote)

        collecting = asyncio.create_task(collect())
        await until(lambda: received, PATIENT)  # the first vote is quick, the others are not
        first = pid_of(received[0])
        os.kill(first, signal.SIGKILL)
        await until(lambda: len(received) == 2, PATIENT)
        # the first vote of the second replica: of two that were asked, for one was there already
        asked = Counter(int(pid) for pid, _ in orders.votes())
        assert asked[first] == 3
        assert asked[pid_of(received[1])] == 2
        collecting.cancel()
    finally:
        await group.aclose()


async def test_hanging_engine_is_replaced_and_its_calls_are_answered_elsewhere(make_group, orders, caplog):
    group = make_group("replicas=2", f"hang_timeout={HANG}", seconds=0.01)
    await group.start()
    try:
        victim, _ = sorted(await pids_after(group))
        orders.give("hang", victim)
        answers = await asyncio.gather(*(group.complete(ask(f"h{i}"), 1, Sampling()) for i in range(40)))
        assert all(len(answer) == 1 and pid_of(answer[0]) != victim for answer in answers)
        await until(lambda: present(group) == 2, PATIENT)
        assert victim not in await pids_after(group)
        assert "has drawn no token" in caplog.text
    finally:
        await group.aclose()


@pytest.mark.parametrize("order", ["deaf", "broken"])
async def test_deaf_or_dead_engine_is_replaced(make_group, orders, order):
    group = make_group("replicas=2", f"hang_timeout={HANG}", seconds=0.01)
    await group.start()
    try:
        victim, _ = sorted(await pids_after(group))
        orders.give(order, victim)
        answers = await asyncio.gather(*(group.complete(ask(f"d{i}"), 1, Sampling()) for i in range(40)))
        assert all(len(answer) == 1 and pid_of(answer[0]) != victim for answer in answers)
        await until(lambda: present(group) == 2, PATIENT)
        assert victim not in await pids_after(group)
    finally:
        await group.aclose()


async def test_removed_node_leaves_its_calls_to_the_others(make_group, cluster, orders):
    node = cluster.add_node(num_cpus=4, num_gpus=2, resources={"lent": 1})
    cluster.wait_for_nodes(timeout=PATIENT)
    group = make_group("replicas=10", seconds=0.5)  # every GPU of the three nodes
    await group.start()
    try:
        assert len(await pids_after(group, 300)) == 10
        calls = [asyncio.create_task(group.complete(ask(f"call {i}"), 1, Sampling())) for i in range(100)]
        await until(lambda: len(orders.votes()) >= 350, PATIENT)
        await asyncio.to_thread(cluster.remove_node, node)
        answers = await asyncio.gather(*calls)
        assert [len(answer) for answer in answers] == [1] * 100
        await until(lambda: present(group) == 8, PATIENT)
        assert len(await pids_after(group, 300)) == 8
    finally:
        await group.aclose()


async def test_when_all_are_dead_votes_go_missing_after_a_deadline_once_and_loudly(
    make_group, orders, caplog
):
    group = make_group("replicas=2", timeout=10.0)
    judge = Judge(group)
    await judge.start()
    try:
        orders.give("memory")  # they cannot load again
        for pid in await pids_after(group):
            os.kill(pid, signal.SIGKILL)
        judgment = await judge.compare("q", "a", "b")
        assert judgment.p is None
        assert "EVERY judge replica is lost" in caplog.text
        # the deadline is past: nobody waits for it again
        async with asyncio.timeout(10 * group.patience):
            for _ in range(20):
                assert (await judge.compare("q", "a", "b")).p is None
        orders.withdraw("memory")
        await until(lambda: present(group) == 2, PATIENT)
        assert (await judge.compare("q", "a", "b")).p == 1.0
    finally:
        await judge.aclose()


async def test_engine_that_has_no_memory_at_start_is_a_setting_to_mend(make_group, orders):
    orders.give("memory")
    group = make_group("replicas=2")
    with pytest.raises(ConfigError, match=r"judge.cluster.replicas=2: no replica starts.*61 GiB"):
        await group.start()


async def test_replica_that_dies_while_it_loads_leaves_no_engine_process(make_group, orders):
    orders.give("load_slowly")
    group = make_group("replicas=1", child=True)
    starting = asyncio.create_task(group.start())
    await until(lambda: orders.log("child"), PATIENT)
    (pid, *_), (child,) = orders.log("load")[0], orders.log("child")[0]
    assert MARK.encode() in process(child, "environ")
    os.kill(int(pid), signal.SIGKILL)
    await until(lambda: b"time.sleep" not in process(child, "cmdline"), PATIENT)
    with pytest.raises(ConfigError, match="no replica starts"):
        await starting


def process(pid, file):
    """What the kernel tells of a process; nothing once it is gone."""
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except OSError:
        return b""


async def test_cancelled_calls_and_votes_that_nobody_needs_are_aborted_in_the_engine(make_group, orders):
    group = make_group("replicas=1", seconds=600.0)
    await group.start()
    try:
        call = asyncio.create_task(group.complete(ask("cancelled"), 1, Sampling()))
        await until(lambda: len(orders.votes()) == 1, PATIENT)
        call.cancel()
        await until(lambda: len(orders.votes("end")) == 1, PATIENT)
        (member,) = group.replicas
        await until(lambda: member.pending == 0, PATIENT)
    finally:
        await group.aclose()


async def test_race_that_is_decided_aborts_its_last_vote_in_the_engine(make_group, orders):
    group = make_group("replicas=1")
    judge = Judge(group, votes=3, aggregate="majority", early_stop="race", reasks=0)
    await judge.start()
    try:
        orders.give("stuck")  # the third vote only
        judgment = await judge.compare("q", "a", "b")
        assert (judgment.p, len(judgment.votes)) == (1.0, 2)
        await until(lambda: len(orders.votes("end")) == 3, PATIENT)
        assert judge.counts.cancelled == 1
        assert group.counts["aborted"] == 1
    finally:
        await judge.aclose()


async def test_leaving_a_stream_early_aborts_the_rest(make_group, orders):
    group = make_group("replicas=1")
    await group.start()
    try:
        orders.give("stuck")  # the third vote only
        async with aclosing(group.stream(ask("q"), 3, Sampling())) as votes:
            async for _ in votes:
                break
        await until(lambda: len(orders.votes("end")) == 3, PATIENT)
        assert group.counts["aborted"] == 1
    finally:
        await group.aclose()


async def test_prompt_that_no_replica_can_take_is_declined_once(make_group, orders):
    group = make_group("replicas=4")
    await group.start()
    try:
        with pytest.raises(BackendError, match="5000 tokens exceeds 4000"):
            await group.complete(ask("too long"), 1, Sampling())
        assert group.counts["moved"] == 0
        assert group.context_tokens == 65536
        completion, second = await group.complete(ask("short"), 2, Sampling())
        assert (completion.prompt_tokens, second.prompt_tokens) == (7, 0)
    finally:
        await group.aclose()


async def test_verdict_of_a_cut_thought_is_forced_by_the_replica_that_wrote_it(make_group, orders):
    group = make_group("replicas=4", cut=True)
    judge = Judge(group, force=True)
    await judge.start()
    try:
        judgments = await asyncio.gather(*(judge.compare(f"q{i}", "a", "b") for i in range(40)))
        assert all(judgment.p is not None and judgment.p > 0.9 for judgment in judgments)
        assert (judge.counts.forced, judge.counts.unforced) == (40, 0)
        wrote = Counter(pid for pid, _ in orders.votes())
        assert len(wrote) == 4
        assert Counter(words[0] for words in orders.log("next")) == wrote
    finally:
        await judge.aclose()


async def test_engine_that_cannot_force_verdicts_is_refused_at_start(make_group):
    judge = Judge(make_group(), force=True)
    with pytest.raises(ConfigError, match=r"judge.force='truncated': cut is not set"):
        await judge.start()
    await judge.aclose()


async def test_existing_bundles_are_shared_and_no_replica_straddles_nodes(make_group, orders):
    import ray
    from ray.util import placement_group, remove_placement_group
    from ray.util.placement_group import placement_group_table

    # as a trainer leaves them: odd numbers of bundles on both nodes
    trainer = placement_group([{"GPU": 1, "CPU": 1}] * 3, strategy="STRICT_PACK")
    other = placement_group([{"GPU": 1, "CPU": 1}] * 3, strategy="STRICT_PACK")
    ray.get([trainer.ready(), other.ready()])
    nodes = [placement_group_table(group)["bundles_to_node_id"] for group in (trainer, other)]
    assert all(len(set(on.values())) == 1 for on in nodes)
    group = make_group(
        "replicas=null", "tensor_parallel=2", "share=0.3", "cpus=0.5", placement_groups=[trainer, other]
    )
    await group.start()
    try:
        assert len(group.replicas) == 2
        assert sorted(" ".join(words[1:]) for words in orders.log("load")) == ["(0, 1) 2"] * 2
        # they hold no GPU themselves, and none is hidden from them all the same
        assert len(orders.log("sees")) == 2
        assert all(sees for _, sees in orders.log("sees"))
        assert len(await pids_after(group)) == 2
    finally:
        await group.aclose()
        remove_placement_group(trainer)
        remove_placement_group(other)


async def test_as_many_as_there_is_room_for_are_those_for_which_gpus_are_free(make_group):
    import ray
    from ray.util import placement_group, remove_placement_group

    await until(lambda: ray.available_resources().get("GPU") == 8, PATIENT)
    trainer = placement_group([{"GPU": 1}] * 3, strategy="STRICT_PACK")
    ray.get(trainer.ready())
    await until(lambda: ray.available_resources().get("GPU") == 5, PATIENT)
    group = make_group("replicas=null", "tensor_parallel=2")
    await group.start()
    try:
        # one GPU is left on the trainer's node, and four on the other
        assert len(group.replicas) == 2
    finally:
        await group.aclose()
        remove_placement_group(trainer)


async def test_replicas_live_on_the_nodes_that_are_named(make_group):
    import ray

    # what the last test held is free a little later
    await until(lambda: ray.available_resources().get("GPU") == 8, PATIENT)
    node = ray.nodes()[1]["NodeID"]
    group = make_group("replicas=null", "tensor_parallel=2", f"nodes=[{node}]")
    await group.start()
    try:
        assert len(group.replicas) == 2
        actors = [place.options()["scheduling_strategy"].node_id for place in group._places.places]
        assert actors == [node, node]
        assert len(await pids_after(group)) == 2
    finally:
        await group.aclose()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["replicas=9"], "judge.cluster.replicas=9: the cluster holds 8 replicas of 1 GPU and 1 CPU"),
        (["tensor_parallel=5"], "judge.cluster.replicas=1: the cluster holds 0 replicas of 5 GPU"),
        (["nodes=[nowhere]"], "judge.cluster.nodes='nowhere': no such node; there are"),
        (
            ["placement_groups=[nobodys]"],
            "judge.cluster.placement_groups='nobodys': there is no placement group",
        ),
        (
            ["share=0.5", "tensor_parallel=2"],
            "judge.cluster.share=0.5: Ray gives shares of several GPUs only in",
        ),
        (["sleep=1"], "judge.cluster.sleep=1: there is no sleep on this platform; set it to 0"),
    ],
)
async def test_what_cannot_be_placed_or_done_is_refused_at_start(make_group, settings, message):
    group = make_group(*settings)
    with pytest.raises(ConfigError) as refused:
        await group.start()
    assert message in str(refused.value)


async def test_setting_that_a_replica_refuses_comes_back_as_it_is(make_group):
    group = make_group(model="unknown")
    with pytest.raises(ConfigError) as refused:
        await group.start()
    assert (refused.value.key, refused.value.value) == ("judge.model", "unknown")


@pytest.mark.parametrize("level", [1, 2])
async def test_judge_sleeps_between_uses_and_is_woken_by_the_first_of_them(make_group, orders, level):
    group = make_group("replicas=2", f"sleep={level}", sleeps=True)
    await group.start()
    try:
        assert [words[1] for words in orders.log("sleep")] == [str(level)] * 2
        with pytest.raises(BackendError, match="the judge is asleep"):
            await group.complete(ask("q"), 1, Sampling())
        async with group.awake(), group.awake():
            async with group.awake():
                pass
            assert len(await pids_after(group)) == 2
        with pytest.raises(BackendError, match="the judge is asleep"):
            await group.complete(ask("q"), 1, Sampling())
        assert (len(orders.log("wake")), len(orders.log("sleep"))) == (2, 4)
    finally:
        await group.aclose()


async def test_engine_that_only_says_that_it_sleeps_is_not_believed(make_group, orders):
    orders.give("insomnia")
    group = make_group("replicas=2", "sleep=1", sleeps=True)
    with pytest.raises(ConfigError, match="no replica sleeps when it is told to"):
        await group.start()


async def test_replica_lost_while_the_judge_sleeps_does_not_load_before_it_is_awake(make_group, orders):
    group = make_group("replicas=2", "sleep=1", sleeps=True)
    await group.start()
    try:
        async with group.awake():
            victim, _ = sorted(await pids_after(group))
        os.kill(victim, signal.SIGKILL)
        await until(lambda: group.snapshot().get("losses") == 1, PATIENT)
        assert len(orders.log("load")) == 2
        orders.give("load_slowly")
        async with group.awake():
            assert len(await pids_after(group)) == 1
            orders.withdraw("load_slowly")
            await until(lambda: present(group) == 2, PATIENT)
            assert len(orders.log("load")) == 3
    finally:
        await group.aclose()


async def test_replica_that_cannot_wake_is_started_again_within_the_same_batch(make_group, orders):
    group = make_group("replicas=2", "sleep=1", sleeps=True)
    await group.start()
    try:
        victim = int(orders.log("load")[0][0])
        orders.give("no_wake", victim)
        orders.give("load_slowly")
        async with group.awake():
            assert present(group) == 1
            orders.withdraw("load_slowly")
            await until(lambda: present(group) == 2, PATIENT)
            assert victim not in await pids_after(group)
        async with group.awake():
            assert present(group) == 2
        assert group.snapshot()["losses"] == 1
    finally:
        await group.aclose()


async def test_judge_of_which_nothing_wakes_is_an_outage_that_is_waited_for_once_and_loudly(
    make_group, orders, caplog
):
    group = make_group("replicas=2", "sleep=1", sleeps=True, timeout=10.0)
    await group.start()
    try:
        orders.give("no_wake")
        orders.give("memory")
        async with group.awake():
            assert "EVERY judge replica is lost" in caplog.text
            with pytest.raises(BackendError, match="no replica came back in time"):
                await group.complete(ask("q"), 1, Sampling())
        async with group.awake():
            # the deadline is past: nobody waits for it again
            async with asyncio.timeout(10 * group.patience):
                for _ in range(20):
                    with pytest.raises(BackendError):
                        await group.complete(ask("q"), 1, Sampling())
            orders.withdraw("memory")
            await until(lambda: present(group) == 2, PATIENT)
            assert len(await group.complete(ask("q"), 1, Sampling())) == 1
        assert group.counts["outages"] == 1
    finally:
        await group.aclose()


async def test_lost_replica_that_loads_longer_than_a_batch_is_judged_comes_back_all_the_same(
    make_group, orders
):
    group = make_group("replicas=2", "sleep=1", sleeps=True)
    await group.start()
    try:
        orders.give("load_slowly")
        async with group.awake():
            os.kill(int(orders.log("load")[0][0]), signal.SIGKILL)
            await until(lambda: len(orders.log("load")) == 3, PATIENT)
            loading = int(orders.log("load")[2][0])
            asyncio.get_running_loop().call_later(1.0, orders.withdraw, "load_slowly")
        # the batch was over before it was loaded; now it sleeps like the other
        assert loading in {int(pid) for pid, _ in orders.log("sleep")}
        async with group.awake():
            assert present(group) == 2
            assert loading in await pids_after(group)
        assert group.snapshot()["losses"] == 1
    finally:
        await group.aclose()


async def test_without_sleep_the_judge_is_always_awake(make_group, caplog):
    group = make_group()
    await group.start()
    caplog.set_level(logging.INFO)
    try:
        async with group.awake():
            pass
        assert len(await group.complete(ask("q"), 1, Sampling())) == 1
        assert group.counts["sleeps"] == 0
    finally:
        await group.aclose()
    with pytest.raises(BackendError, match="closed"):
        await group.complete(ask("q"), 1, Sampling())
