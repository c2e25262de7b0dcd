"""Fixtures and habits of the whole suite."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# Property tests have no deadline of their own (the machine is shared; `timeout` bounds them) and repeat exactly.
settings.register_profile("default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "long", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start servers or name spaces run one after the other, on one worker (`-n 2 --dist loadgroup`)."""
    for item in items:
        if item.get_closest_marker("live") or item.get_closest_marker("netns"):
            item.add_marker(pytest.mark.xdist_group("live"))
