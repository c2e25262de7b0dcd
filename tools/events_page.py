"""Writes docs/events.md and inspector/store/events.schema.json from the table in inspector/store/fields.py."""

from __future__ import annotations

import json
from pathlib import Path

from inspector.store.fields import HEAD, KINDS, Field, schema

INTRO = """\
# Events

<!-- Made by tools/events_page.py from inspector/store/fields.py: change it there. -->

What the gateway saw and did is a stream of events, one JSON object a line. The lines are the same in the event log
(`inspector events --format jsonl`), and from captures (`inspector scan --format jsonl`). The JSON Schema of every line
is `inspector/store/events.schema.json`; a field may be added without notice, and nothing else changes without the
number in `schema` growing.

- Every field of a kind is always there. What is not known is `null`, a list without entries is `[]`. The one exception
  is the head's `file`, which is there for captures only.
- Times are RFC 3339, UTC, with microseconds. Addresses are in RFC 5952 form.
- Characters that a terminal would act on (controls, bidirectional marks, zero-width characters) are written as
  `\\uXXXX`, so a line is safe to look at; a JSON reader sees the text as it was sent. `inspector events` and
  `inspector explain` show them as `\\n`, `\\x1b`, `\\u202e`, with a backslash doubled.
- Ids are `<flow>-<n>` for the n-th event of a flow, made without chance: the same capture gives the same ids. Events of
  the gateway itself have its name and the time of its start in the flow's place, and `flow` null.

## What is logged

With `archive: none` (the default) a message that passes is counted and not logged. A message that was warned about,
masked, held, refused, or that a shadow rule would have touched, has a `message` event and a `verdict` event, whatever
`archive` says. With `archive: metadata` every message has both, without its text; with `full`, with its text. Sign-ons
and files (offers and what came of them) are always logged; one of which no rule had anything to say has no
`verdict` event. `inspector scan` prints everything.

A refusing or masking verdict is on disk (synced) before the peer can notice anything of it. Other events are written
within 50 ms or so; the end of the process does not lose them, a loss of power may take the last of them.

## `privacy.text`

What the log holds of the words of an event:

- `full`: all.
- `masked`: all but what a finding named: its characters are `*`, one for one; a finding without a place covers every
  word of the event. Words that no finding named stay readable: where they must not be kept, use `none`, or
  `archive: metadata` for what passes.
- `none`: none.

Words are: `text`, `texts`, the `name` of a file, the `detail` of findings, and `notice`. With `masked` and `none` the
`detail` of findings is `null`. Who spoke to whom, when, and which rule spoke is always kept. Messages of people in the
groups of `privacy.never_inspect` are not read at all and never have a text here. The setting holds for what is written
from then on; it does not change what is in the log.

## The log file

`store.events: "sqlite:PATH"`: an SQLite database in WAL mode, 0600 in a folder 0700. Read it with `inspector events`;
for other programs: the table `events` has `line` (the JSON) and the columns `id, t, event, flow, message, protocol,
kind, action, user, sender, rule, reference` to search by. When the disk is full or the file is locked the gateway goes
on trying; a row that somebody waits for and that is not written within `limits.store_seconds` is `store_failed`, and
the policy says what happens to its message. A store that a newer release has made is refused.

## The head of every event

"""

WHAT = {
    "flow": "A connection, told when it ends.",
    "session": "A connection through the gateway while it lives. Not written yet: `flow` tells of it when it ends.",
    "sign_on": "The user of a session became known, or changed.",
    "message": "Words of a person (or of a server) to others; one event for each leg that was seen.",
    "file": "A file was offered, or its content came through. docs/files.md tells how files are taken and judged.",
    "presence": "Somebody's availability changed.",
    "contact": "A contact list or block list changed.",
    "group": "Somebody joined, left or was removed from a room.",
    "call": "A voice or video call is being arranged.",
    "typing": "Somebody is writing. From captures only.",
    "opaque": "Something that carries text or data and is no message: a form, a vCard, a published item.",
    "verdict": "What the policy wanted with an event, and what was done.",
    "review": "A step in the life of something held, or somebody's look at it (docs/review.md).",
    "host": "What is known of a host from its connections. Not written yet.",
    "oddity": "Strange but survivable traffic; each kind is told once a session and counted in the metrics.",
    "trouble": "Something that could not be inspected as it should; `on_trouble` in the policy says what follows.",
    "started": "The gateway listens.",
    "stopped": "The gateway ends.",
    "reload": "New rules are in force.",
    "reload_refused": "New rules had faults; the old ones stay in force.",
    "restart": "A rolling restart: new workers take new sessions, the old ones let theirs end (`workers:`).",
    "kill": "An operator ended a session.",
    "erased": "Rows were erased or removed: by an operator, or because of their age or number (docs/evidence.md).",
    "legal_hold": "A user's rows were put on legal hold, or taken off it (docs/evidence.md).",
    "proposal": "Clients do not accept our certificate for a name: an exception is proposed, never made by itself.",
}

TYPES = {
    "name": "string", "version": "integer", "id": "string", "text": "string", "text!": "string", "time!": "time",
    "time": "time", "number": "number", "count": "integer", "flag": "true, false", "flag!": "true, false (never null)",
    "way": "`up`, `down`", "direction": "`outbound`, `inbound`, `internal`",
    "identity": "`claimed`, `authenticated`, `unknown`", "copy": "`no`, `history`, `carbon`, `echo`, `leg`",
    "action": "`pass`, `warn`, `redact`, `hold`, `block`, `cut`", "texts": "list of strings",
    "parts": "list of `{part, text, lang}`", "address": "`{ip, port}`", "encryption": "`{inspectable, scheme}`",
    "evidence": "list of `{rule, text, points}`",
    "findings": "list of `{detector, rule, severity, pack, detail, tags}`", "hits": "list of `{rule, action, mode}`",
    "hashes": "list of `{algorithm, value}`",
}


def _table(fields: tuple[Field, ...]) -> str:
    rows = [f"| `{field.name}` | {TYPES[field.type]} | {field.doc} |" for field in fields]
    return "\n".join(("| field | type | meaning |", "|---|---|---|", *rows)) + "\n"


def page() -> str:
    """The text of docs/events.md."""
    parts = [INTRO, _table(HEAD)]
    for event, fields in KINDS.items():
        parts.append(f"\n## `{event}`\n\n{WHAT[event]}\n\n{_table(fields)}")
    return "".join(parts)


def schema_text() -> str:
    """The text of events.schema.json."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    house = Path(__file__).resolve().parents[1]
    (house / "docs" / "events.md").write_text(page())
    (house / "inspector" / "store" / "events.schema.json").write_text(schema_text())
