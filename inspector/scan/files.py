"""The judging of a file's content: hashes, types, file rules, words, and all that is inside it.

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
from inspector.scan import filenames, filetexts, filetypes
from inspector.scan.archives import (
    BROKEN,
    Opener,
    Unopened,
    open_bzip2,
    open_gzip,
    open_lzip,
    open_lzma,
    open_swf,
    open_xz,
    open_zstd,
)
from inspector.scan.cabinets import open_cab
from inspector.scan.content import Content, Held, Part, Source, blocks, content_of
from inspector.scan.filerules import FileMatcher
from inspector.scan.filetypes import Format
from inspector.scan.mails import open_mail, open_rtf, open_uu
from inspector.scan.ole import open_ole, open_onenote
from inspector.scan.pdfs import open_pdf
from inspector.scan.pdfwords import PdfWords
from inspector.scan.rars import open_rar
from inspector.scan.sevenzips import open_7z
from inspector.scan.tars import open_ar, open_iso, open_tar
from inspector.scan.zips import open_zip

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
    "file.unread_text": "there is more text than words and numbers were looked for in",
    "file.chance_numbers": "a list of numbers, some of them right as numbers of cards or people by chance",
    "file.damaged": "a known format, but not as it must be",
    "file.unopened_archive": "an archive of a kind that is not opened",
    "file.hidden_content": "an archive holds data that its directory does not name, or names otherwise",
    "file.macro": "the document has macros",
    "file.external_link": "the document loads something from elsewhere when it is opened",
    "file.embedded_object": "the document has another file in it",
    "file.pdf_javascript": "the PDF has JavaScript",
    "file.pdf_launch": "the PDF starts a program",
    "file.pdf_embedded": "the PDF has files in it",
    "file.inner_executable": "a program is inside, by its content or its name",
    "file.inner_script": "a script is inside, by its content or its name",
    "file.inner_macro_document": "a document with macros is inside",
}
"""Every rule of detector "file", and what it says."""

OPENERS: dict[str, Opener] = {
    "zip": open_zip, "gzip": open_gzip, "bzip2": open_bzip2, "xz": open_xz, "lzma": open_lzma, "lzip": open_lzip,
    "zstd": open_zstd, "tar": open_tar, "ar": open_ar, "deb": open_ar, "iso": open_iso, "7z": open_7z, "rar": open_rar,
    "cab": open_cab, "ole": open_ole, "pdf": open_pdf, "mail": open_mail, "rtf": open_rtf, "onenote": open_onenote,
    "swf": open_swf, "uu": open_uu,
}
"""What opens each format."""
_CLOSED = frozenset({
    "rpm", "xar", "udf", "vhd", "vhdx", "vmdk", "qcow", "dmg", "wim", "squashfs", "lz4", "compress", "cpio",
    "szdd", "lzh", "ace", "arj", "zoo", "sit", "tnef",
})
"""Containers that nothing here opens: their names and bytes are judged, what is in them is not."""
_INNER = frozenset({"executable", "script", "macro_document"})
_RATIO_FROM = 1024 * 1024
"""Unpacked bytes of one member below which its ratio does not matter."""
_ORDER: dict[str, int] = {"critical": 0, "high": 1, "medium": 2, "low": 3}
_PAGES = 64 * 1024 * 1024
"""Bytes of a PDF in which words are looked for."""
_TEXT = filetypes.format_of("text")
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
        if place not in places:
            count += 1
            if place and len(places) < _PLACES:
                places[place] = None
        worst = severity if _ORDER[severity] < _ORDER[worst] else worst
        self._rows[detector, rule] = (worst, first, label, words, places, count)

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

    def __init__(self, blob: bytes | memoryview) -> None:
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


class _Spent(Exception):
    """A budget is used up: nothing more is opened."""


class _Judging:
    """The judging of one file, and the budgets of all that is inside it."""

    def __init__(self, matcher: FileMatcher) -> None:
        self.matcher = matcher
        self.limits = matcher.limits
        self.found = Found()
        self.deadline = time.monotonic() + matcher.limits.archive_seconds
        self.members = 0
        self.unpacked = 0
        self.encrypted = False
        self.budget: filetexts.Budget | None = filetexts.Budget(matcher.limits)
        """Of texts; None: it is used up."""

    def report(self, content: Content, about: File) -> FileReport:
        digests = _digests(content, ("sha256", "sha1", "md5"))
        box = _Box(self, about.file_name, "", 0)
        box.formats = _formats(content, about.file_name)
        try:
            self.names(about.file_name)
            self.known(digests, "")
            self.rules(content, "")
            self.inside(content, box)
        except _Spent:
            pass
        kinds = filetypes.kinds_of(box.formats)
        self.mismatch(about.file_name, kinds, about.declared_type)
        return FileReport(
            size=content.size, sha256=digests["sha256"], sha1=digests["sha1"], md5=digests["md5"], kinds=kinds,
            media_type=media_type(filetypes.ordered(box.formats)), members=self.members, encrypted=self.encrypted,
            findings=self.found.findings(self.limits.findings),
        )

    def member(
        self, content: Content, name: str, named: bool, place: str, outer: _Box, *, whole: bool,
    ) -> None:
        """Judge a file inside. `whole` False: it was not unpacked to its end, and is not opened."""
        if self.matcher.kinds:
            self.known(_digests(content, self.matcher.kinds), place)
        self.rules(content, place)
        box = _Box(self, name, place, outer.depth + 1)
        box.formats = _formats(content, name)
        try:
            self.inside(content, box, outer.formats, whole=whole)
        finally:
            kinds = filetypes.kinds_of(box.formats)
            if named:
                self.mismatch(name, kinds)
            self.inner(kinds, place)

    def inside(self, content: Content, box: _Box, outer: Iterable[Format] = (), *, whole: bool = True) -> None:
        """Look at the words of a content and open it; of what has parts at the words around them. Raises _Spent."""
        formats = tuple(box.formats)
        boxed = filetexts.boxed(formats)
        if not boxed:
            self.texts(content, formats, box.place, outer)
        if whole:
            box.content = content
            self.open(content, box)
        if boxed:
            self.texts(content, formats, box.place, outer, box.parts)

    def open(self, content: Content, box: _Box) -> None:
        """Open a content by all of its formats. Raises _Spent."""
        for one in tuple(box.formats):
            opener = OPENERS.get(one.name)
            if opener is None:
                if one.name in _CLOSED:
                    box.tell("unopened_archive", "medium", f"{one.name} is not opened")
                continue
            if box.depth > self.limits.archive_depth:
                box.tell("too_deep", "high", f"more than {self.limits.archive_depth} archives in one another")
                continue
            self.time()
            try:
                opener(content, box)
            except Unopened as exc:
                box.tell("unopened_archive", "medium", f"{one.name}: {exc}")
            except BROKEN as exc:
                box.tell("damaged", "low", f"{one.name}: {exc}")
            if one.name == "pdf":
                self.pages(content, box)

    def pages(self, content: Content, box: _Box) -> None:
        """Look at what the pages of a PDF show: streams that were opened, and those that stand as they are."""
        box.words.feed(content.read(0, _PAGES))
        for text in box.words.texts():
            self.time()
            self.texts(Held(text.encode("utf-8", "replace")), (_TEXT,), box.place)
        if not box.words.whole and self.budget is not None:
            self.found.add("file", "file.unread_text", "medium", place=filenames.safe(box.place) or "the file")

    def time(self) -> None:
        if time.monotonic() > self.deadline:
            self.found.add("file", "file.budget", "high", place="no time left (limits.archive_seconds)")
            raise _Spent

    def spend(self, count: int) -> None:
        self.unpacked += count
        if self.unpacked > self.limits.archive_bytes:
            self.found.add("file", "file.budget", "high", place="too many bytes unpacked (limits.archive_bytes)")
            raise _Spent
        self.time()

    def count(self) -> None:
        self.members += 1
        if self.members > self.limits.archive_members:
            many = f"more than {self.limits.archive_members} files inside"
            self.found.add("file", "file.too_many", "high", place=many)
            raise _Spent
        self.time()

    def names(self, name: str) -> None:
        for trick in filenames.tricks(name):
            self.found.add("file", f"file.{trick.rule}", trick.severity, place=trick.detail)

    def inner(self, kinds: Iterable[str], place: str) -> None:
        """Tell what a file inside is, so far as a policy may want to know it."""
        for kind in kinds:
            if kind in _INNER:
                self.found.add("file", f"file.inner_{kind}", "low", place=filenames.safe(place))

    def mismatch(self, name: str, kinds: tuple[str, ...], declared: str | None = None) -> None:
        wrong = filenames.mismatch(name, kinds, declared)
        if wrong is not None:
            self.found.add("file", "file.type_mismatch", wrong[0], place=wrong[1])

    def known(self, digests: dict[str, str], place: str) -> None:
        for one in self.matcher.known(digests):
            title = one.description or one.kind
            self.found.add("indicator", one.rule, one.severity, title, one.pack, one.tags, filenames.safe(place))

    def rules(self, content: Content, place: str) -> None:
        """Ask the file rules, in windows where the content is long. Raises _Spent when no time is left."""
        most = self.limits.file_window_bytes
        step = max(1, most - self.limits.file_overlap_bytes)
        shown = filenames.safe(place)
        at = 0
        while True:
            self.time()
            rows, unasked = self.matcher.match(content.view(at, most), self.deadline - time.monotonic())
            for row in rows:
                self.found.add("yara", row.id, row.severity, row.description, row.pack, row.tags, shown)
            for why in unasked:
                self.found.add("file", "file.budget", "high", place=f"{shown or 'the file'}: {why}")
            if at + most >= content.size:
                return
            at += step


    def texts(
        self, content: Content, formats: Iterable[Format], place: str, outer: Iterable[Format] = (),
        without: Iterable[tuple[int, int]] = (),
    ) -> None:
        """Look for words, links and numbers in the text of a content, so long as there is a budget for it. `without`:
        see filetexts.read. Raises _Spent."""
        if self.budget is None:
            return
        self.time()
        begun = time.monotonic()
        look = filetexts.Look(
            self.matcher.words, self.limits, self.budget, min(begun + self.budget.seconds, self.deadline),
            self.said if self.matcher.for_texts else None)
        try:
            filetexts.read(content, formats, look, inside=outer, without=without)
            self.budget.seconds -= time.monotonic() - begun
        except filetexts.Spent:
            self.time()
            self.budget = None
            self.found.add("file", "file.unread_text", "medium", place=filenames.safe(place) or "the file")
        finally:
            for one in look.found():
                self.found.add(
                    one.detector, one.rule, one.severity, one.title, one.pack, one.tags, filenames.safe(place))


    def said(self, data: bytes) -> list[filetexts.Seen]:
        """What the rules for messages and files say of the forms of a text."""
        rows, unasked = self.matcher.match_text(data, self.deadline - time.monotonic())
        for why in unasked:
            self.found.add("file", "file.budget", "high", place=f"a text: {why}")
        return [
            filetexts.Seen("yara", row.id, row.severity, row.description, row.pack, row.tags) for row in rows]


class _Box:
    """The Box of archives.py: one container on the way down."""

    __slots__ = ("_judging", "content", "depth", "formats", "name", "parts", "place", "words")

    def __init__(self, judging: _Judging, name: str, place: str, depth: int) -> None:
        self._judging = judging
        self.place = place
        """Where it is: the names from the file down to it."""
        self.name = name
        self.depth = depth
        """Containers around it."""
        self.formats: list[Format] = []
        self.words = PdfWords()
        """Of a PDF."""
        self.content: Content | None = None
        """What is opened."""
        self.parts: list[tuple[int, int]] = []
        """Where its parts stand that were looked at as they are."""

    def member(
        self, name: str, data: Part | Iterable[bytes], packed: int | None = None, *, named: bool = True,
    ) -> Content | None:
        judging = self._judging
        judging.count()
        place = self._inside(name)
        if named:
            self._named(name, place)
        whole = True
        if isinstance(data, Part):
            judging.spend(data.size)
            content: Content = data
        else:
            held, whole = self._collected(data, packed, name)
            content = Held(held)
        if content.size:
            judging.member(content, name, named, place, self, whole=whole)
        if self.content is not None and isinstance(data, Part) and (span := data.span(self.content)) is not None:
            self.parts.append(span)
        return content

    def _collected(self, made: Iterable[bytes], packed: int | None, name: str) -> tuple[bytes | bytearray, bool]:
        """What is unpacked, and whether it was not given up as a bomb."""
        limits = self._judging.limits
        most = max(_RATIO_FROM, limits.archive_ratio * packed) if packed is not None else None
        first: bytes | bytearray = b""
        out: bytearray | None = None
        try:
            for block in made:
                self._judging.spend(len(block))
                if not block:
                    continue
                if out is not None:
                    out += block
                elif first:
                    out = bytearray(first)
                    out += block
                else:
                    first = block
                if out is not None and most is not None and len(out) > most:
                    ratio = len(out) // max(1, packed or 1)
                    self.tell("bomb", "high", f"{filenames.safe(name)}: more than {ratio} times its packed size")
                    return out, False
        except Unopened as exc:
            self.tell("unopened_archive", "medium", f"{filenames.safe(name)}: {exc}")
        except BROKEN as exc:
            self.tell("damaged", "low", f"{filenames.safe(name)}: {exc}")
        return (first if out is None else out), True

    def derived(self, what: str, data: bytes) -> None:
        self._judging.rules(Held(data), self._inside(what))
        kept: list[Format] = []
        if any(one.name == "pdf" for one in self.formats):
            self.words.feed(data)
            kept = self.formats  # its letters stand among operators: what else is text in it are stretches
        self._judging.texts(Held(data), kept, self._inside(what))

    def name_only(self, name: str) -> None:
        self._judging.count()
        self._named(name, self._inside(name))

    def _named(self, name: str, place: str) -> None:
        """Judge a name. In an archive it says what will be run; the parts of a document are called what they like."""
        self._judging.names(name)
        if not any("document" in one.kinds for one in self.formats):
            self._judging.inner(filenames.claims(name), place)

    def tell(self, rule: str, severity: Severity, detail: str) -> None:
        place = f"{filenames.safe(self.place)}: {filenames.safe(detail)}" if self.place else filenames.safe(detail)
        self._judging.found.add("file", f"file.{rule}", severity, place=place)

    def encrypted(self, what: str) -> None:
        self._judging.encrypted = True
        self.tell("encrypted", "medium", what)

    def become(self, former: str, now: str) -> None:
        self.formats = [filetypes.format_of(now if one.name == former else one.name) for one in self.formats]

    def spend(self, count: int) -> None:
        self._judging.spend(count)

    def _inside(self, name: str) -> str:
        return f"{self.place}/{name}" if self.place else name


_MAIL_NAMES = (".eml", ".mht", ".mhtml", ".nws", ".mbox", ".mbx", ".email")


def _formats(content: Content, name: str) -> list[Format]:
    """What a content is; text with the name of mail is read as mail, as its reader does."""
    found = list(filetypes.identify(content))
    if name.lower().rstrip(" .").endswith(_MAIL_NAMES) and content.size and all(
        "text" in one.kinds or "web" in one.kinds for one in found
    ):
        found.append(filetypes.format_of("mail"))
    return found


def media_type(formats: Iterable[Format]) -> str | None:
    """The media type of the most dangerous format that has one."""
    return next((one.media_type for one in formats if one.media_type is not None), None)


def _digests(content: Content, kinds: Iterable[str]) -> dict[str, str]:
    made = [hashlib.new(kind, usedforsecurity=False) for kind in kinds]
    for piece in blocks(content):
        for one in made:
            one.update(piece)
    return {one.name: one.hexdigest() for one in made}
