"""Settings of all tests."""

import os

import pytest
from hypothesis import settings

# Ray's own 30 s for its daemons to start are not enough on a loaded machine; read when Ray is imported.
os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")

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
