"""Whole HTTP/1.1 messages with exact bytes, read as strictly as all readers of them agree (RFC 9112 3, 5, 6, 7.1).

For streams in which each request and each response holds something that is read whole (BOSH). What two readers might
take differently is an HttpFault: bare CR or LF, NUL, folded lines, blanks around a name, two lengths, a length beside
`Transfer-Encoding`, any transfer coding but `chunked`, chunk extensions, trailers, fields that some take for a length.
Each byte is looked at a bounded number of times, however the bytes are cut; at most `limit` bytes are held.
"""

from __future__ import annotations

from collections.abc import Iterable

CRLF = b"\r\n"
_END = b"\r\n\r\n"
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""What a field's name is made of (RFC 9110 5.6.2)."""
_CONTROLS = bytes((*range(9), *range(10, 32), 127))
"""Never in a head (RFC 9110 5.5), and ends of lines or blanks for some who read it all the same."""
_LENGTH, _CODING = b"content-length", b"transfer-encoding"
_OF_BODY = frozenset((_LENGTH, _CODING, b"content-md5", b"digest", b"content-digest", b"repr-digest", b"etag"))
"""Fields that say something of the bytes of a body: wrong for another one."""
_HEX = b"0123456789abcdefABCDEF"
_BODILESS = frozenset({b"100", b"102", b"103", b"204", b"304"})
"""What has no body whatever its head says (RFC 9112 6.3)."""
_DIGITS = 15
_CHUNK_DIGITS = 8

Fields = dict[bytes, list[bytes]]
"""Name in lower case -> its values, without white space around them."""


