"""The router: which replica is chosen, put aside, probed and taken back. No network, no clock."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rrm_reward.judge._routing import Replica, Router


def test_the_replica_with_the_fewest_pending_requests_is_chosen() -> None:
    router = Router(["a", "b"])
    first = router.acquire()
    second = router.acquire()
    assert [first.url, second.url] == ["a", "b"]
    router.succeed(second, 0.0)
    assert router.acquire().url == "b"


def test_idle_replicas_take_turns() -> None:
    router = Router(["a", "b", "c"])
    order = []
    for _ in range(6):
        replica = router.acquire()
        order.append(replica.url)
        router.succeed(replica, 0.0)
    assert order == ["a", "b", "c", "a", "b", "c"]


def test_a_retry_goes_elsewhere_unless_there_is_no_elsewhere() -> None:
    router = Router(["a", "b"])
    a, b = router.replicas
    assert router.acquire([a]) is b
    assert router.acquire([a, b]) is a
    router.put_aside(b, now=0.0)
    assert router.acquire([a]) is a
    assert not router.has_other([a])


def test_a_refused_connection_puts_a_replica_aside_at_once() -> None:
    router = Router(["a"])
    assert router.fail(router.acquire(), 0.0, began=0.0, dead=True)
    assert router.acquire() is None
    assert not router.available


def test_failures_put_a_replica_aside_only_in_a_row() -> None:
    router = Router(["a"], fail_after=3)
    for now in range(5):
        assert not router.fail(router.acquire(), now, began=now)
        assert not router.fail(router.acquire(), now, began=now)
        router.succeed(router.acquire(), now + 0.5)
    router.fail(router.acquire(), 6.0, began=6.0)
    router.fail(router.acquire(), 6.0, began=6.0)
    assert router.fail(router.acquire(), 6.0, began=6.0)


def test_requests_that_hang_do_not_condemn_a_replica_that_answers_others() -> None:
    router = Router(["a"], fail_after=3)
    hanging = [router.acquire() for _ in range(10)]
    router.succeed(router.acquire(), 1.0)
    assert not any(router.fail(replica, 60.0, began=0.0) for replica in hanging)
    assert router.replicas[0].pending == 0


def test_a_replica_on_trial_is_put_aside_by_one_failure_and_probed_ever_more_rarely() -> None:
    router = Router(["a"], first_wait=1.0, longest_wait=3.0)
    now, waits = 0.0, []
    router.fail(router.acquire(), now, began=now, dead=True)
    for _ in range(4):
        waits.append(router.next_probe() - now)
        now = router.next_probe()
        [replica] = router.due(now)
        assert router.probed(replica, now, alive=True)
        assert router.fail(router.acquire(), now, began=now)
    assert waits == [1.0, 2.0, 3.0, 3.0]


def test_an_answer_ends_the_trial_and_the_waits() -> None:
    router = Router(["a"], first_wait=1.0, fail_after=2)
    router.fail(router.acquire(), 0.0, began=0.0, dead=True)
    [replica] = router.due(1.0)
    router.probed(replica, 1.0, alive=True)
    router.succeed(router.acquire(), 1.5)
    assert not router.fail(router.acquire(), 2.0, began=2.0)
    router.fail(router.acquire(), 2.0, began=2.0)
    assert router.next_probe() == 3.0


def test_a_late_answer_brings_a_replica_back_without_a_probe() -> None:
    router = Router(["a"])
    slow, dead = router.acquire(), router.acquire()
    router.fail(dead, 0.0, began=0.0, dead=True)
    assert router.succeed(slow, 1.0)
    assert router.available


class RouterLife(RuleBasedStateMachine):
    """Whatever happens in whatever order, the books balance."""

    def __init__(self) -> None:
        super().__init__()
        self.router = Router(["a", "b", "c"], fail_after=2)
        self.out: list[Replica] = []
        self.probes: list[Replica] = []
        self.now = 0.0

    @rule(avoid=st.sets(st.integers(0, 2)))
    def acquire(self, avoid: set[int]) -> None:
        avoided = [self.router.replicas[index] for index in avoid]
        replica = self.router.acquire(avoided)
        candidates = [r for r in self.router.replicas if not r.aside]
        assert (replica is None) == (not candidates)
        if replica is None:
            return
        preferred = [r for r in candidates if r not in avoided] or candidates
        assert replica in preferred
        assert replica.pending - 1 <= min(r.pending for r in preferred)
        self.out.append(replica)

    @precondition(lambda self: self.out)
    @rule(
        data=st.data(),
        how=st.sampled_from(["succeed", "release", "fail", "dead"]),
        began=st.floats(-100, 100),
    )
    def finish(self, data: st.DataObject, how: str, began: float) -> None:
        replica = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        if how == "succeed":
            self.router.succeed(replica, self.now)
            assert not replica.aside
        elif how == "release":
            self.router.release(replica)
        else:
            self.router.fail(replica, self.now, began=began, dead=how == "dead")
            assert replica.aside or how != "dead"

    @rule(seconds=st.floats(0, 20))
    def wait_and_probe(self, seconds: float) -> None:
        self.now += seconds
        for replica in self.router.due(self.now):
            assert replica.aside
            assert replica not in self.probes
            self.probes.append(replica)

    @precondition(lambda self: self.probes)
    @rule(alive=st.booleans())
    def probed(self, alive: bool) -> None:
        replica = self.probes.pop()
        self.router.probed(replica, self.now, alive=alive)
        assert not (alive and replica.aside)

    @invariant()
    def pending_counts_what_is_out(self) -> None:
        for replica in self.router.replicas:
            assert replica.pending == self.out.count(replica)

    @invariant()
    def whatever_is_aside_will_be_probed(self) -> None:
        at = self.router.next_probe()
        waiting = [r for r in self.router.replicas if r.aside and not r.probing]
        assert (at is None) == (not waiting)
        assert all(r.probe_at <= self.now + 15.0 for r in waiting)


TestRouterLife = RouterLife.TestCase
TestRouterLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.integers(1, 5), st.integers(1, 60))
def test_requests_are_spread_evenly(replicas: int, requests: int) -> None:
    router = Router([str(index) for index in range(replicas)])
    for _ in range(requests):
        router.acquire()
    pending = [replica.pending for replica in router.replicas]
    assert max(pending) - min(pending) <= 1
