"""Texts in, findings out: the Scanner of model/ports.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yara  # type: ignore[import-not-found]

from inspector.model.events import Text
from inspector.model.limits import Limits
from inspector.model.ports import ScanFailed
from inspector.model.verdicts import Finding, Span
from inspector.scan.packs import Pack
from inspector.scan.rules import PackRule


class PackScanner:
    """Signature packs, compiled."""

    def __init__(self, packs: Sequence[Pack], rules: Sequence[PackRule], limits: Limits) -> None:
        self.packs = tuple(pack.label for pack in packs)
        self._limits = limits
        self._by_name = {(rule.namespace, rule.rule.name): rule for rule in rules}
        sources: dict[str, str] = {}
        for rule in rules:
            if rule.for_messages:
                text = rule.source.data[rule.rule.at:rule.rule.end].decode()
                sources[rule.namespace] = sources.get(rule.namespace, "") + text + "\n"
        self._rules: Any = yara.compile(sources=sources) if sources else None

    def quick(self, texts: Sequence[Text]) -> tuple[Finding, ...] | None:
        """Findings, if the texts are short enough to be scanned at once; None: use `full`. Raises ScanFailed."""
        if sum(len(text.plain) for text in texts) > self._limits.quick_scan_bytes:
            return None
        return self.full(texts)

    def full(self, texts: Sequence[Text]) -> tuple[Finding, ...]:
        """Findings of texts of any permitted length. Raises ScanFailed."""
        found: dict[tuple[str, str], list[Span]] = {}
        if self._rules is None:
            return ()
        for index, text in enumerate(texts):
            raw = text.plain.encode("utf-8", "surrogatepass")
            try:
                matches = self._rules.match(data=raw, timeout=int(self._limits.scan_seconds))
            except yara.Error as exc:
                raise ScanFailed(f"yara: {exc}") from exc
            for match in matches:
                spans = found.setdefault((match.namespace, match.rule), [])
                for string in match.strings:
                    for at in string.instances:
                        start = len(raw[:at.offset].decode("utf-8", "replace"))
                        end = len(raw[:at.offset + at.matched_length].decode("utf-8", "replace"))
                        spans.append((index, start, end))
        return tuple(
            Finding("yara", rule.id, rule.severity, rule.description, rule.pack, rule.tags, tuple(spans))
            for key, spans in found.items() if (rule := self._by_name[key]).id
        )
