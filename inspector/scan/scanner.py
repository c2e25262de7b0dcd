"""Texts in, findings out: the Scanner of model/ports.py.

A text goes through the prefilter first. What that names, and only that, is looked at exactly: detectors, lists, and the
shards of YARA rules; shards of rules that can be true without any string run always. A scan that does not come to its
end raises ScanFailed: it is never clean.
"""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import yara  # type: ignore[import-not-found]

from inspector.model.events import Text
from inspector.model.limits import Limits
from inspector.model.ports import ScanFailed
from inspector.model.verdicts import Finding, Severity, Span
from inspector.scan import prefilter
from inspector.scan.compiling import HOSTS, SHARDS, Built, Unit, all_entries, compile_units
from inspector.scan.detectors import DETECTORS
from inspector.scan.filerules import FileRules
from inspector.scan.indicators import Table
from inspector.scan.normalise import SEPARATOR, Layout
from inspector.scan.prefilter import Entry, Prefilter

MakePrefilter = Callable[[Sequence[Entry], bytes | None], Prefilter]

_log = logging.getLogger(__name__)

_ORDER: dict[Severity, int] = {"critical": 0, "high": 1, "medium": 2, "low": 3}
_QUICK_SECONDS = 1
"""YARA's timeout for a text that is scanned in the loop (its smallest)."""


