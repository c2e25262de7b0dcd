"""Texts in, findings out: the Scanner of model/ports.py.

A text goes through the prefilter first. What that names, and only that, is looked at exactly: detectors, lists, and the
shards of YARA rules; shards of rules that can be true without any string run always. A scan that does not come to its
end raises ScanFailed: it is never clean.
"""

from __future__ import annotations

import io
import logging
import os
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
from inspector.scan.compiling import Built, Row, Shard, Unit, all_entries, compile_units
from inspector.scan.detectors import DETECTORS, HOSTS, SHARDS
from inspector.scan.filerules import FileRules
from inspector.scan.indicators import Indicator, Table
from inspector.scan.normalise import SEPARATOR, Layout, single
from inspector.scan.prefilter import Entry, Prefilter

MakePrefilter = Callable[[Sequence[Entry], bytes | memoryview | None], Prefilter]

_log = logging.getLogger(__name__)

_ORDER: dict[Severity, int] = {"critical": 0, "high": 1, "medium": 2, "low": 3}
_QUICK_SECONDS = 1
"""YARA's timeout for a text that is scanned in the loop (its smallest)."""
_HUNT_SECONDS = 2.5
"""A rule that is not done with a text after this does not mind YARA's timeout of a second."""


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
    """Rules compiled into one object, and what is needed to make it anew without one of them.

    The object is loaded when a text first asks for it (0.8 ms, 400 KB for 64 rules): most never are.
    """

    __slots__ = ("gone", "made", "overruns", "rows", "rules")

    def __init__(self, made: Shard) -> None:
        self.made = made
        self.rules: Any = _UNLOADED
        self.rows: dict[str, Row] = {}
        """namespace:name of a rule to its row."""
        self.gone: frozenset[int] = frozenset()
        """Units that were switched off."""
        self.overruns = 0

    def load(self) -> None:
        """Make it ready. Called by several threads at once, the last one stays. Raises ScanFailed."""
        self.rows = self.made.rows
        self.rules = _load(self.made.compiled)


_UNLOADED = object()


