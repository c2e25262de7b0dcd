"""How an event is written: one JSON object a line, the same from the log, `inspector scan` and `inspector events`.

A row is what the engine makes (`Note.row`): a dict with "event", "t" (seconds since the epoch) and what belongs to its
kind; `render` gives it the head, puts every field in its place and its time in RFC 3339. Beside the fields of
docs/events.md a row may hold `spans`: [(index into texts, start, end)], what a mask has to cover in this event's texts;
None in place of the list: all of them. It is used by `private` and never written.

`shown` is the one way by which words of a peer reach a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

import msgspec

from inspector.store.fields import ALIASES, HEAD, KINDS, LISTS, SCHEMA, TIMES

Row = dict[str, Any]
Privacy = Literal["full", "masked", "none"]

_EMPTY: dict[str, Any] = {"flag!": False, "copy": "no", "encryption": {"inspectable": "full", "scheme": None}}
_PLAIN_TYPES = frozenset({"text", "number", "count", "flag", "flag!", "direction", "identity", "copy"})
"""Written as they are."""
_BARE: dict[str, Row] = {
    event: {
        field.name: [] if field.type in LISTS else _EMPTY.get(field.type) for field in (*HEAD[:5], HEAD[6], *fields)
    } for event, fields in KINDS.items()
}
"""Event -> a line of which nothing is known, all fields in their order, without "file"."""
_PLACES: dict[str, dict[str, tuple[str, str | None]]] = {
    event: {
        ALIASES.get(event, {}).get(field.name, field.name):
            (field.name, None if field.type in _PLAIN_TYPES else field.type) for field in fields
    } for event, fields in KINDS.items()
}
"""Event -> what a row calls a field -> (field, its type where it is not written as it is)."""
_KNOWN: dict[str, frozenset[str]] = {
    event: frozenset(ALIASES.get(event, {}).get(field.name, field.name) for field in (*HEAD, *fields)) | {"spans"}
    for event, fields in KINDS.items()
}
_encode = msgspec.json.Encoder().encode


def render(row: Mapping[str, Any], gateway: str | None) -> bytes:
    """The line of a row, without its line end: ASCII-safe controls, no lone surrogates, every field of its kind.

    Fields that docs/events.md does not name are left out (`unknown` tells them). Raises KeyError for an event that is
    not in the catalogue, and for a row without "t".
    """
    event = row["event"]
    if (file := row.get("file")) is None:
        line = _BARE[event].copy()
    else:
        bare = iter(_BARE[event].items())
        line = dict(next(bare) for _ in range(5)) | {"file": file} | dict(bare)
    line["event"], line["schema"], line["gateway"] = event, SCHEMA, gateway
    line["id"], line["t"], line["flow"] = row.get("id") or "", rfc3339(row["t"]), row.get("flow")
    places = _PLACES[event]
    for called, value in row.items():
        if value is not None and (place := places.get(called)) is not None:
            name, shape = place
            line[name] = value if shape is None else _shape(shape, value)
    try:
        return _visible(_encode(line))
    except (UnicodeEncodeError, TypeError):
        return _visible(_encode(_plain(line)))


def unknown(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Fields of a row that would be left out, because docs/events.md does not name them."""
    known = _KNOWN.get(row["event"], frozenset())
    return tuple(name for name in row if name not in known)


def private(row: Row, text: Privacy) -> Row:
    """The row with its words treated as `privacy.text` says: a new row, or the same one when there is nothing to do.

    full: as they are. masked: what a finding named is covered, one `*` a character; a finding without a place covers
    every word of the event. none: no words. Words are: text, texts, a file's name, the details of findings, and the
    notice; who spoke to whom and when stays. docs/events.md says the same to users.
    """
    if text == "full":
        return row
    out = {name: value for name, value in row.items() if name != "spans"}
    if row["event"] == "verdict":
        out["words"] = text
    if out.get("findings"):
        out["findings"] = [{**_finding(finding), "detail": None} for finding in out["findings"]]
    named = "name" if row["event"] == "file" else None
    if text == "none":
        for name in ("text", "texts", "notice", named):
            if name is not None and name in out:
                out[name] = None
        return out
    spans: Sequence[Sequence[int]] | None = row.get("spans", ())
    if spans is not None and not spans:
        return out
    parts: Sequence[Any] = row.get("texts") or ()
    covered = []
    for index, part in enumerate(map(_part, parts)):
        plain = part["text"] or ""
        ends = None if spans is None else [(start, end) for where, start, end in spans if where == index]
        covered.append({**part, "text": mask(plain, ends)})
    replaced = {_part(old)["text"]: new["text"] for old, new in zip(parts, covered, strict=True)}
    if "texts" in out:
        out["texts"] = covered
    for name in ("text", named):
        if name is not None and isinstance(whole := out.get(name), str):
            if whole in replaced:
                out[name] = replaced[whole]
            else:
                # Without the texts beside it the place of a span in the body is known only when it is the only text.
                out[name] = mask(whole, None if spans is None or parts else [(a, b) for _, a, b in spans])
    return out


