"""The judging of a file's content: hashes, types, file rules, and all that is inside it.

Made for a process of its own: `FileJudge(blob)` once, `judge` for each file. A judgement is bounded by Limits
(`archive_*`, `file_*`); whatever the bytes are, it ends in a report. Only what could not be read, what is longer than
`limits.file_scan_bytes`, and memory that was not there raise ScanFailed.

Rules of the findings that are not from packs, detector "file": see RULES.

What file rules see: each content of up to `limits.file_window_bytes` in one piece; of a longer one windows of that
length that overlap by `limits.file_overlap_bytes`, each like a file of its own (offsets and `filesize` are the
window's).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable

from inspector.model.events import File
from inspector.model.ports import ScanFailed
from inspector.model.verdicts import FileReport, Finding, Severity
from inspector.scan import filenames, filetypes
from inspector.scan.content import Content, Source, blocks, content_of
from inspector.scan.filerules import FileMatcher
from inspector.scan.filetypes import Format

RULES: dict[str, str] = {
    "file.type_mismatch": "the content is of a worse kind than the name claims",
    "file.double_extension": "a harmless ending in front of one that runs",
    "file.bidi_name": "the name has letters that turn its direction",
    "file.hidden_extension": "blanks, dots or controls hide the ending",
    "file.unsafe_path": "a path that leaves its folder, or names a device",
    "file.link": "an archive holds a link",
    "file.device": "an archive holds a device",
    "file.encrypted": "(part of) the content needs a password",
    "file.bomb": "it unpacks to far more than it is",
    "file.too_deep": "more archives in archives than are opened",
    "file.too_many": "more files inside than are looked at",
    "file.budget": "bytes or time were used up before the end",
    "file.damaged": "a known format, but not as it must be",
    "file.unopened_archive": "an archive of a kind that is not opened",
    "file.hidden_content": "an archive holds data that its directory does not name, or names otherwise",
    "file.macro": "the document has macros",
    "file.external_link": "the document loads something from elsewhere when it is opened",
    "file.embedded_object": "the document has another file in it",
    "file.pdf_javascript": "the PDF has JavaScript",
    "file.pdf_launch": "the PDF starts a program",
    "file.pdf_embedded": "the PDF has files in it",
    "file.inner_executable": "a program is inside",
    "file.inner_script": "a script is inside",
    "file.inner_macro_document": "a document with macros is inside",
}
"""Every rule of detector "file", and what it says."""

_ORDER: dict[str, int] = {"critical": 0, "high": 1, "medium": 2, "low": 3}
_PLACES = 3
"""Places that the detail of a finding names."""
_DETAIL = 400


class Found:
    """Findings under way: one for each rule, with the worst severity and its first places."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], tuple[Severity, str, str | None, tuple[str, ...], dict[str, None], int]] = {}

    def add(
        self, detector: str, rule: str, severity: Severity, title: str = "", pack: str | None = None,
        tags: tuple[str, ...] = (), place: str = "",
    ) -> None:
        worst, first, label, words, places, count = self._rows.get(
            (detector, rule), (severity, title, pack, tags, {}, 0))
        if len(places) < _PLACES and place:
            places[place] = None
        worst = severity if _ORDER[severity] < _ORDER[worst] else worst
        self._rows[detector, rule] = (worst, first, label, words, places, count + 1)

    def findings(self, most: int) -> tuple[Finding, ...]:
        """The worst first, then by name; at most `most`."""
        made = []
        for (detector, rule), (severity, title, pack, tags, places, count) in self._rows.items():
            where = "; ".join(places)
            if where and count > len(places):
                where += f" … ({count} in all)"
            detail = ": ".join(part for part in (title, where) if part)
            made.append(Finding(detector, rule, severity, detail[:_DETAIL], pack, tags))
        made.sort(key=lambda one: (_ORDER[one.severity], one.detector, one.rule))
        return tuple(made[:most])


class FileJudge:
    """Judges files with the rules of a blob (FileRules.blob). Not for several threads at a time."""

    def __init__(self, blob: bytes) -> None:
        """Raises ValueError when the bytes are not file rules."""
        self.matcher = FileMatcher(blob)
        self.limits = self.matcher.limits

    def judge(self, file: Source, about: File) -> FileReport:
        """Judge a content; `about`: what the offer said of it. Raises ScanFailed, and nothing else."""
        try:
            content = content_of(file)
            if content.size > self.limits.file_scan_bytes:
                raise ScanFailed(
                    f"{content.size} bytes, more than limits.file_scan_bytes ({self.limits.file_scan_bytes})")
            return _Judging(self.matcher).report(content, about)
        except OSError as exc:
            raise ScanFailed(f"the file cannot be read: {exc.strerror or exc}") from exc
        except MemoryError:
            raise ScanFailed("not enough memory to judge the file") from None


class _Judging:
    """The judging of one file."""

    def __init__(self, matcher: FileMatcher) -> None:
        self.matcher = matcher
        self.limits = matcher.limits
        self.found = Found()
        self.deadline = time.monotonic() + matcher.limits.archive_seconds

    def report(self, content: Content, about: File) -> FileReport:
        digests = _digests(content, ("sha256", "sha1", "md5"))
        self.names(about.file_name)
        self.known(digests, "")
        self.rules(content, "")
        formats = filetypes.identify(content)
        kinds = filetypes.kinds_of(formats)
        self.mismatch(about.file_name, kinds)
        return FileReport(
            size=content.size, sha256=digests["sha256"], sha1=digests["sha1"], md5=digests["md5"], kinds=kinds,
            media_type=media_type(formats), findings=self.found.findings(self.limits.findings),
        )

    def names(self, name: str) -> None:
        for trick in filenames.tricks(name):
            self.found.add("file", f"file.{trick.rule}", trick.severity, place=trick.detail)

    def mismatch(self, name: str, kinds: tuple[str, ...]) -> None:
        wrong = filenames.mismatch(name, kinds)
        if wrong is not None:
            self.found.add("file", "file.type_mismatch", wrong[0], place=wrong[1])

    def known(self, digests: dict[str, str], place: str) -> None:
        for one in self.matcher.known(digests):
            self.found.add(
                "indicator", one.rule, one.severity, one.description or one.kind, one.pack, one.tags, place)

    def rules(self, content: Content, place: str) -> None:
        """Ask the file rules, in windows where the content is long."""
        what = place or "the file"
        most = self.limits.file_window_bytes
        step = max(1, most - self.limits.file_overlap_bytes)
        at = 0
        while True:
            left = self.deadline - time.monotonic()
            if left <= 0:
                self.found.add("file", "file.budget", "high", place=f"{what}: no time left for the rules")
                return
            rows, unasked = self.matcher.match(content.view(at, most), left)
            for row in rows:
                self.found.add("yara", row.id, row.severity, row.description, row.pack, row.tags, place)
            for why in unasked:
                self.found.add("file", "file.budget", "high", place=f"{what}: {why}")
            if at + most >= content.size:
                return
            at += step


def media_type(formats: Iterable[Format]) -> str | None:
    """The media type of the most dangerous format that has one."""
    return next((one.media_type for one in formats if one.media_type is not None), None)


def _digests(content: Content, kinds: Iterable[str]) -> dict[str, str]:
    made = [hashlib.new(kind, usedforsecurity=False) for kind in kinds]
    for piece in blocks(content):
        for one in made:
            one.update(piece)
    return {one.name: one.hexdigest() for one in made}