class PackScanner:
    """Signature packs, compiled. `quick` and `full` may be called from several threads at a time."""

    def __init__(self, built: Built, limits: Limits, make: MakePrefilter | None = None) -> None:
        """`make`: makes the prefilter of its entries and the kept database; None: the fastest there is."""
        self.packs = built.packs
        self.digest: str | None = None
        """sha256:<hex> of what is in the packs, however compiled; `loading.load` says it."""
        self.limits = limits
        self.always_run: tuple[str, ...] = tuple(built.always_rules)
        """Ids of rules that run on every text, because they can be true without a string or have no safe literal."""
        self._running: dict[int, tuple[_Shard, bytes]] = {}
        """Thread -> the shard and the text that YARA works on there."""
        self.disabled: tuple[str, ...] = ()
        """Ids of rules that were switched off, since they overran their time twice: an alarm."""
        self.rules = built.message_rules
        """Message rules."""
        self.files = FileRules.of(built, limits)
        """What file workers judge with."""
        self._quick_bytes = limits.quick_scan_bytes
        self._table = Table(built.index)
        self.indicators = self._table.count
        """Indicators of all lists."""
        self._shards = [_Shard(shard) for shard in built.shards]
        self._always = tuple(SHARDS + number for number in built.always)
        self._phrases = SHARDS + len(self._shards)
        self._lock = threading.Lock()
        if make is None:
            self._prefilter = prefilter.best(lambda: all_entries(built, self._table), built.dump)
        else:
            self._prefilter = make(all_entries(built, self._table), built.dump)
        self._hits = self._prefilter.hits

    @property
    def loaded(self) -> int:
        """Shards that a text has asked for."""
        return sum(shard.rules is not _UNLOADED for shard in self._shards)

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
        if single(plain) if len(texts) == 1 else all(single(text.plain) for text in texts):
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
                    self._indicators(found, ((row, begin + a, begin + b) for row, a, b in places))
            elif number < self._phrases:
                self._yara(found, number - SHARDS, data, deadline)
            else:
                lowered = lowered or data.lower()
                self._indicators(found, self._table.phrase(number - self._phrases, lowered))
        return found.findings(self.limits) if found.places else ()

    def _indicators(self, found: _Found, places: Iterable[tuple[Indicator, int, int]]) -> None:
        for row, start, end in places:
            title = row.description or row.kind
            found.add("indicator", row.rule, row.severity, title, row.pack, row.tags, ((start, end),))

    def _yara(self, found: _Found, number: int, data: bytes, deadline: float) -> None:
        shard = self._shards[number]
        rules = shard.rules
        if rules is _UNLOADED:
            shard.load()
            rules = shard.rules
        if rules is None:
            return
        many: list[str] = []

        def warn(_kind: int, message: Any) -> int:
            many.append(str(message))
            return int(yara.CALLBACK_CONTINUE)

        left = deadline - time.monotonic()
        me = threading.get_ident()
        self._running[me] = shard, data
        try:
            if left <= 0:
                raise ScanFailed("the rules take longer than limits.scan_seconds together")
            matches = rules.match(data=data, timeout=max(1, int(left)), warnings_callback=warn)
        except yara.TimeoutError as exc:
            self._overran(shard, data)
            raise ScanFailed("a rule takes too long") from exc
        except yara.Error as exc:
            raise ScanFailed(f"yara: {exc}") from exc
        finally:
            del self._running[me]
        if many:
            raise ScanFailed("yara: too many matches")
        for match in matches:
            row = shard.rows.get(f"{match.namespace}:{match.rule}")
            if row is None or row.id in self.disabled:
                continue
            places = (
                (at.offset, at.offset + at.matched_length) for string in match.strings for at in string.instances
            )
            found.add("yara", row.id, row.severity, row.description, row.pack, row.tags, places)

    def stuck(self, thread: int) -> None:
        """A scan that this thread (its identity) makes does not end: YARA minds its time-out only between some steps.
        It counts as an overrun of the shard that it is in."""
        at = self._running.get(thread)
        if at is not None:
            self._overran(*at)

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
        gone = set(shard.gone)
        for i, unit in enumerate(shard.made.units):
            if i in gone:
                continue
            if _overruns(compile_units([unit]), data):
                bad.append(unit)
                gone.add(i)
            else:
                good.append(unit)
        rules = compile_units(good) if good else None
        ids = [
            row.id for unit in bad for name in unit.names
            if (row := shard.rows.get(f"{unit.namespace}:{name}")) is not None
        ]
        with self._lock:
            if bad:
                shard.rules, shard.gone = rules, frozenset(gone)
                self.disabled = (*self.disabled, *ids)
            shard.overruns = 0
        for one in ids:
            _log.error("the rule %s overran its time twice and was switched off", one)


def _overruns(rules: Any, data: bytes) -> bool:
    """Whether rules take longer than a second on a text, by YARA's own word or by the clock."""
    late: list[bool] = []

    def work() -> None:
        try:
            rules.match(data=data, timeout=1)
        except yara.TimeoutError:
            late.append(True)
        except yara.Error:
            return

    thread = threading.Thread(target=work, name="scan-hunted", daemon=True)
    thread.start()
    thread.join(_HUNT_SECONDS)
    return bool(late) or thread.is_alive()


def _load(compiled: memoryview) -> Any:
    """A compiled object. Raises ScanFailed.

    By the name of a file in memory: YARA then reads for itself, without the interpreter's lock; from an object of
    Python it would ask for each of the thousands of numbers in it, five times as long.
    """
    try:
        number = os.memfd_create("rules", os.MFD_CLOEXEC)
        try:
            left = compiled
            while left:
                left = left[os.write(number, left):]
            return yara.load(filepath=f"/proc/self/fd/{number}")
        finally:
            os.close(number)
    except (OSError, AttributeError):
        pass
    try:
        return yara.load(file=io.BytesIO(compiled))
    except yara.Error as exc:
        raise ScanFailed(f"yara: compiled rules cannot be loaded: {exc}") from exc
