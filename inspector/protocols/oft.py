"""Connections between two AIM or ICQ users: files (OFT2), direct IM (ODC2), both also through AOL's proxy (ARS).

Source: the fact sheet on OSCAR, sections 2, 9 and 11; integers are big-endian.

OFT. The sender writes a prompt (0x0101), the receiver an ack (0x0202), then the sender writes as many bytes as the
prompt said, the receiver writes done (0x0204); several files follow one another. Either end of the connection may be
the sender. The prompt is the offer of this one file: where nothing announced it, or it is another file than was
announced, it has a FileOffer of its own. Behind a prompt all that its sender writes is content, whether it was asked
for or not: that is how a receiver reads it. A receiver may ask for the rest of a file only (0x0205); the edit
`oft.whole_file` makes it ask for all of it, so that all of it is seen (docs/decisions/0052).

ODC. Both write frames of a header and HTML; behind `<BINARY>` lie pictures and files, each with an `<DATA>` tag.
Those are files of their own, inside the frame: their sizes are text that lies, so what is not where a tag says is a
file, too, and never complete. A refused file ends the connection, for both: in OFT bytes were promised that do not
come, and a message without its pictures is not what its header says.

ARS. Frames of a proxy, then OFT or ODC as if it were not there.

Names are claimed: whoever knows an address can connect. Not decoded: encrypted or compressed content, the words of a
file listing, resource forks.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

from inspector.model import (
    BROKEN,
    DOWN,
    Act,
    Action,
    Can,
    Chunk,
    Cut,
    Edit,
    Event,
    Expect,
    FileEnd,
    FileOffer,
    FilePart,
    FileStart,
    Flow,
    Frame,
    Limits,
    Match,
    Memory,
    Message,
    Oddity,
    PeerError,
    Send,
    Spec,
    Text,
    Typing,
    Verdict,
    Way,
    Wordless,
    expect_key,
)
from inspector.wire import htmltext
from inspector.wire.patterns import HTML_ATTRIBUTE, HTML_IMAGE
from inspector.wire.tlv import string8

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")

WHOLE_FILE = "oft.whole_file"
OFT, ODC, ARS = b"OFT2", b"ODC2", b"\x04\x4a"
PROMPT, RESUME_ACCEPT, ACK, DONE, RESUME, RESUME_ACK = 0x0101, 0x0106, 0x0202, 0x0204, 0x0205, 0x0207
LISTING, LISTING_ACK, LISTING_DONE = 0x1108, 0x1209, 0x120B
_TYPES = frozenset({
    PROMPT, RESUME_ACCEPT, ACK, DONE, RESUME, RESUME_ACK, LISTING, LISTING_ACK, 0x120A, LISTING_DONE, 0x120C})
_OFT_BYTES = (192, 2048)
"""Shortest and longest header of OFT: the name is its last field."""
_ODC_BYTES = (76, 512)
_ARS_BYTES = (12, 1024)
UNSET = (0, 0xFFFF0000)
"""Checksums that say nothing."""
CHECKED_BYTES = 16 << 20
"""Content up to this is compared with its checksum: 2.3 ms a megabyte."""
_TAG = b"<data "
"""Readers look for the tag of a picture's number wherever it stands: also in the content of another."""
TAG_BYTES = 256
FILES = 64
"""Files of one direct message that are told apart; the rest is one."""
_BINARY = b"<binary>"
"""What ends the words of a direct message, in any case of letters."""
_BLANK = b" \t\r\n\0"
_ENDS = (b"</data>", b"</binary>", b"</html>", b"</body>")

_HEAD, _FILE, _DATA, _TAGS, _LOST, _DEAD = range(6)
"""What comes next on a way: a header, an OFT file's content, that of a file in a direct message, the tags between
those, unknown (bytes were lost), nothing that can be read."""
_PROMPTED, _RESUMING, _AGREED = range(3)

_PLAIN, _OFFER, _CONTENT = object(), object(), object()
"""Notes: bytes without a say, a prompt, content of a file."""


class _Said(msgspec.Struct, frozen=True, gc=False):
    """The note of a direct message: where its words stand, for `apply`."""

    head: int
    """Bytes of the header."""
    end: int
    """Where the words end."""
    text: str
    codec: str
    places: tuple[htmltext.Place | None, ...]


class _Asks(msgspec.Struct, frozen=True, gc=False):
    """The note of a request to resume that is to be made one for all of the file."""


