"""What an event holds: the one table behind the lines, the JSON Schema and the reference in docs/events.md.

A field's `type` says its JSON shape and what stands there when it is not known: everything is null then, but lists are
empty, `flag!` is false, and `copy` is "no".
"""

from __future__ import annotations

from typing import Any, NamedTuple

SCHEMA = 1
"""Version of the lines. A field may be added without changing it; it grows when one changes its meaning or leaves."""


class Field(NamedTuple):
    """One field of an event."""

    name: str
    type: str
    doc: str


def _who(of: str = "") -> tuple[Field, ...]:
    return (
        Field("protocol", "text", "protocol name (`irc`, `xmpp` …)"),
        Field("kind", "text", "what sort: chat, action, notice, topic, status, away, invite, reaction, correction, "
              "auto_response, server" + of),
        Field("way", "way", "`up`: client to server, `down`: server to client"),
        Field("direction", "direction", "outbound, inbound or internal, from the policy's `inside`"),
        Field("sender", "text", "the writer as the wire names him: a JID, an IRC nick"),
        Field("recipients", "texts", "those it is for, as the wire names them"),
        Field("user", "text", "the user of this session"),
        Field("identity", "identity", "how sure the user is: claimed, authenticated or unknown"),
        Field("conversation", "text", "the room, or the other person"),
    )


HEAD: tuple[Field, ...] = (
    Field("event", "name", "which kind of event this is"),
    Field("schema", "version", "version of this format"),
    Field("id", "id", "`<flow>-<n>`: the n-th event of its flow; made without chance"),
    Field("t", "time!", "when, by the clock of the gateway or of the capture"),
    Field("gateway", "text", "the gateway's name"),
    Field("file", "text!", "the capture it was read from; the field is there for captures only"),
    Field("flow", "text", "the flow (connection) it belongs to"),
)

_TEXT = (
    Field("text", "text", "what a person reads, first of all the body"),
    Field("texts", "parts", "every text of the event, with the part it stood in and its language"),
)
_CLEAR = Field("encryption", "encryption", "how far it could be read (`inspectable`: full, metadata, none) and why not")
_MESSAGE_ID = Field("message_id", "text", "the identifier on the wire (stanza id, msgid): chosen by the sender")
_APPLICATION = Field("application", "text", "application name (`jabber`, `aim` …); null: not known")
_LATE = Field("late", "flag!", "true: told after it had been delivered, because the protocol was recognised late")

_ENDS = (
    Field("transport", "text", "tcp or udp"),
    Field("client", "address", "address and port of the client"),
    Field("server", "address", "address and port of the server"),
    Field("community_id", "text", "Community ID flow hash, version 1"),
    Field("protocol", "text", "protocol name; null: not recognised"),
    _APPLICATION,
    Field("confidence", "number", "0 to 1; below 0.5 it is a hint"),
    Field("evidence", "evidence", "what the recognition rests on"),
    Field("carried", "texts", "protocols found inside this one"),
    Field("packets", "count", "packets of both ways (captures)"),
    Field("bytes", "count", "payload bytes of both ways"),
    Field("packets_to_verdict", "count", "packets until the protocol was recognised"),
    Field("server_name", "text", "the name that the client asked for"),
    Field("listener", "text", "the listener it came through"),
    Field("tls", "flag", "whether TLS was opened"),
    Field("from_start", "flag", "false: joined in its middle"),
    Field("user", "text", "the user who signed on last"),
    Field("identity", "identity", "how sure the user is"),
    Field("opened", "time", "when it began"),
    Field("reason", "text", "why it ended, or why it is not read"),
)

_RULES = (
    Field("policy", "text", "digest of the policy in force: sha256:…"),
    Field("packs", "texts", "signature packs in force, name@version"),
)
_BY = Field("by", "text", "who asked for it: a user of this machine, or a signal")

