"""Settings of all tests."""

import os

import pytest
from hypothesis import settings

# Ray's own seconds for its processes to start and to answer are not enough on a loaded machine. Read when Ray is
# imported; runs of trainers inherit them.
for _name, _value in (
    ("RAY_raylet_start_wait_time_s", 300),
    ("RAY_gcs_server_port_wait_time_s", 300),
    ("RAY_gcs_server_request_timeout_seconds", 300),
    ("RAY_worker_register_timeout_seconds", 600),
    ("RAY_agent_register_timeout_ms", 600_000),
    # the operating system's killer is enough on one machine; Ray's would count our neighbours' memory too
    ("RAY_memory_monitor_refresh_ms", 0),
):
    os.environ.setdefault(_name, str(_value))

# A loaded machine is slow, which says nothing about the code; and CI looks at the same examples every time.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Trainer runs of several minutes come first, so that workers side by side end at about the same time."""

    def minutes(item: pytest.Item) -> float:
        marker = item.get_closest_marker("trainer")
        return marker.kwargs.get("minutes", 0.0) if marker else 0.0

    items.sort(key=minutes, reverse=True)
