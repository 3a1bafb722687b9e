"""Which replica gets a request: a state machine that knows no network and no clock.

Everything that decides about replicas lives in this file; times are passed in, and the caller does what it is
told.

Life of a replica::

    in --refused, or `fail_after` failures in a row--> aside --probe succeeds--> in, on trial
    in, on trial --one failure--> aside, the wait for the next probe doubled
    in, on trial --one answer--> in

A request goes to the replica with the fewest pending requests; of equals, to the one that has been given the
fewest so far, then to the first. That alone would favour a replica that fails fast, which always has the
fewest pending: the trial and the doubling waits bound what it can swallow. A late answer of a replica that
was put aside brings it back without a probe.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rrm_reward.redaction import redacted


@dataclass(slots=True, eq=False)
class Replica:
    """One server.

    Attributes:
        url: its base URL.
        pending: requests it has now.
        given: requests it was ever given.
        failures: since its last answer.
        answered: when that was, in seconds of the caller's clock.
        aside: whether it gets no requests now.
        probing: whether a probe is under way.
        probe_at: when the next probe is due, in seconds of the caller's clock, while it is aside.
        wait: seconds before the next probe; doubles until an answer comes.
    """

    url: str
    pending: int = 0
    given: int = 0
    failures: int = 0
    answered: float = float("-inf")
    aside: bool = False
    probing: bool = False
    probe_at: float = 0.0
    wait: float = 0.0

    @property
    def name(self) -> str:
        """The URL as messages may show it."""
        return redacted(self.url)


class Router:
    """Chooses replicas and remembers how they did.

    Every `acquire` that gives a replica is ended by exactly one of `succeed`, `fail` and `release`.

    Args:
        urls: base URLs, at least one.
        fail_after: failures in a row that put a replica aside.
        first_wait: seconds from being put aside to the first probe.
        longest_wait: upper end of the doubling waits, in seconds.
    """

    def __init__(
        self, urls: Sequence[str], *, fail_after: int = 3, first_wait: float = 0.5, longest_wait: float = 3.0
    ) -> None:
        if not urls:
            raise ValueError("a router needs at least one replica")
        self.replicas = [Replica(url, wait=first_wait) for url in urls]
        self._fail_after = fail_after
        self._first_wait = first_wait
        self._longest_wait = longest_wait

    @property
    def available(self) -> bool:
        """True if at least one replica is in."""
        return any(not replica.aside for replica in self.replicas)

    def acquire(self, avoid: Collection[Replica] = ()) -> Replica | None:
        """The replica for one request, counted as pending there; None while all are aside.

        Args:
            avoid: replicas that failed this request already; chosen only if no other is in.
        """
        best: Replica | None = None
        best_key = (False, 0, 0)
        for replica in self.replicas:
            if replica.aside:
                continue
            key = (replica in avoid if avoid else False, replica.pending, replica.given)
            if best is None or key < best_key:
                best, best_key = replica, key
        if best is not None:
            best.pending += 1
            best.given += 1
        return best

    def has_other(self, tried: Collection[Replica]) -> bool:
        """True if a replica is in that is not among the tried ones."""
        return any(not replica.aside and replica not in tried for replica in self.replicas)

    def succeed(self, replica: Replica, now: float) -> bool:
        """A request was answered. Returns True if that brought the replica back in."""
        replica.pending -= 1
        replica.failures = 0
        replica.answered = now
        replica.wait = self._first_wait
        back, replica.aside = replica.aside, False
        return back

    def fail(self, replica: Replica, now: float, *, began: float, dead: bool = False) -> bool:
        """A request failed there. Returns True if that put the replica aside.

        It counts against the replica only if no other request was answered since this one began: requests that
        hang time out late and all at once, on a replica that may be well.

        Args:
            replica: as `acquire` gave it.
            now: seconds of the caller's clock.
            began: when the request was sent.
            dead: no doubt about it (connection refused, model not served): aside at the first failure.
        """
        replica.pending -= 1
        if not dead and replica.answered >= began:
            return False
        replica.failures += 1
        if replica.aside or not (dead or replica.failures >= self._fail_after):
            return False
        self.put_aside(replica, now)
        return True

    def put_aside(self, replica: Replica, now: float) -> None:
        """Give the replica no requests until a probe succeeds."""
        replica.aside = True
        replica.probe_at = now + replica.wait
        replica.wait = min(2 * replica.wait, self._longest_wait)

    def release(self, replica: Replica) -> None:
        """A request ended in a way that says nothing about the replica: cancelled, busy, malformed."""
        replica.pending -= 1

    def next_probe(self) -> float | None:
        """When the next probe is due, in seconds of the caller's clock; None if there is none to wait for."""
        return min((r.probe_at for r in self.replicas if r.aside and not r.probing), default=None)

    def due(self, now: float) -> list[Replica]:
        """Replicas to be probed now, each handed out until `probed` says what came of it."""
        found = [r for r in self.replicas if r.aside and not r.probing and r.probe_at <= now]
        for replica in found:
            replica.probing = True
        return found

    def probed(self, replica: Replica, now: float, *, alive: bool) -> bool:
        """A probe came back. Returns True if that brought the replica back in, on trial."""
        replica.probing = False
        if not replica.aside:
            return False
        if not alive:
            self.put_aside(replica, now)
            return False
        replica.aside = False
        replica.failures = self._fail_after - 1
        return True