KINDS: dict[str, tuple[Field, ...]] = {
    "flow": (Field("state", "text", "start, recognised, spliced or end"), *_ENDS),
    "session": (Field("state", "text", "start or end"), *_ENDS),
    "sign_on": (
        *_who(), Field("mechanism", "text", "how he proved it: SCRAM-SHA-1, PLAIN, 001 …"),
        Field("channel_binding", "text", "none, offered, used or stripped; null where there is no such thing"),
        Field("account", "text", "the account where it is not the user's name"),
        *_TEXT, _APPLICATION,
    ),
    "message": (
        *_who(), _TEXT[0], _CLEAR,
        Field("copy", "copy", "no, history, carbon, echo, or leg (the same message on another leg)"),
        _TEXT[1], _MESSAGE_ID, Field("replaces", "text", "message_id of the message that it corrects or takes back"),
        Field("sent_at", "time", "when the protocol says that it was sent"), _LATE, _APPLICATION,
    ),
    "file": (
        Field("state", "text", "offered: a file is announced; transferred: its content came through, and this is what "
              "it was"),
        *_who(), Field("name", "text", "file name as offered"),
        Field("size", "count", "bytes: of what came, for a transferred file, else as the sender says"),
        Field("type", "text", "what the content is, the most dangerous kind first (docs/files.md has the words); null: "
              "not known, or only the offer was seen"),
        Field("types", "texts", "every kind that the content is: a file may be several at once"),
        Field("media_type", "text", "media type by content"),
        Field("declared_type", "text", "type as the sender says"),
        Field("complete", "flag", "whether the whole content was seen and judged; null: only the offer was seen"),
        Field("encrypted", "flag", "whether part of it cannot be opened without a password; null: its content was not "
              "read"),
        Field("members", "count", "files found inside it, at any depth; null: its content was not read"),
        Field("sha256", "text", "digest of the content; of an offer: as the sender says"),
        Field("sha1", "text", "digest of the content"), Field("md5", "text", "digest of the content"),
        Field("method", "text", "how it travels: dcc, oft, http_upload, oob, si, ibb, s5b, jingle …"),
        Field("address", "text", "where it would come from: host:port or URL"),
        Field("offer", "text", "id of the event that announced it"),
        Field("mode", "text", "how the content was taken (docs/files.md): spool, stream, pass or watch; null: only the "
              "offer was seen"),
        Field("sent", "count", "bytes of it that had left before the verdict"),
        Field("hashes", "hashes", "digests as the sender says"), *_TEXT, _MESSAGE_ID, _LATE, _APPLICATION,
    ),
    "presence": (*_who(), Field("availability", "text", "online, away, offline, subscribe …"), *_TEXT, _APPLICATION),
    "contact": (
        *_who(), Field("change", "text", "add, remove, update, block or unblock"),
        Field("contact", "text", "whom it is about"), *_TEXT, _APPLICATION,
    ),
    "group": (
        *_who(), Field("change", "text", "join, leave, kick, nick, mode or create"),
        Field("group", "text", "the room"), Field("member", "text", "whom it is about"), *_TEXT, _APPLICATION,
    ),
    "call": (
        *_who(), Field("change", "text", "what happens to the call"),
        Field("media", "texts", "audio, video …"), *_TEXT, _MESSAGE_ID, _APPLICATION,
    ),
    "typing": (*_who(), Field("state", "text", "composing, paused …"), _APPLICATION),
    "opaque": (*_who(", or what it is: vcard, pubsub …"), *_TEXT, _CLEAR, _MESSAGE_ID, _LATE, _APPLICATION),
    "verdict": (
        Field("message", "text", "id of the event that was judged"), *_who(),
        Field("reference", "text", "what the sender is told, to ask about it"),
        Field("asked", "action", "what the policy wants"),
        Field("did", "action", "what was done: where the protocol cannot do what was asked, the next harder thing"),
        Field("action", "action", "the same as `did`"),
        Field("mode", "text", "enforce; shadow: only rules on trial matched, monitor: the policy does not enforce: "
              "nothing was done in these two"),
        Field("rule", "text", "the deciding rule"), Field("reason", "text", "why, in words"), *_RULES,
        Field("packs_digest", "text", "digest of what is in these packs: sha256:…"),
        Field("words", "text", "masked or none: `privacy.text` took words out of the rows of this event; null: all are "
              "kept"),
        Field("findings", "findings", "what the scanners found"),
        Field("held", "text", "quarantine id of a held item"),
        Field("about", "text", "which kind of event was judged: message, file, sign_on …"),
        Field("hits", "hits", "every rule that matched, shadow rules included, in the order of the policy"),
        Field("notice", "text", "what the sender was told; null: nothing"),
        Field("latency", "number", "seconds from the message's arrival to this verdict"), _LATE,
        _APPLICATION,
    ),
    "review": (
        Field("hold", "text", "quarantine id; null: of no single item"),
        Field("reference", "text", "what the sender was told"),
        Field("step", "text", "what happened to it: held, shown, exported, released, denied, delivering, delivered, "
              "uncertain (nobody knows whether it was delivered), expired, erased; show_wished, release_wished (the "
              "first of two people); rotated (all items' keys)"),
        Field("by", "text", "who did it: a user of this machine; null: the gateway itself"),
        Field("note", "text", "what he gave as his reason"), Field("reason", "text", "why, in words"),
        Field("about", "text", "message or file"), *_who(),
        Field("message", "text", "id of the event that was held"), Field("rule", "text", "the rule that held it"),
        Field("session", "text", "the flow in which it is delivered"),
    ),
    "host": (
        Field("first", "time", "first seen"), Field("last", "time", "last seen"), Field("host", "text", "address"),
        _APPLICATION, Field("score", "number", "0 to 100"),
        Field("evidence", "evidence", "what it rests on"),
    ),
    "oddity": (
        Field("name", "text", "its name: `irc.empty_line`"), Field("detail", "text", "one sentence"),
        Field("protocol", "text", "protocol name"), Field("way", "way", "up or down"),
        Field("count", "count", "how many, where they are told together"),
    ),
    "trouble": (
        Field("name", "text", "malformed, gap, unclassified, overload, undecryptable, scanner_failed, store_failed, "
              "internal, injection, worker_died, session_lost; of connections that were refused: refused_client, "
              "refused_handshake, refused_lease, refused_redirect, refused_destination, unreached, timeout …"),
        Field("detail", "text", "one sentence"), Field("protocol", "text", "protocol name"),
        Field("way", "way", "up or down"), Field("did", "action", "what was done, by the policy's `on_trouble`"),
        Field("user", "text", "the user of this session"), Field("listener", "text", "the listener"),
        Field("client", "address", "the client"), Field("server", "address", "the server"),
        Field("message", "text", "id of the event it concerns"),
        Field("count", "count", "how many, where they are told together"),
    ),
    "started": (
        Field("version", "text", "version of the program"), Field("listeners", "texts", "mode and address of each"),
        *_RULES, Field("config", "text", "path of the configuration"), Field("reason", "text", "why"),
    ),
    "stopped": (Field("reason", "text", "why"), Field("sessions", "count", "sessions that were cut")),
    "reload": (_BY, *_RULES, Field("version", "text", "number of the rule set now in force")),
    "reload_refused": (
        _BY, Field("faults", "texts", "each fault with file, line and column"), *_RULES,
        Field("version", "text", "number of the rule set that stays in force"),
    ),
    "restart": (
        _BY, Field("workers", "texts", "each new worker: its number and process"),
        Field("version", "text", "version of the program that they run"),
    ),
    "kill": (
        _BY, Field("session", "text", "the flow that was ended"), Field("user", "text", "its user"),
        Field("protocol", "text", "protocol name"), Field("reason", "text", "why"),
    ),
    "erased": (
        Field("by", "text", "who did it: a user of this machine, or `retention`"),
        Field("count", "count", "rows whose salt and line were taken out; the chain keeps their place and digest"),
        Field("pruned", "count", "rows at the beginnings of chains that were removed whole; a checkpoint says up "
              "to where"),
        Field("held", "count", "rows that stay because of a legal hold"),
        Field("before", "time", "only rows older than this"),
        Field("subject", "text", "whom it was about, as a keyed hash of the name; null: retention"),
    ),
    "legal_hold": (
        Field("change", "text", "add or remove"), Field("user", "text", "whose rows are to stay"),
        Field("by", "text", "who did it: a user of this machine"), Field("reason", "text", "why, in his words"),
    ),
    "proposal": (
        Field("name", "text", "server name that clients do not accept our certificate for"),
        Field("client", "address", "the client"), Field("server", "address", "the server"),
        Field("count", "count", "rejections seen"), Field("reason", "text", "what is proposed, and why"),
    ),
}
"""Event name -> its fields after the head, in the order they are written."""