class _File:
    """A file on its way; `left`: bytes of its content still to come."""

    __slots__ = ("asked", "begun", "checksum", "count", "expected", "gap", "left", "offer", "offset", "size", "sum",
                 "tail", "transfer", "why")

    def __init__(self, offer: FileOffer, expected: Expect | None, size: int, checksum: int = 0) -> None:
        self.offer = offer
        self.expected = expected
        self.size = self.left = size
        self.checksum = checksum if checksum not in UNSET and size <= CHECKED_BYTES else 0
        """As the prompt said it; 0: not to be compared."""
        self.asked = _PROMPTED
        self.begun = False
        self.offset = 0
        self.count = 0
        self.gap = 0
        self.sum = 0
        self.tail = b""
        """What a tag may have begun in (direct IM)."""
        self.transfer = ""
        self.why = ""
        """Why it is not complete."""


class _Side:
    """What one end writes."""

    __slots__ = (
        "ends", "file", "files", "held", "images", "looked", "met", "mode", "name", "need", "payload", "people", "sent",
    )

    def __init__(self, lost: bool) -> None:
        self.mode = _LOST if lost else _HEAD
        self.held = bytearray()
        self.need = 0
        """Bytes that must be held before reading goes on."""
        self.looked = 0
        """Bytes held of a message, its header too, in which its words do not end; 0: no message is held."""
        self.met = False
        """Whether it has written OFT or ODC: no frame of the proxy can follow."""
        self.file: _File | None = None
        self.sent: tuple[int, int] | None = None
        """(size, checksum as prompted) of the last OFT file that was seen whole."""
        self.name: str | None = None
        """The name in its direct messages."""
        self.payload = 0
        """Bytes of a direct message still to come."""
        self.people: tuple[str | None, tuple[str, ...], str | None] = (None, (), None)
        """(sender, recipients, conversation) of that message."""
        self.images: dict[str, str] = {}
        self.files = self.ends = 0
        """Files, and ends of tags, behind the words of that message."""


def checksum(total: int) -> int:
    """The 16 bits that OFT has for content whose `words` sum up to `total` (sheet 9), 0 where it may have 0xFFFF."""
    return -total % 0xFFFF


def words(data: bytes, at: int) -> int:
    """The sum of the 16-bit words of `data`, which begins at byte `at` of a file, modulo 65,535.

    65,536 is 1 modulo 65,535, so a number of any length is the sum of its digits to that base: no loop over bytes. Read
    as little-endian (which is faster) the words have their bytes swapped, and so has their sum: times 256.
    """
    total = int.from_bytes(data, "little") % 0xFFFF
    return total if at & 1 else (total << 8) % 0xFFFF


def name_of(data: bytes) -> str:
    """A screen name for comparing: up to its NUL, without blanks, lower case (sheet 6)."""
    return "".join(htmltext.clean(htmltext.decode(data.partition(b"\0")[0], 0)[0]).split()).lower()


