"""Fixtures and habits of the whole suite."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a shell: children would take over that Ctrl-C means nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Property tests have no deadline of their own (the machine is shared; `timeout` bounds them) and repeat exactly.
settings.register_profile("default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "long", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


class LiveInTurn(LoadScopeScheduling):  # type: ignore[misc]
    """Each test goes where there is time for it, but files with tests that start servers or name spaces all to one
    worker, one after the other: they share fixtures, and on two cores they would disturb each other.

    By their text, as the process that hands out tests knows only their names; xdist_group does not reach it with
    pytest 9.2 and xdist 3.8.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "live" if _is_live(file) else nodeid


@functools.cache
def _is_live(file: str) -> bool:
    text = (Path(__file__).parent.parent / file).read_text(encoding="utf-8")
    return "mark.live" in text or "mark.netns" in text


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LiveInTurn:
    """See LiveInTurn (`-n 2`)."""
    return LiveInTurn(config, log)