class _Found:
    """Findings under way: spans and details by what the finding will say."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.places: dict[tuple[str, str, Severity, str, str | None, tuple[str, ...]], tuple[set[Span], set[str]]] = {}

    def add(
        self, detector: str, rule: str, severity: Severity, title: str, pack: str | None, tags: tuple[str, ...],
        places: Iterable[tuple[int, int]], detail: str = "",
    ) -> None:
        spans, details = self.places.setdefault((detector, rule, severity, title, pack, tags), (set(), set()))
        spans.update(self.layout.span(start, end) for start, end in places)
        if detail:
            details.add(detail)

    def findings(self, limits: Limits) -> tuple[Finding, ...]:
        """The worst first, by name; at most limits.findings."""
        made = [
            Finding(detector, rule, severity, ", ".join(sorted(details)) or title, pack, tags, _spans(spans, limits))
            for (detector, rule, severity, title, pack, tags), (spans, details) in self.places.items()
        ]
        made.sort(key=lambda one: (_ORDER[one.severity], one.detector, one.rule))
        return tuple(made[: limits.findings])


def _spans(spans: set[Span], limits: Limits) -> tuple[Span, ...]:
    """Spans in order, overlapping ones joined. More than limits.spans: none, so that a mask becomes a refusal
    instead of leaving some of them readable."""
    joined: list[Span] = []
    for index, start, end in sorted(spans):
        if start >= end:
            continue
        if joined and joined[-1][0] == index and start <= joined[-1][2]:
            joined[-1] = (index, joined[-1][1], max(end, joined[-1][2]))
        else:
            joined.append((index, start, end))
    return tuple(joined) if len(joined) <= limits.spans else ()


class _Shard:
    """A compiled object, and what is needed to make it anew without a rule."""

    def __init__(self, rules: Any, units: Sequence[Unit]) -> None:
        self.rules = rules
        self.units = units
        self.overruns = 0


class PackScanner:
    """Signature packs, compiled. `quick` and `full` may be called from several threads at a time."""

    def __init__(self, built: Built, limits: Limits, make: MakePrefilter | None = None) -> None:
        """`make`: makes the prefilter of its entries and the kept database; None: the fastest there is."""
        self.packs = built.packs
        self.limits = limits
        self.always_run: tuple[str, ...] = tuple(built.always_rules)
        """Ids of rules that run on every text, because they can be true without a string or have no safe literal."""
        self.disabled: tuple[str, ...] = ()
        """Ids of rules that were switched off, since they overran their time twice: an alarm."""
        self.rules = len(built.names)
        """Message rules."""
        self.indicators = len(built.indicators)
        """Indicators of all lists."""
        self.files = FileRules.of(built, limits)
        """What file workers judge with."""
        self._quick_bytes = limits.quick_scan_bytes
        self._rows = built.rows
        self._names = built.names
        self._table = Table(built.indicators)
        self._shards = [_Shard(_load(shard.compiled), shard.units) for shard in built.shards]
        self._always = tuple(SHARDS + number for number in built.always)
        self._phrases = SHARDS + len(self._shards)
        self._lock = threading.Lock()
        self._prefilter = (make or prefilter.best)(all_entries(built, self._table), built.dump)
        self._hits = self._prefilter.hits

    @property
    def prefilter(self) -> str:
        """Name of the prefilter's implementation."""
        return self._prefilter.name

    def quick(self, texts: Sequence[Text]) -> tuple[Finding, ...] | None:
        """Findings, if the texts are short enough to be scanned at once (limits.quick_scan_bytes together); None: use
        `full`. Raises ScanFailed."""
        plain = texts[0].plain if len(texts) == 1 else SEPARATOR.join([text.plain for text in texts])
        if len(plain) > self._quick_bytes:
            return None
        if plain.isascii() and "&" not in plain:
            data = plain.encode()
            hits = self._hits(data)
            if not hits and not self._always:
                return ()
            return self._judge(Layout(texts), hits, _QUICK_SECONDS)
        if len(plain) * 4 > self._quick_bytes and len(plain.encode("utf-8", "surrogatepass")) > self._quick_bytes:
            return None
        layout = Layout(texts)
        hits = self._hits(layout.data)
        if not hits and not self._always:
            return ()
        return self._judge(layout, hits, _QUICK_SECONDS)

    def full(self, texts: Sequence[Text]) -> tuple[Finding, ...]:
        """Findings of texts up to limits.text_bytes together. Raises ScanFailed, for longer ones too."""
        size = sum(len(text.plain.encode("utf-8", "surrogatepass")) for text in texts)
        if size > self.limits.text_bytes:
            raise ScanFailed(f"{size} bytes of text, more than limits.text_bytes ({self.limits.text_bytes})")
        layout = Layout(texts)
        hits = self._hits(layout.data)
        if not hits and not self._always:
            return ()
        return self._judge(layout, hits, self.limits.scan_seconds)

    def _judge(self, layout: Layout, hits: list[int], seconds: float) -> tuple[Finding, ...]:
        data = layout.data
        found = _Found(layout)
        numbers = sorted({*hits, *self._always})
        lowered = b""
        deadline = time.monotonic() + seconds
        for number in numbers:
            if number < HOSTS:
                one = DETECTORS[number]
                for start, end, detail in one.find(data):
                    found.add("dlp", one.rule, "medium", one.title, None, one.tags, ((start, end),), detail)
            elif number < SHARDS:
                for begin, end in layout.exact():
                    part = data[begin:end]
                    places = self._table.hosts(part) if number == HOSTS else self._table.hashes(part)
                    self._indicators(found, ((i, begin + a, begin + b) for i, a, b in places))
            elif number < self._phrases:
                self._yara(found, number - SHARDS, data, deadline)
            else:
                lowered = lowered or data.lower()
                self._indicators(found, self._table.phrase(self._table.phrases[number - self._phrases], lowered))
        return found.findings(self.limits) if found.places else ()

    def _indicators(self, found: _Found, places: Iterable[tuple[int, int, int]]) -> None:
        for i, start, end in places:
            row = self._table.rows[i]
            title = row.description or row.kind
            found.add("indicator", row.rule, row.severity, title, row.pack, row.tags, ((start, end),))

    def _yara(self, found: _Found, number: int, data: bytes, deadline: float) -> None:
        shard = self._shards[number]
        if shard.rules is None:
            return
        many: list[str] = []

        def warn(_kind: int, message: Any) -> int:
            many.append(str(message))
            return int(yara.CALLBACK_CONTINUE)

        left = deadline - time.monotonic()
        try:
            if left <= 0:
                raise ScanFailed("the rules take longer than limits.scan_seconds together")
            matches = shard.rules.match(data=data, timeout=max(1, int(left)), warnings_callback=warn)
        except yara.TimeoutError as exc:
            self._overran(shard, data)
            raise ScanFailed("a rule takes too long") from exc
        except yara.Error as exc:
            raise ScanFailed(f"yara: {exc}") from exc
        if many:
            raise ScanFailed("yara: too many matches")
        for match in matches:
            index = self._names.get(f"{match.namespace}:{match.rule}")
            if index is None:
                continue
            row = self._rows[index]
            if row.id in self.disabled:
                continue
            places = (
                (at.offset, at.offset + at.matched_length) for string in match.strings for at in string.instances
            )
            found.add("yara", row.id, row.severity, row.description, row.pack, row.tags, places)

    def _overran(self, shard: _Shard, data: bytes) -> None:
        """Count an overrun of a shard; at the second one look, beside the traffic, for the rule that does it."""
        with self._lock:
            shard.overruns += 1
            if shard.overruns != 2:
                return
        threading.Thread(target=self.hunt, args=(shard, data), name="scan-hunt", daemon=True).start()

    def hunt(self, shard: _Shard, data: bytes) -> None:
        """Run the units of a shard one by one on a text; switch off those that overrun a second."""
        good: list[Unit] = []
        bad: list[Unit] = []
        for unit in shard.units:
            try:
                compile_units([unit]).match(data=data, timeout=1)
                good.append(unit)
            except yara.TimeoutError:
                bad.append(unit)
            except yara.Error:
                good.append(unit)
        rules = compile_units(good) if good else None
        ids = [
            self._rows[index].id for unit in bad for name in unit.names
            if (index := self._names.get(f"{unit.namespace}:{name}")) is not None
        ]
        with self._lock:
            if bad:
                shard.rules, shard.units = rules, good
                self.disabled = (*self.disabled, *ids)
            shard.overruns = 0
        for one in ids:
            _log.error("the rule %s overran its time twice and was switched off", one)


def _load(compiled: bytes) -> Any:
    return yara.load(file=io.BytesIO(compiled))