def mask(plain: str, spans: Iterable[tuple[int, int]] | None) -> str:
    """`plain` with one `*` for each character in the spans (end exclusive, clipped); None: all but white space."""
    letters = list(plain)
    if spans is None:
        return "".join(c if c.isspace() else "*" for c in letters)
    for start, end in spans:
        start, end = max(0, start), min(len(letters), end)
        if end > start:
            letters[start:end] = "*" * (end - start)
    return "".join(letters)


def rfc3339(t: float) -> str:
    """Seconds since the epoch as RFC 3339 UTC with microseconds; outside the years 1970 to 9999 the nearest of them."""
    micros = round(t * 1e6) if 0 <= t < _LAST else (0 if not t >= _LAST else _LAST * 1_000_000 - 1)
    second, micro = divmod(micros, 1_000_000)
    return f"{_second(second)}.{micro:06d}Z"


_LAST = 253402300800


@lru_cache(maxsize=256)
def _second(second: int) -> str:
    return datetime.fromtimestamp(min(second, _LAST - 1), UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _shape(shape: str, value: Any) -> Any:
    """A value that is not written as it is: times, addresses, and lists of objects with fields of their own."""
    if shape == "way" or shape == "action":
        return _word(value)
    if shape == "texts":
        return list(value)
    if shape in TIMES:
        return rfc3339(value)
    if shape == "parts":
        return [_part(item) for item in value]
    if shape == "findings":
        return [_finding(item) for item in value]
    if shape == "hits":
        return [{"rule": _of(item, "rule"), "action": _word(_of(item, "action")),
                 "mode": _of(item, "mode", "enforce")} for item in value]
    if shape == "evidence":
        return [{"rule": _of(item, "rule"), "text": _of(item, "text"), "points": _of(item, "points")} for item in value]
    if shape == "hashes":
        return [{"algorithm": item[0], "value": item[1]} if isinstance(item, (tuple, list))
                else {"algorithm": _of(item, "algorithm"), "value": _of(item, "value")} for item in value]
    if shape == "address":
        return address(value)
    if shape == "encryption":
        return {"inspectable": _of(value, "inspectable", "full"), "scheme": _of(value, "scheme")}
    raise KeyError(shape)


def address(value: Any) -> Row:
    """An address as a line has it, from a mapping or an object of the model."""
    return {"ip": _of(value, "ip"), "port": _of(value, "port")}


def _of(item: Any, name: str, default: Any = None) -> Any:
    """A field of a mapping or of an object of the model."""
    if type(item) is dict or isinstance(item, Mapping):
        return item.get(name, default)
    return getattr(item, name, default)


def _word(value: Any) -> Any:
    """A member of the model's enumerations (Way, Action) by its name in the log."""
    return value if isinstance(value, str) else value.name.lower()


def _part(item: Any) -> Row:
    """A text with its part: from a row ("text") or from model.Text (`plain`)."""
    text = _of(item, "text")
    return {"part": _of(item, "part"), "text": _of(item, "plain") if text is None else text, "lang": _of(item, "lang")}


def _finding(item: Any) -> Row:
    return {
        "detector": _of(item, "detector"), "rule": _of(item, "rule"), "severity": _of(item, "severity"),
        "pack": _of(item, "pack"), "detail": _of(item, "detail") or None, "tags": list(_of(item, "tags") or ()),
    }


def _plain(value: Any) -> Any:
    """The same value with what JSON cannot hold made harmless: lone surrogates, foreign objects."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value).encode("utf-8", "replace").decode()


# ------------------------------------------------------------------------------------------------ on a terminal


class _Escapes(dict[int, str]):
    """What stands for a character that must not reach a terminal; the table of those met stays small."""

    def __init__(self, json: bool) -> None:
        super().__init__()
        self.json = json

    def __missing__(self, code: int) -> str:
        if len(self) > 4096:
            self.clear()
        letter = chr(code)
        if letter == "\\" and not self.json:
            value = "\\\\"
        elif letter.isprintable():
            value = letter
        elif self.json:
            units = letter.encode("utf-16-be", "surrogatepass")
            value = "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
        else:
            value = letter.encode("unicode_escape").decode()
        self[code] = value
        return value


_TERMINAL, _JSON = _Escapes(json=False), _Escapes(json=True)


def shown(text: str) -> str:
    """Words of a peer as they may stand on a terminal: one line, no control acts, nothing is invisible or reversed.

    Controls, escapes, line ends, bidi and zero-width characters, unusual spaces, unassigned and private characters
    become `\\n`, `\\x1b`, `\\u202e` …, and a backslash is doubled, so that what is shown says exactly what was sent.
    """
    if "\\" not in text and text.isprintable():
        return text
    return text.translate(_TERMINAL)


def _visible(line: bytes) -> bytes:
    """A JSON line in which what a terminal would act on is written as \\uXXXX: the same JSON, safe to look at."""
    if line.isascii() and b"\x7f" not in line:
        return line
    text = line.decode()
    return line if text.isprintable() else text.translate(_JSON).encode()