class HttpFault(Exception):
    """Bytes that readers take differently. `name` says which."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class HttpUnit:
    """One message: `raw` all its bytes, `head` those up to the empty line, `body` what its framing holds."""

    __slots__ = ("body", "fields", "first", "head", "raw")

    def __init__(self, raw: bytes, head: bytes, first: bytes, fields: Fields, body: bytes) -> None:
        self.raw = raw
        self.head = head
        self.first = first
        """The request line or the status line."""
        self.fields = fields
        self.body = body

    def words(self, name: bytes) -> list[bytes]:
        """The comma-separated words of a field, in lower case, without empty ones."""
        said = b",".join(self.fields.get(name, ())).lower().split(b",")
        return [word for each in said if (word := each.strip(b" \t"))]

    def written(self, body: bytes | None, without: Iterable[bytes] = ()) -> bytes:
        """The message with another body (None: its own, framed as it came), fields named in `without` left out."""
        gone = frozenset(without)
        lines = self.head[:-len(_END)].split(CRLF)
        kept = [lines[0]]
        for line in lines[1:]:
            name = line.partition(b":")[0].lower()
            if name not in gone and (body is None or name not in _OF_BODY):
                kept.append(line)
        if body is None:
            return CRLF.join(kept) + _END + self.raw[len(self.head):]
        kept.append(b"Content-Length: %d" % len(body))
        return CRLF.join(kept) + _END + body


class HttpUnits:
    """One way of a connection. Feed with `push`, take with `take` (or `take_part`) until it gives None."""

    __slots__ = (
        "_body", "_buffer", "_chunk", "_fields", "_final", "_first", "_head", "_head_limit", "_left", "_limit", "_seen",
        "_streams",
    )

    def __init__(self, head_limit: int, limit: int) -> None:
        """`head_limit`, `limit`: bytes of the longest head, and of the longest message with it."""
        self._head_limit = min(head_limit, limit)
        self._limit = limit
        self._buffer = bytearray()
        self._renew()

    def _renew(self) -> None:
        self._head = 0
        """Bytes of the head of the message under way; 0: it is not whole."""
        self._first = b""
        self._fields: Fields = {}
        self._seen = 0
        """Bytes of the buffer that need no second look."""
        self._left: int | None = None
        """Length of the body; None: it comes in chunks."""
        self._chunk = -1
        """Of a message that is read whole: bytes of the chunk. Of one that is passed on as it comes: those of them that
        have not been passed on. -1: a size line is due."""
        self._body = bytearray()
        self._final = False
        """The chunk is the last one."""
        self._streams = False
        """The head of a message that is passed on as it comes has gone; more of it is to come."""

    @property
    def pending(self) -> int:
        """Bytes held that are not yet a message."""
        return len(self._buffer)

    @property
    def fields(self) -> Fields | None:
        """The fields of the message under way, once its head is whole."""
        return self._fields if self._head else None

    def push(self, data: bytes) -> None:
        """Take in bytes."""
        self._buffer += data

    def rest(self) -> bytes:
        """All bytes held, which leave; reading begins anew."""
        data = bytes(self._buffer)
        self._buffer.clear()
        self._renew()
        return data

    def take(self, *, request: bool) -> HttpUnit | None:
        """The next whole message, None when more bytes are needed. Raises HttpFault; `rest()` then has all the bytes.

        A response without a body (RFC 9112 6.3) is one to a request that this reader would not have let go (HEAD), or
        has a status that says so.
        """
        if not self._head and not self._read_head(request):
            return None
        end = self._read_body()
        if end is None:
            return None
        raw = bytes(self._buffer[:end])
        head = raw[:self._head]
        unit = HttpUnit(raw, head, self._first, self._fields, bytes(self._body) if self._left is None else
                        raw[self._head:])
        del self._buffer[:end]
        self._renew()
        return unit

    def take_part(self, most: int, *, bodiless: bool) -> tuple[bytes, bytes, bool] | None:
        """The next bytes of a response that is passed on as it comes: its whole head, then what there is of its body.

        (bytes, the status line with those of the head, whether the response ends with them); None: more are needed. A
        body is as long as it likes, and may end with the connection. At most `most` bytes of it; `bodiless`: the answer
        to HEAD. Raises HttpFault.
        """
        buffer = self._buffer
        if not self._streams:
            if not self._read_head(False, passed=True, bodiless=bodiless):
                return None
            data, first = bytes(buffer[:self._head]), self._first
            del buffer[:self._head]
            if self._left == 0:
                self._renew()
                return data, first, True
            self._streams = True
            return data, first, False
        if self._left is None:
            size, ended = self._chunks(most)
        else:
            size = min(len(buffer), most, self._left if self._left >= 0 else most)
            self._left -= size if self._left > 0 else 0
            ended = self._left == 0
        if not size:
            return None
        data = bytes(buffer[:size])
        del buffer[:size]
        if ended:
            self._renew()
        return data, b"", ended

    def _chunks(self, most: int) -> tuple[int, bool]:
        """How many of the bytes held are read as chunks, and whether the last one ends with them."""
        buffer, at = self._buffer, 0
        while at < most:
            if self._chunk < 0:
                line = self._size_line(at)
                if line < 0:
                    break
                self._chunk = int(bytes(buffer[at:line]), 16)
                self._final = not self._chunk
                at = line + 2
            step = min(self._chunk, len(buffer) - at, most - at) if self._chunk else 0
            at += step
            self._chunk -= step
            if self._chunk or len(buffer) - at < 2:
                if not self._chunk and len(buffer) > at and buffer[at] != 0x0D:
                    raise HttpFault("chunk")
                break
            if buffer[at:at + 2] != CRLF:
                raise HttpFault("chunk")    # behind the last one: a trailer
            at, self._chunk = at + 2, -1
            if self._final:
                return at, True
        return at, False

    def _size_line(self, at: int) -> int:
        """Index of the end of the line at `at` that says how long a chunk is; -1: it is not there yet."""
        buffer = self._buffer
        line = buffer.find(CRLF, at, at + _CHUNK_DIGITS + 2)
        if line < 0:
            if len(buffer) - at >= _CHUNK_DIGITS + 2 or bytes(buffer[at:]).rstrip(b"\r").translate(None, _HEX):
                raise HttpFault("chunk")
        elif line == at or bytes(buffer[at:line]).translate(None, _HEX):
            raise HttpFault("chunk")
        return line

    def _read_head(self, request: bool, *, passed: bool = False, bodiless: bool = False) -> bool:
        buffer = self._buffer
        end = buffer.find(_END, max(0, self._seen - 3), self._head_limit)
        if end < 0:
            if len(buffer) >= self._head_limit:
                raise HttpFault("head_too_long")
            self._seen = len(buffer)
            return False
        lines = bytes(buffer[:end]).split(CRLF)
        self._fields = read_fields(lines)
        self._first = lines[0]
        length, chunked = framing(self._fields)
        status = [] if request else lines[0].split(b" ", 2)[1:2]
        if passed and (bodiless or (status and status[0] in _BODILESS)):
            self._left = 0
        elif chunked:
            self._left = None
        elif length is not None:
            self._left = length
        elif request or (status and status[0] in _BODILESS):
            self._left = 0
        elif passed:
            self._left = -1
        else:
            raise HttpFault("no_length")
        if self._left != 0 and status and status[0] in _BODILESS:
            raise HttpFault("framing")  # a body that most readers do not read as one
        self._head = self._seen = end + len(_END)
        if not passed and self._left is not None and self._head + self._left > self._limit:
            raise HttpFault("too_long")
        return True

    def _read_body(self) -> int | None:
        """Index behind the message, None when more is needed."""
        buffer, size = self._buffer, len(self._buffer)
        if self._left is not None:
            return end if size >= (end := self._head + self._left) else None
        while True:
            if self._seen > self._limit:
                raise HttpFault("too_long")
            if self._chunk < 0:
                line = self._size_line(self._seen)
                if line < 0:
                    return None
                length = int(bytes(buffer[self._seen:line]), 16)
                if line + length > self._limit:
                    raise HttpFault("too_long")
                self._seen = line + 2
                self._chunk = length
            end = self._seen + self._chunk
            if size < end + 2:
                if size > end and buffer[end] != 0x0D:
                    raise HttpFault("chunk")
                return None
            if buffer[end:end + 2] != CRLF:
                raise HttpFault("chunk")    # behind the last one: a trailer
            self._body += buffer[self._seen:end]
            last = not self._chunk
            self._seen, self._chunk = end + 2, -1
            if last:
                return end + 2


def read_fields(lines: list[bytes]) -> Fields:
    """The fields of a head (its first line is not looked at but for line ends). Raises HttpFault."""
    fields: Fields = {}
    joined = b"".join(lines)
    if len(joined.translate(None, _CONTROLS)) != len(joined):
        raise HttpFault("head")
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not name or name.translate(None, _TOKEN):
            raise HttpFault("head")
        name = name.lower()
        if b"_" in name and name.replace(b"_", b"-") in (_LENGTH, _CODING):
            raise HttpFault("framing")
        fields.setdefault(name, []).append(value.strip(b" \t"))
    return fields


def framing(fields: Fields) -> tuple[int | None, bool]:
    """(length, chunked) as a head says it; (None, False): it says nothing. Raises HttpFault."""
    lengths, codings = fields.get(_LENGTH), fields.get(_CODING)
    if codings is not None:
        if lengths is not None or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise HttpFault("framing")
        return None, True
    if lengths is None:
        return None, False
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > _DIGITS:
        raise HttpFault("framing")
    return int(lengths[0]), False


__all__ = ["Fields", "HttpFault", "HttpUnit", "HttpUnits", "framing", "read_fields"]