ALIASES: dict[str, dict[str, str]] = {event: {"change": "action"} for event in ("contact", "group", "call")}
"""Event name -> field -> what the row may call it: in the log, `action` is only ever what the gateway did."""

LISTS = frozenset({"texts", "parts", "evidence", "findings", "hits", "hashes"})
TIMES = frozenset({"time", "time!"})

_OPTIONAL_TEXT: dict[str, Any] = {"type": ["string", "null"]}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _one_of(*names: str) -> dict[str, Any]:
    return {"enum": [*names, None]}


_TIME = {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"}
_ACTIONS = ("pass", "warn", "redact", "hold", "block", "cut")
_SHAPES: dict[str, dict[str, Any]] = {
    "version": {"const": SCHEMA},
    "id": {"type": "string"},
    "text": _OPTIONAL_TEXT,
    "text!": {"type": "string"},
    "time!": _TIME,
    "time": {"anyOf": [_TIME, {"type": "null"}]},
    "number": {"type": ["number", "null"]},
    "count": {"type": ["integer", "null"], "minimum": 0},
    "flag": {"type": ["boolean", "null"]},
    "flag!": {"type": "boolean"},
    "way": _one_of("up", "down"),
    "direction": _one_of("outbound", "inbound", "internal"),
    "identity": _one_of("claimed", "authenticated", "unknown"),
    "copy": {"enum": ["no", "history", "carbon", "echo", "leg"]},
    "action": _one_of(*_ACTIONS),
    "texts": {"type": "array", "items": {"type": "string"}},
    "parts": {"type": "array", "items": _object(part={"type": "string"}, text=_OPTIONAL_TEXT, lang=_OPTIONAL_TEXT)},
    "address": {"anyOf": [_object(ip={"type": "string"}, port={"type": ["integer", "null"]}), {"type": "null"}]},
    "encryption": _object(inspectable={"enum": ["full", "metadata", "none"]}, scheme=_OPTIONAL_TEXT),
    "evidence": {"type": "array", "items": _object(
        rule=_OPTIONAL_TEXT, text=_OPTIONAL_TEXT, points={"type": ["number", "null"]})},
    "findings": {"type": "array", "items": _object(
        detector={"type": "string"}, rule={"type": "string"}, severity={"enum": ["low", "medium", "high", "critical"]},
        pack=_OPTIONAL_TEXT, detail=_OPTIONAL_TEXT, tags={"type": "array", "items": {"type": "string"}})},
    "hits": {"type": "array", "items": _object(
        rule={"type": "string"}, action={"enum": list(_ACTIONS)}, mode={"enum": ["enforce", "shadow"]})},
    "hashes": {"type": "array", "items": _object(algorithm={"type": "string"}, value={"type": "string"})},
}


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of every line, as it is kept in events.schema.json."""
    kinds = []
    for event, fields in KINDS.items():
        properties: dict[str, Any] = {}
        for field in (*HEAD, *fields):
            shape = {"const": event} if field.name == "event" else {"$ref": f"#/$defs/{_named(field.type)}"}
            properties[field.name] = {**shape, "description": field.doc}
        kinds.append({
            "title": event, "type": "object", "properties": properties, "additionalProperties": False,
            "required": [name for name in properties if name not in ("file",)],
        })
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An event of the inspector: one JSON object a line",
        "oneOf": kinds,
        "$defs": {_named(shape): definition for shape, definition in _SHAPES.items()},
    }


def _named(shape: str) -> str:
    return shape.replace("!", "_known")