class OftDecoder(Wordless):
    """One connection between two users, or between one and AOL's proxy."""

    __slots__ = (
        "_blank", "_count", "_edits", "_expected", "_flow", "_limits", "_memory", "_over", "_sides", "undecryptable",
    )

    def __init__(self, flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str]) -> None:
        self._flow = flow
        self._limits = limits
        self._memory = memory
        self._edits = edits
        self._expected = flow.expected
        self._sides = (_Side(not flow.from_start), _Side(not flow.from_start))
        self.undecryptable: str | None = None
        """Live, what is looked over for the next header was read by nobody."""
        self._count = 0
        self._blank: list[str | None] = [None, None]
        """The picture of which NULs are sent."""
        self._over = False
        """A file was refused: nothing is sent any more."""

    # -- bytes to frames

    def feed(self, chunk: Chunk) -> list[Frame]:
        """One frame for each header, each message, each piece of content (at most `limits.part_bytes`)."""
        way, at, data = chunk.way, chunk.at, chunk.data
        side = self._sides[way]
        frames: list[Frame] = []
        if chunk.gap:
            self._gap(side, way, at, chunk.gap, frames)
        if side.held:
            side.held += data
            if len(side.held) < side.need and not chunk.end and not (side.looked and self._looks(side)):
                return frames
            side.looked = 0
            data = bytes(side.held)
            side.held.clear()
        pos, size = 0, len(data)
        while pos < size:
            stop = _STEPS[side.mode](self, side, way, at, data, pos, frames)
            if stop < 0:
                break
            pos = stop
        if pos < size:
            if chunk.end:
                self._raw(way, at, data[pos:], "truncated", frames)
            else:
                side.held += data[pos:] if pos else data
        if chunk.end:
            self._end(side, way, at, frames)
        return frames

    def pending(self, way: Way) -> int:
        """Bytes of a header, or of a message's words, that are not whole."""
        return len(self._sides[way].held)

    def _raw(self, way: Way, at: float, data: bytes, kind: str, frames: list[Frame]) -> None:
        """Bytes that are no whole frame."""
        size = self._limits.part_bytes
        odd = (Oddity(f"oft.{kind}"),)
        for start in range(0, len(data), size):
            frames.append(Frame(way, at, data[start:start + size], f"oft.{kind}", (), odd, note=_PLAIN))

    def _fault(
        self, side: _Side, way: Way, at: float, data: bytes, pos: int, name: str, detail: str, frames: list[Frame],
    ) -> int:
        side.mode = _DEAD
        frames.append(Frame(way, at, data[pos:], BROKEN, fault=PeerError(f"oft.{name}", detail)))
        return len(data)

    def _looks(self, side: _Side) -> bool:
        """Whether the words of the message that is held end in what was not looked at yet."""
        start = side.looked - len(_BINARY) + 1
        side.looked = max(side.looked, len(side.held))
        return bytes(side.held[start:]).lower().find(_BINARY) >= 0

    def _need(self, side: _Side, count: int) -> int:
        side.need = count
        return -1

    def _dead(self, side: _Side, way: Way, at: float, data: bytes, pos: int, frames: list[Frame]) -> int:
        del side
        self._raw(way, at, data[pos:], "unread", frames)
        return len(data)

    def _lost(self, side: _Side, way: Way, at: float, data: bytes, pos: int, frames: list[Frame]) -> int:
        """On to the next header that can be believed."""
        at_oft, at_odc = data.find(OFT, pos), data.find(ODC, pos)
        stop = -1
        while at_oft >= 0 or at_odc >= 0:
            found = min(at for at in (at_oft, at_odc) if at >= 0)
            if len(data) - found < 10:
                stop = found
                break
            if _header(data[found:found + 10]) is Match.STRONG:
                side.mode = _HEAD
                stop = found
                break
            if found == at_oft:
                at_oft = data.find(OFT, found + 1)
            else:
                at_odc = data.find(ODC, found + 1)
        if stop < 0:
            # A header may begin in the last three bytes.
            stop = max(pos, len(data) - 3)
            while stop < len(data) and not (OFT.startswith(data[stop:]) or ODC.startswith(data[stop:])):
                stop += 1
        if stop > pos:
            self._raw(way, at, data[pos:stop], "unread", frames)
            if self._flow.file is None:
                self.undecryptable = "bytes behind a fault that no header tells of"
        if side.mode == _LOST and stop < len(data):
            if stop > pos:
                return stop
            return self._need(side, len(data) - stop + 1)
        return stop

    def _gap(self, side: _Side, way: Way, at: float, gap: int, frames: list[Frame]) -> None:
        """Bytes were lost. Inside a file they are counted, else the next header must be looked for."""
        if side.mode == _DEAD:
            return
        if side.held:
            self._raw(way, at, bytes(side.held), "damaged", frames)
            side.held.clear()
            side.looked = 0
        elif side.mode in (_FILE, _DATA):
            file = side.file
            assert file is not None
            if not file.begun:
                self._begin(side, way, at, frames)
            file.why = file.why or "bytes were lost"
            if gap < file.left:
                file.left -= gap
                file.gap += gap
                file.checksum = 0
                side.payload -= gap if side.mode == _DATA else 0
                return
            self._finish(side, way, at, frames)
        side.mode, side.file, side.met = _LOST, None, True

    def _end(self, side: _Side, way: Way, at: float, frames: list[Frame]) -> None:
        """This end writes no more."""
        file = side.file
        if file is None or side.mode not in (_FILE, _DATA):
            return
        if not file.left and not file.begun:
            self._empty(side, way, at, frames)
        elif file.begun:
            file.why = file.why or f"{file.left} bytes did not come"
            self._finish(side, way, at, frames)

    # -- headers

    def _head(self, side: _Side, way: Way, at: float, data: bytes, pos: int, frames: list[Frame]) -> int:
        """A header of OFT or ODC (with its words), or a frame of the proxy."""
        rest = len(data) - pos
        if rest < 4:
            return self._need(side, 4)
        magic = data[pos:pos + 4]
        if magic == OFT:
            if rest < 8:
                return self._need(side, 8)
            length = data[pos + 4] << 8 | data[pos + 5]
            if not _OFT_BYTES[0] <= length <= _OFT_BYTES[1]:
                return self._fault(side, way, at, data, pos, "header_length", f"OFT header of {length}", frames)
            if rest < length:
                return self._need(side, length)
            side.met = True
            raw = data[pos:pos + length]
            frame = self._oft(side, way, at, raw)
            if frame is None:
                return self._fault(
                    side, way, at, data, pos, "resumed_other", "what is resumed is not what was prompted", frames)
            frames.append(frame)
            return pos + length
        if magic == ODC:
            return self._odc(side, way, at, data, pos, frames)
        if magic[2:] == ARS and not side.met:
            length = 2 + (magic[0] << 8 | magic[1])
            if not _ARS_BYTES[0] <= length <= _ARS_BYTES[1]:
                return self._fault(side, way, at, data, pos, "header_length", f"proxy frame of {length}", frames)
            if rest < length:
                return self._need(side, length)
            frames.append(self._ars(way, at, data[pos:pos + length]))
            return pos + length
        return self._fault(side, way, at, data, pos, "not_oft", "no header where one must be", frames)

    def _ars(self, way: Way, at: float, raw: bytes) -> Frame:
        """A frame of the proxy: create and join name the proposal that this connection is for."""
        kind = raw[4] << 8 | raw[5]
        odd: tuple[Oddity, ...] = ()
        if kind == 1:
            odd = (Oddity("oft.proxy_error"),)
        elif kind in (2, 4):
            name = string8(raw, 12, len(raw))
            if name is not None:
                start = name[1] + (2 if kind == 4 else 0)
                self._known(raw[start:start + 8], at)
        return Frame(way, at, raw, f"oft.ars.{kind}", (), odd, note=_PLAIN)

    def _known(self, cookie: bytes, at: float) -> Expect | None:
        """What announced this connection: by its address, else by the proposal's cookie."""
        if self._expected is None and len(cookie) == 8 and any(cookie):
            found = self._memory.get(expect_key("oft", cookie.hex()), at)
            if isinstance(found, Expect):
                self._expected = found
        return self._expected

    # -- OFT

    def _oft(self, side: _Side, way: Way, at: float, raw: bytes) -> Frame | None:
        """A header of OFT; None: it resumes another file than was prompted."""
        kind = raw[6] << 8 | raw[7]
        other = self._sides[way.other]
        events: tuple[Event, ...] = ()
        odd: list[Oddity] = []
        note: object = _PLAIN
        edit: str | None = None
        if kind in (PROMPT, LISTING):
            events = self._prompt(side, at, raw, odd)
            note = _OFFER
        elif kind == RESUME_ACCEPT:
            file = side.file
            if file is not None and file.asked == _RESUMING:
                offset = _U32.unpack_from(raw, 60)[0]
                if _U32.unpack_from(raw, 32)[0] != file.size or offset > file.size:
                    return None
                file.asked = _AGREED
                file.offset, file.left = offset, file.size - offset
                if offset:
                    file.checksum = 0
                    file.why = f"resumed at {offset}"
                side.mode = _FILE
        elif kind in (ACK, LISTING_ACK):
            self._ack(other, at, raw, odd)
        elif kind == RESUME:
            file = other.file
            if file is not None and file.asked == _PROMPTED:
                if file.begun:
                    file.why = file.why or "resumed after it had begun"
                else:
                    file.asked = _RESUMING
                    other.mode = _HEAD
                if WHOLE_FILE in self._edits and any(raw[60:64]):
                    edit, note = WHOLE_FILE, _Asks()
        elif kind in (DONE, LISTING_DONE):
            self._done(other, raw, odd)
        elif kind not in _TYPES:
            odd.append(Oddity("oft.unknown_type", f"type {kind:04x}"))
        return Frame(way, at, raw, f"oft.{kind:04x}", events, tuple(odd), note=note, edit=edit)

    def _prompt(self, side: _Side, at: float, raw: bytes, odd: list[Oddity]) -> tuple[Event, ...]:
        """A file is about to be sent: an offer of its own, unless it is the very one that was announced."""
        size = _U32.unpack_from(raw, 32)[0]
        name, hidden = _file_name(raw)
        expected = self._known(raw[8:16], at)
        announced = expected.offer if expected is not None else None
        texts = (Text("file_name", name, None, False),) if name else ()
        if hidden:
            odd.append(Oddity("oft.hidden_name"))
            texts = (*texts, Text("data", hidden, None, False))
        known = announced if not hidden else None
        if known is not None and (known.file_name, known.size) != (name, size):
            known = None
        offer = known or self._offer(announced, name, size, texts)
        file = _File(offer, expected, size, _U32.unpack_from(raw, 40)[0])
        if any(raw[16:20]):
            odd.append(Oddity("oft.not_readable", "encrypted or compressed"))
            file.why, file.checksum = "encrypted or compressed", 0
        if _U32.unpack_from(raw, 28)[0] < size:
            odd.append(Oddity("oft.total_size"))
        if any(raw[48:52]):
            odd.append(Oddity("oft.resource_fork"))
        side.file, side.mode = file, _FILE
        return (offer,) if known is None else ()

    def _offer(
        self, announced: FileOffer | None, name: str, size: int, texts: tuple[Text, ...],
    ) -> FileOffer:
        if announced is None:
            server = self._flow.server
            host = f"[{server.ip}]" if ":" in server.ip else server.ip
            return FileOffer(
                file_name=name, size=size, method="oft", address=f"{host}:{server.port}", texts=texts)
        # What was said about it (a description) is judged with the proposal.
        return msgspec.structs.replace(announced, file_name=name, size=size, texts=texts)

    def _ack(self, other: _Side, at: float, raw: bytes, odd: list[Oddity]) -> None:
        """The file is asked for; here the receiver names the proposal."""
        file = other.file
        if file is None or file.asked != _PROMPTED:
            if other.mode != _LOST:
                odd.append(Oddity("oft.unasked_ack"))
            return
        file.asked = _AGREED
        if file.begun:
            return
        if file.expected is None:
            expected = self._known(raw[8:16], at)
            if expected is not None and expected.offer is not None:
                file.offer = self._offer(expected.offer, file.offer.file_name, file.size, file.offer.texts)
            file.expected = expected

    def _done(self, other: _Side, raw: bytes, odd: list[Oddity]) -> None:
        """The receiver has it all: of the last file, or of the one that was prompted without asking for any of it."""
        file = other.file
        if file is not None and file.asked == _PROMPTED and not file.begun:
            other.file, other.mode = None, _HEAD
            return
        if other.sent is None:
            return
        size, check = other.sent
        received, got = _U32.unpack_from(raw, 60)[0], _U32.unpack_from(raw, 64)[0]
        if received != size:
            odd.append(Oddity("oft.received_size", f"{received} of {size} bytes"))
        if check and got not in UNSET and got != check:
            odd.append(Oddity("oft.received_checksum"))
        other.sent = None

    # -- content

    def _begin(
        self, side: _Side, way: Way, at: float, frames: list[Frame], raw: bytes = b"", odd: tuple[Oddity, ...] = (),
    ) -> None:
        """The first byte of a file is next. `raw`: the tag in front of it (direct IM)."""
        file = side.file
        assert file is not None
        self._count += 1
        file.transfer = str(self._count)
        file.begun = True
        if side.mode == _FILE and file.asked == _PROMPTED:
            odd = (Oddity("oft.early_content"),)
        start = FileStart(transfer=file.transfer, offer=file.offer, expected=file.expected, offset=file.offset)
        # A prompt has been the offer; what lies in a message was not offered before.
        events = (start,) if side.mode == _FILE else (file.offer, start)
        frames.append(Frame(way, at, raw, "oft.start", events, odd, note=_CONTENT))

    def _content(self, side: _Side, way: Way, at: float, data: bytes, pos: int, frames: list[Frame]) -> int:
        """Content of a file, in pieces as they come."""
        file = side.file
        assert file is not None
        if not file.left:
            self._empty(side, way, at, frames)
            return pos
        if not file.begun:
            self._begin(side, way, at, frames)
        stop = min(pos + file.left, pos + self._limits.part_bytes, len(data))
        part = data[pos:stop]
        if file.checksum:
            file.sum += words(part, file.count)
        size = stop - pos
        file.count += size
        file.left -= size
        frames.append(Frame(
            way, at, part, "oft.content", (FilePart(transfer=file.transfer, data=part, gap=file.gap),), note=_CONTENT))
        file.gap = 0
        if side.mode == _DATA:
            side.payload -= size
            look = (file.tail + part).lower()
            file.tail = look[1 - len(_TAG):]
            if _TAG in look:
                file.why = file.why or "holds what looks like another file of its message"
        if not file.left:
            self._finish(side, way, at, frames)
        return stop

    def _empty(self, side: _Side, way: Way, at: float, frames: list[Frame]) -> None:
        """A file (or what is left of one) of no bytes: transferred when it was asked for."""
        file = side.file
        assert file is not None
        if file.asked == _AGREED:
            self._begin(side, way, at, frames)
            self._finish(side, way, at, frames)
        else:
            side.file, side.mode = None, _HEAD

    def _finish(self, side: _Side, way: Way, at: float, frames: list[Frame]) -> None:
        """The content ends here."""
        file = side.file
        assert file is not None
        odd: tuple[Oddity, ...] = ()
        if file.checksum:
            told, found = file.checksum >> 16, checksum(file.sum)
            if not file.left and (told - found) % 0xFFFF:
                odd = (Oddity("oft.checksum", f"{found:04x}, said {told:04x}"),)
        if side.mode == _FILE:
            side.sent = (file.size, file.checksum) if not file.why else None
            side.mode = _HEAD
        else:
            side.mode = _TAGS if side.payload else _HEAD
        end = FileEnd(transfer=file.transfer, complete=not file.why, detail=file.why)
        frames.append(Frame(way, at, b"", "oft.end", (end,), odd, note=_CONTENT))
        side.file = None

    # -- ODC

    def _odc(self, side: _Side, way: Way, at: float, data: bytes, pos: int, frames: list[Frame]) -> int:
        """A header of direct IM with the words behind it, up to where bytes of pictures begin."""
        rest = len(data) - pos
        if rest < 76:
            return self._need(side, 76)
        length = data[pos + 4] << 8 | data[pos + 5]
        if not _ODC_BYTES[0] <= length <= _ODC_BYTES[1]:
            return self._fault(side, way, at, data, pos, "header_length", f"ODC header of {length}", frames)
        payload = _U32.unpack_from(data, pos + 28)[0]
        most = self._limits.frame_bytes
        begin, stop = pos + length, pos + length + payload
        found = data[begin:min(stop, pos + most)].lower().find(_BINARY)
        if found < 0 and rest < min(length + payload, most):
            side.looked = max(rest, length + len(_BINARY) - 1)
            return self._need(side, min(length + payload, most))
        if found < 0 and stop - pos > most:
            return self._fault(side, way, at, data, pos, "long_text", f"a message of {payload} bytes", frames)
        end = begin + found if found >= 0 else stop
        cut = end + len(_BINARY) if found >= 0 else stop
        side.met = True
        frames.append(self._words(side, way, at, data[pos:cut], length, end - pos))
        side.payload = stop - cut
        side.files = side.ends = 0
        side.mode = _TAGS if side.payload else _HEAD
        return cut

    def _words(self, side: _Side, way: Way, at: float, raw: bytes, head: int, end: int) -> Frame:
        """What somebody says, or that he is typing."""
        flags = raw[38] << 8 | raw[39]
        self._known(raw[12:20], at)
        odd = () if self._people(side, way, raw[44:76]) else (Oddity("oft.other_name"),)
        sender, recipients, conversation = side.people
        if len(raw) == head:
            if not flags & 0x02:
                return Frame(way, at, raw, "oft.odc.hello", (), odd, note=_PLAIN)
            state = "composing" if flags & 0x08 else "paused" if flags & 0x04 else "active"
            typing = Typing(state=state, sender=sender, recipients=recipients)
            return Frame(way, at, raw, "oft.odc.typing", (typing,), odd, note=_Said(head, end, "", "ascii", ()))
        text, codec = htmltext.decode(raw[head:end], raw[32] << 8 | raw[33])
        texts, places = htmltext.texts(text)
        if other := htmltext.otherwise(text, codec):
            texts, places = (*texts, Text("body", other, None, False)), (*places, None)
        side.images = _images(text) if end < len(raw) else {}
        message = Message(
            kind="auto_response" if flags & 0x01 else "chat", sender=sender, recipients=recipients,
            conversation=conversation, texts=texts, written=htmltext.written(text, texts),
            encryption=htmltext.encryption(texts[0].plain if texts else ""), answerable=not flags & 0x01,
        )
        return Frame(way, at, raw, "oft.odc", (message,), odd, note=_Said(head, end, text, codec, places))

    def _people(self, side: _Side, way: Way, field: bytes) -> bool:
        """Who writes to whom: the name in the header, and the other one of the two who arranged this. False: the name
        is neither's."""
        side.name = sender = name_of(field) or side.name
        peer = self._sides[way.other].name
        conversation, known = None, True
        offer = self._expected.offer if self._expected is not None else None
        if offer is not None:
            conversation = offer.conversation
            pair = {name for name in (offer.sender, *offer.recipients) if name is not None}
            known = sender in pair or len(pair) < 2
            if sender in pair and len(pair) == 2:
                peer = next(name for name in pair if name != sender)
        if conversation is None:
            conversation = sender if way is DOWN else peer
        side.people = (sender, (peer,) if peer is not None else (), conversation)
        return known

    def _tags(self, side: _Side, way: Way, at: float, data: bytes, pos: int, frames: list[Frame]) -> int:
        """Behind the words: the tag of a file, or the end of one. What is neither is content, too."""
        stop = min(len(data), pos + min(side.payload, self._limits.part_bytes))
        begin = pos
        while begin < stop and data[begin] in _BLANK:
            begin += 1
        if begin > pos:
            frames.append(Frame(way, at, data[pos:begin], "oft.odc.tag", note=_PLAIN))
            self._took(side, begin - pos)
            return begin
        want = min(TAG_BYTES, side.payload)
        if len(data) - pos < want:
            return self._need(side, want)
        end = data.find(b">", pos, pos + want) + 1
        raw = data[pos:end]
        if raw.lower() in _ENDS and side.ends < side.files + len(_ENDS):
            side.ends += 1
            frames.append(Frame(way, at, raw, "oft.odc.tag", note=_PLAIN))
            self._took(side, len(raw))
            return end
        tag = raw.decode("latin-1")
        if tag[:5].lower() == "<data" and HTML_IMAGE.fullmatch(tag) and side.files < FILES:
            found = _attributes(tag)
            told = found.get("size", "")
            if told.isascii() and told.isdigit() and len(told) < 11:
                self._took(side, len(raw))
                size = int(told)
                file = _File(self._picture(side, side.images.get(found.get("id", ""), ""), size), self._expected, size)
                if size > side.payload:
                    file.left, file.why = side.payload, "larger than the message that holds it"
                self._picture_begins(side, way, at, file, frames, raw)
                return end
        rest = _File(self._picture(side, "", side.payload), self._expected, side.payload)
        rest.why = "bytes that no tag tells of"
        self._picture_begins(side, way, at, rest, frames, b"", (Oddity("oft.untold_bytes"),))
        return pos

    def _picture_begins(
        self, side: _Side, way: Way, at: float, file: _File, frames: list[Frame], raw: bytes,
        odd: tuple[Oddity, ...] = (),
    ) -> None:
        side.files += 1
        side.file, side.mode = file, _DATA
        file.asked = _AGREED
        self._begin(side, way, at, frames, raw, odd)
        if not file.left:
            self._finish(side, way, at, frames)

    def _took(self, side: _Side, size: int) -> None:
        side.payload -= size
        side.mode = _TAGS if side.payload else _HEAD

    def _picture(self, side: _Side, name: str, size: int) -> FileOffer:
        sender, recipients, conversation = side.people
        texts = (Text("file_name", name, None, False),) if name else ()
        return FileOffer(
            sender=sender, recipients=recipients, conversation=conversation, file_name=name, size=size,
            method="direct_im", texts=texts)

    # -- frames to bytes

    def apply(self, frame: Frame, verdicts: Sequence[Verdict]) -> list[Act]:
        """The frame as it came, or without its words, or (a file is refused) the end of the connection.

        A picture that is refused before any of it was seen becomes NULs: so the message around it stays what its
        header says. No answer is owed to anybody: a sender waits for nothing but the receiver's 0x0204.
        """
        if self._over:
            return []
        way, raw, note = frame.way, frame.raw, frame.note
        if note is _CONTENT and self._blank[way] is not None:
            event = frame.events[-1]
            if type(event) is FilePart:
                return [Send(way, bytes(len(raw)))]
            if type(event) is FileEnd:
                self._blank[way] = None
                return []
        worst = max((verdict.action for verdict in verdicts), default=Action.PASS)
        if type(note) is _Said:
            if worst >= Action.BLOCK:
                return _refused(way, raw, note, verdicts[0].placeholder)
            if worst is Action.REDACT:
                text = htmltext.masked(note.text, note.places, verdicts[0].masks)
                return [Send(way, _said(raw, note, htmltext.encode(text, note.codec)))]
        elif worst >= Action.BLOCK:
            first, last = frame.events[0], frame.events[-1]
            if type(first) is FileOffer and type(last) is FileStart:
                self._blank[way] = last.transfer
                return [Send(way, raw)] if raw else []
            self._over = True
            return [Cut("a file is refused")]
        elif type(note) is _Asks:
            return [Send(way, raw[:60] + _U32.pack(0) + _U32.pack(0xFFFF0000) + raw[68:])]
        return [Send(way, raw)] if raw else []


