"""What ``/metrics`` shows, in Prometheus' text format.

The numbers are those of `Arena.snapshot` and of the service under the prefix ``rrm_``; names in `COUNTERS` only grow.
To show more, register a collector of your own: ``service.metrics.registry.register(collector)``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

COUNTERS = re.compile(
    "groups|members|comparisons|calls|missing|late|verdicts|unknown_rewards|duplicates|failed|expired|unneeded"
    "|prompt_tokens|completion_tokens|cut|reasks|no_verdict_.*|assembler_.*|desk_.*|openrlhf_.*"
)
"""Names of a snapshot that only grow; all others are gauges."""

SECONDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


class SnapshotCollector(Collector):
    """Shows a mapping of numbers, read anew at every scrape.

    Args:
        snapshot: gives the numbers by name.
    """

    def __init__(self, snapshot: Callable[[], Mapping[str, float]]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """One metric a name."""
        for name, value in self._snapshot().items():
            kind = CounterMetricFamily if COUNTERS.fullmatch(name) else GaugeMetricFamily
            yield kind("rrm_" + re.sub("[^a-zA-Z0-9_]", "_", name), name.replace("_", " "), value=value)

    def describe(self) -> Iterator[Metric]:
        """Nothing: names come and go with what has happened."""
        return iter(())


class Metrics:
    """The registry of one service.

    Args:
        snapshot: of the service.

    Attributes:
        registry: register collectors here.
        requests: counts answers by path and status.
        seconds: of a request, by path: for samples and groups the time until they were judged.
    """

    def __init__(self, snapshot: Callable[[], Mapping[str, float]]) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(SnapshotCollector(snapshot))
        self.requests = Counter(
            "rrm_http_requests", "answers by path and status", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "rrm_http_seconds", "seconds to an answer", ["path"], buckets=SECONDS, registry=self.registry
        )

    def text(self) -> bytes:
        """What Prometheus scrapes."""
        return generate_latest(self.registry)
