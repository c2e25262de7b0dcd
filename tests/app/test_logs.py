"""The gateway's own log: readable, harmless to look at, without secrets, never in the way."""

from __future__ import annotations

import io
import json
import logging
import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.app import logs
from inspector.app.logs import HIDDEN, Format, Level, Logs, scrubbed, tell


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Leave the process's logging as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def _logged(do: object, level: Level = "info", form: Format = "text") -> list[str]:
    """Lines that are logged while `do` runs."""
    out = io.StringIO()
    made = Logs(level, form, out)
    made.start()
    assert callable(do)
    do()
    made.stop()
    return out.getvalue().splitlines()


def test_text_lines() -> None:
    """Time, level, sentence and fields on one line."""
    [line] = _logged(lambda: tell("info", "listening", address="127.0.0.1:1080", mode="socks5", why="a b"))
    assert line.endswith('Z info    listening  address=127.0.0.1:1080  mode=socks5  why="a b"')
    assert line[:2] == "20" and line[26] == "Z"


def test_json_lines() -> None:
    """One JSON object a line; fields cannot replace the head."""
    [line] = _logged(lambda: tell("warning", "slow", seconds=1.5, logger="x"), form="json")
    said = json.loads(line)
    assert said.pop("t").endswith("Z")
    assert said == {"level": "warning", "logger": "inspector", "text": "slow", "seconds": 1.5}


def test_what_a_peer_wrote_is_shown_not_obeyed() -> None:
    """Controls and line ends in a message or field stay on one line."""
    lines = _logged(lambda: tell("info", "name \x1b[2J\nfake", nick="\u202ea\r\n"))
    assert len(lines) == 1 and lines[0].isprintable()
    assert "\\x1b[2J\\nfake" in lines[0]
    assert len(_logged(lambda: tell("info", "a\nb", c="\x1b\n"), form="json")) == 1


def test_the_level_can_be_changed_while_running() -> None:
    """A reload sets another level; what others' libraries say below a warning is never logged."""
    out = io.StringIO()
    made = Logs("info", "text", out)
    made.start()
    tell("debug", "one")
    made.level = "debug"
    tell("debug", "two")
    made.level = "error"
    tell("warning", "three")
    logging.getLogger("mitmproxy.proxy.server").info("four")
    logging.getLogger("mitmproxy.proxy.server").warning("five")
    made.stop()
    assert [line.split()[-1] for line in out.getvalue().splitlines()] == ["two", "five"]
    assert made.level == "error"


@pytest.mark.parametrize(("text", "left"), [
    ("login with password=hunter2 failed", f"login with password={HIDDEN} failed"),
    ('{"token": "abc", "a": 1}', f'{{"token": "{HIDDEN}", "a": 1}}'),
    ("Authorization: Bearer abc.def ghi", f"Authorization: {HIDDEN}"),
    ("PASSWORD : x, next", f"PASSWORD : {HIDDEN}, next"),
    ("the token was refused", "the token was refused"),
    ("İ password=x", f"İ password={HIDDEN}"),
])
def test_secrets_are_left_out(text: str, left: str) -> None:
    """What stands behind a word that names a secret is not logged; the words themselves are."""
    assert scrubbed(text) == left


@pytest.mark.parametrize("form", ["text", "json"])
def test_fields_that_name_secrets_are_left_out(form: Format) -> None:
    """A field with such a name, or such words in its value or in an exception's text."""
    def do() -> None:
        tell("info", "x", sasl_response="hunter2", detail="password=hunter2")
        try:
            raise ValueError("token=hunter2")
        except ValueError:
            logging.getLogger("inspector").exception("it failed")
    lines = _logged(do, form=form)
    assert len(lines) == 2 and "ValueError" in lines[1]
    assert not any("hunter2" in line for line in lines)


@given(st.text(alphabet='passwordtoken=:"\' \tİ\u0130x,', max_size=80))
def test_scrubbing_any_text_ends(text: str) -> None:
    """Whatever the text, it is scrubbed without an error, and what is left holds nothing new but the mark."""
    left = scrubbed(text)
    assert set(left.replace(HIDDEN, "")) <= set(text) | set(HIDDEN)


def test_a_log_that_is_not_read_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads the pipe: lines wait, then are lost and counted, and the writer of a line never waits."""
    monkeypatch.setattr(logs, "QUEUE", 50)
    read, write = os.pipe()
    pipe = os.fdopen(write, "w")
    made = Logs("info", "text", pipe)
    made.start()
    for _ in range(2000):
        tell("info", "x" * 2000)
    assert made.lost > 0
    made.stop(0.05)
    got = bytearray()

    def drain() -> None:
        while data := os.read(read, 65536):
            got.extend(data)
    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    made.stop(20)
    pipe.close()
    reader.join()
    os.close(read)
    assert b"log lines were lost" in got


def test_a_log_that_is_gone_does_not_end_the_gateway() -> None:
    """The stream was closed: lines go nowhere, nothing is raised."""
    out = io.StringIO()
    made = Logs("info", "text", out)
    made.start()
    out.close()
    tell("info", "x")
    made.stop()
    assert made.lost == 0