_STEPS = (
    OftDecoder._head, OftDecoder._content, OftDecoder._content, OftDecoder._tags, OftDecoder._lost, OftDecoder._dead)


# -- small helpers


def _said(raw: bytes, note: _Said, words: bytes, charset: int | None = None) -> bytes:
    """A direct message with other words: the length of the payload is made true."""
    size = _U32.unpack_from(raw, 28)[0] + len(words) - (note.end - note.head)
    label = raw[32:34] if charset is None else _U16.pack(charset)
    return raw[:28] + _U32.pack(size) + label + raw[34:note.head] + words + raw[note.end:]


def _refused(way: Way, raw: bytes, note: _Said, placeholder: str | None) -> list[Act]:
    """A direct message without its words. Where files follow inside it the frame stays: they are judged by
    themselves, and may have been asked about before the words were."""
    if placeholder is not None and note.end > note.head:
        words, charset = htmltext.placeholder(placeholder)
        return [Send(way, _said(raw, note, words, charset))]
    if note.end < len(raw):
        return [Send(way, _said(raw, note, b""))]
    return []


def _file_name(raw: bytes) -> tuple[str, str]:
    """(name with / between its parts, what stands behind its end) of an OFT header."""
    field, encoding = raw[192:], raw[188] << 8 | raw[189]
    if encoding == 2:
        end = next((i for i in range(0, len(field) - 1, 2) if not field[i] and not field[i + 1]), len(field))
        name = htmltext.decode(field[:end], 2)[0]
    else:
        end = field.find(b"\0")
        end = len(field) if end < 0 else end
        name = htmltext.decode(field[:end], encoding)[0]
    hidden = htmltext.clean(htmltext.decode(field[end:].strip(b"\0"), 0)[0])
    return htmltext.clean(name.replace("\1", "/")), hidden


