"""What a session is handed by the composition root."""

from __future__ import annotations

from collections.abc import Mapping

from inspector.model import Can, Classify, Limits, Rules, Spec

ALL = Can(drop=True, mask=True, placeholder=True, notify=True, hold=False, inject=True)
HOLDING = Can(drop=True, mask=True, placeholder=True, notify=True, hold=True, inject=True)
"""With a store for what waits."""


class Kit:
    """The tools of all sessions of a worker. A reload replaces `rules`, `limits`, `archive` in place; what is in flight
    keeps the rules it was scanned with."""

    __slots__ = ("archive", "classify", "driver_can", "edits", "limits", "never_inspect", "rules", "specs")

    def __init__(
        self,
        classify: Classify,
        rules: Rules,
        limits: Limits,
        *,
        archive: str = "none",
        edits: frozenset[str] = frozenset(),
        never_inspect: frozenset[str] = frozenset(),
        driver_can: Can = ALL,
        specs: Mapping[str, Spec] | None = None,
    ) -> None:
        self.classify = classify
        self.rules = rules
        self.limits = limits
        self.archive = archive
        """Of messages that pass: none (counted), metadata (a row without text), full."""
        self.edits = edits
        """Names of the protocol edits that are on."""
        self.never_inspect = never_inspect
        """Groups whose content is not read."""
        self.driver_can = driver_can
        self.specs: Mapping[str, Spec] = specs or {}
        """By name: who reads a connection that was announced."""
