"""The gateway's own log: what an administrator should know of the program, on stderr, as text or JSON lines.

It is not the event log. Only the rim of the house logs: `app` and, through the callable they are handed, the driver and
the store. Lines are written by a thread of their own, from a bounded queue, so a pipe that is not read never holds up a
session; what did not fit is counted and said. Words of peers are shown, not obeyed, and what looks like a
secret is left out.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import sys
import threading
import traceback
from logging.handlers import QueueHandler
from typing import Any, Literal, TextIO

from inspector.store.lines import rfc3339, shown

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]

QUEUE = 10_000
"""Lines that wait to be written."""
LINE = 8192
"""Longest message, in characters."""
SECRETS = ("password", "passwd", "passphrase", "secret", "token", "api_key", "apikey", "authorization", "cookie",
           "private_key", "sasl")
"""What stands behind one of these words and `=` or `:` is left out, and so are fields with them in their name."""
HIDDEN = "[left out]"
OURS = "inspector"
QUIET = ("mitmproxy", "asyncio", "hpack", "urllib3", "scapy")
"""Loggers of others: their warnings and errors are logged, and no more."""


def scrubbed(text: str) -> str:
    """The text without what follows a word of SECRETS and `=` or `:`, up to the next white space, comma or quote."""
    low = text.lower()
    if len(low) != len(text):
        # A few letters grow in lower case (İ): places in `low` would not be places in `text`.
        low = "".join(c if len(c.lower()) != 1 else c.lower() for c in text)
    hidden: list[tuple[int, int]] = []
    for word in SECRETS:
        at = low.find(word)
        while at >= 0:
            after = at + len(word)
            start = after
            while start < len(text) and start - after < 8 and text[start] in "\"' \t":
                start += 1
            if start < len(text) and text[start] in "=:":
                start += 1
                while start < len(text) and text[start] in "\"' \t":
                    start += 1
                if word == "authorization":
                    end = len(text)
                else:
                    end = start
                    while end < len(text) and text[end] not in "\"', \t;&":
                        end += 1
                hidden.append((start, end))
                after = end
            at = low.find(word, after)
    for start, end in sorted(hidden, reverse=True):
        text = text[:start] + HIDDEN + text[end:]
    return text


def _secret(name: str) -> bool:
    low = name.lower()
    return any(word in low for word in SECRETS)


class _Formatter(logging.Formatter):
    """Common work of both formats."""

    def parts(self, record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
        text = record.getMessage()
        fields = dict(getattr(record, "fields", None) or {})
        if record.exc_info and record.exc_info[1] is not None:
            fields["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
        fields = {name: HIDDEN if _secret(name) else value for name, value in fields.items()}
        return scrubbed(text[:LINE]), fields


class TextFormatter(_Formatter):
    """`2026-11-22T05:47:24.123456Z info    listening  address=127.0.0.1:1080`"""

    def format(self, record: logging.LogRecord) -> str:
        text, fields = self.parts(record)
        said = "".join(f"  {name}={_word(value)}" for name, value in fields.items())
        where = "" if record.name.partition(".")[0] == OURS else f" [{record.name}]"
        return f"{rfc3339(record.created)} {record.levelname.lower():7}{where} {shown(text)}{said}"


class JsonFormatter(_Formatter):
    """One JSON object a line: t, level, logger, text, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        text, fields = self.parts(record)
        head = {"t": rfc3339(record.created), "level": record.levelname.lower(), "logger": record.name, "text": text}
        fields = {name: scrubbed(value) if isinstance(value, str) else value for name, value in fields.items()}
        return json.dumps(head | {name: value for name, value in fields.items() if name not in head}, default=str)


def _word(value: Any) -> str:
    text = shown(scrubbed(str(value)))
    return f'"{text}"' if " " in text or not text else text


class _Queue(QueueHandler):
    """Puts records into the queue, or counts them."""

    def __init__(self, lines: queue.Queue[Any]) -> None:
        super().__init__(lines)
        self.lost = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.lost += 1


class _Stream(logging.StreamHandler[TextIO]):
    """Writes lines; a stream that is gone ends the logging, not the gateway."""

    def __init__(self, stream: TextIO, source: _Queue) -> None:
        super().__init__(stream)
        self.source = source
        self.told = 0

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):
            lost = self.source.lost
            if lost > self.told:
                note = logging.LogRecord(OURS, logging.WARNING, "", 0, "%d log lines were lost: they came faster than "
                                         "they could be written", (lost - self.told,), None)
                self.told = lost
                self.stream.write(self.format(note) + "\n")
            self.stream.write(self.format(record) + "\n")
            self.stream.flush()


class Logs:
    """The log of one process. `start` once; `level` may be set again at any time; `stop` writes what waits."""

    def __init__(self, level: Level = "info", format: Format | None = None, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._format = format or ("text" if self._stream.isatty() else "json")
        self._lines: queue.Queue[logging.LogRecord | None] = queue.Queue(QUEUE)
        self._source = _Queue(self._lines)
        self._target = _Stream(self._stream, self._source)
        self._target.setFormatter(TextFormatter() if self._format == "text" else JsonFormatter())
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._level: Level = level

    @property
    def level(self) -> Level:
        return self._level

    @level.setter
    def level(self, level: Level) -> None:
        self._level = level
        logging.getLogger(OURS).setLevel(level.upper())

    @property
    def lost(self) -> int:
        """Lines that were not written."""
        return self._source.lost

    def start(self) -> None:
        root = logging.getLogger()
        root.handlers[:] = [self._source]
        root.setLevel(logging.WARNING)
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)
        self.level = self._level
        self._thread.start()

    def stop(self, seconds: float = 2.0) -> None:
        """Write what waits, for `seconds` at most: nobody may be reading."""
        root = logging.getLogger()
        if self._source in root.handlers:
            root.removeHandler(self._source)
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=seconds)
        self._thread.join(seconds)

    def _run(self) -> None:
        while (record := self._lines.get()) is not None:
            self._target.handle(record)


def tell(level: Level, text: str, **fields: Any) -> None:
    """One line of the gateway's log, with fields."""
    logging.getLogger(OURS).log(getattr(logging, level.upper()), "%s", text, extra={"fields": fields})