def _attributes(tag: str) -> dict[str, str]:
    """id, src and size of a tag; the first of each."""
    found: dict[str, str] = {}
    for each in HTML_ATTRIBUTE.finditer(tag):
        found.setdefault(each.group(1).lower(), each.group(each.lastindex or 0))
    return found


def _images(text: str) -> dict[str, str]:
    """Id -> name of the pictures that a message shows."""
    found: dict[str, str] = {}
    for tag in HTML_IMAGE.finditer(text):
        each = _attributes(tag.group())
        if "id" in each and len(found) < FILES:
            found.setdefault(each["id"], htmltext.clean(each.get("src", "")))
    return found


# -- recognising


def _header(data: bytes) -> Match:
    """Whether the first bytes of a way are a header of OFT, ODC or the proxy (sheet 2)."""
    start = data[:4]
    if start in (OFT, ODC):
        if len(data) < 8:
            return Match.MORE
        length, kind = data[4] << 8 | data[5], data[6] << 8 | data[7]
        if start == OFT:
            return Match.STRONG if 0x0100 <= length <= 0x01FF and kind in _TYPES else Match.NO
        return Match.STRONG if length == 0x004C and kind == 1 else Match.NO
    if len(data) < 4 and (OFT.startswith(start) or ODC.startswith(start)):
        return Match.MORE
    if len(data) < 10:
        return Match.MORE if data[:1] in (b"", b"\0", b"\1") and ARS.startswith(data[2:4]) else Match.NO
    if data[2:4] != ARS or not 10 <= data[0] << 8 | data[1] <= 0x0180 or not 0 < data[4] << 8 | data[5] < 6:
        return Match.NO
    return Match.STRONG if data[6:10] == b"\0\0\0\0" else Match.WEAK


def probe(up: bytes, down: bytes) -> Match:
    """OFT, ODC or ARS on any port, from the first bytes of either side; either may speak first."""
    if not up and not down:
        return Match.MORE
    return max(_header(data) for data in (up, down) if data)


SPEC = Spec(
    name="oft",
    title="OFT (files of AIM and ICQ), direct IM",
    probe=probe,
    decoder=OftDecoder,
    ports=frozenset({4443}),
    signs_on=False,
    can={
        "message": Can(drop=True, mask=True, placeholder=True, hold=True),
        "typing": Can(drop=True),
        "file": Can(drop=True),
    },
    edits=(Edit(WHOLE_FILE, "who asks for the rest of a file is given all of it, so that all of it is seen"),),
    not_decoded=("encrypted or compressed content", "file listings as such", "resource forks", "OFT3, ODC3"),
    parent="oscar",
)
