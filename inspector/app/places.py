"""Where a configuration keeps its things, for the commands that look at a gateway from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inspector.app.errors import UserError


def load(config: str | None) -> Any:
    """The configuration of `-c FILE`, or the embedded defaults. Raises UserError with every fault."""
    from inspector.app import config as configuration
    from inspector.wire.located import Faults

    try:
        return configuration.load(config)
    except Faults as faults:
        raise UserError(str(faults)) from None


def store_path(config: str | None) -> Path:
    """The event store of a configuration. Raises UserError."""
    from inspector.store.sqlite import StoreError, location

    try:
        return location(str(load(config).store.events))
    except StoreError as fault:
        raise UserError(str(fault)) from None


def control_path(config: str | None) -> Path:
    """The control socket of a configuration. Raises UserError."""
    return Path(load(config).control)
