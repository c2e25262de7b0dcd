"""Unit tests of a policy: an event in, the verdict out, and by which rule (files: docs/write-a-rule.md)."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from inspector.app.config import protocol_names
from inspector.model import (
    DOWN,
    UP,
    Action,
    Address,
    CallSetup,
    ContactChange,
    Context,
    Copy,
    Encryption,
    Event,
    File,
    FileOffer,
    Finding,
    Flow,
    GroupChange,
    Identity,
    Inspectable,
    Kind,
    Message,
    Opaque,
    Presence,
    Severity,
    SignOn,
    Span,
    Text,
    Typing,
    Verdict,
    Way,
)
from inspector.policy import CompiledPolicy, Said
from inspector.policy.fields import FILE_TYPES, PROTOCOLS
from inspector.policy.reader import MODES
from inspector.wire.located import Fault, Faults, Key, Located, did_you_mean, load_yaml, shown

EVENTS = ("message", "file", "sign_on", "presence", "contact", "group", "call", "typing", "opaque")

_GIVEN = (
    "event", "way", "at", "protocol", "application", "confidence", "user", "identity", "client", "server", "text",
    "texts", "kind", "sender", "recipients", "conversation", "copy", "inspectable", "encryption", "file", "contact",
    "action", "group", "findings",
)
_EXPECT = ("action", "rule", "text", "texts", "notice", "placeholder", "shadow", "hits", "mode")
_OFFERED = ("name", "size", "type", "method")
_TRANSFERRED = ("content", "media_type", "complete", "encrypted", "members", "sha256")
_READ = "0" * 64
"""The digest of a content for which the test names none."""
_ACTIONS = tuple(action.name.lower() for action in Action)
_MOMENT = 1_763_805_600.0
"""When a test does not say: 2025-11-22T10:00:00Z, a Saturday."""


@dataclass(frozen=True, slots=True)
class Case:
    """One test: what is given, what is expected. `place`: (line, column) of its name."""

    name: str
    path: str
    place: tuple[int, int]
    event: Event
    context: Context
    way: Way
    at: float
    findings: tuple[Finding, ...]
    expect: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """How one test ended. `wrong`: what was expected and what came, empty if it is as expected."""

    case: Case
    verdict: Verdict | None
    wrong: tuple[str, ...]
    said: tuple[Said, ...]

    @property
    def fault(self) -> Fault:
        return Fault(self.case.path, *self.case.place, f"{shown(self.case.name)}: {'; '.join(self.wrong)}")


@dataclass(frozen=True, slots=True)
class Results:
    """All tests of a run. `untested`: rules that no test sees match, entries of `files:` that no test sees decide."""

    results: tuple[Result, ...] = ()
    untested: tuple[str, ...] = field(default=())

    @property
    def failed(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.wrong)


def read_cases(path: Path, name: str | None = None) -> list[Case]:
    """The tests of one file. Raises Faults."""
    shown_as = name or str(path)
    try:
        text = path.read_bytes()
    except OSError as exc:
        raise Faults([Fault(shown_as, 0, 0, f"cannot be read: {(exc.strerror or str(exc)).lower()}")]) from None
    return _Reader(load_yaml(text, shown_as)).cases()


def run(policy: CompiledPolicy, cases: Sequence[Case]) -> Results:
    """Judge every event and compare."""
    results = []
    matched: set[str] = set()
    for case in cases:
        verdict = policy.decide(case.event, case.context, case.way, case.at, case.findings)
        said = tuple(policy.explain(case.event, case.context, case.way, case.at, case.findings))
        if verdict is not None:
            matched.update(hit.rule for hit in verdict.hits)
        mode = None
        if "mode" in case.expect and isinstance(case.event, FileOffer):
            mode = policy.file_mode(case.event, case.context, case.way, case.at)
            entries = policy.explain_mode(case.event, case.context, case.way, case.at)[1]
            matched.add(entries[-1].rule)
            said = (*said, *entries)
        results.append(Result(case, verdict, tuple(_differences(case, verdict, mode)), said))
    names = [rule.name for rule in policy.rules]
    names += [taking.rule.name for taking in policy.source.files if taking.rule.place[0]]
    untested = tuple(name for name in names if name not in matched)
    return Results(tuple(results), untested)


def masked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """A text as its reader sees it: one `*` a character of each span."""
    characters = list(text)
    for start, end in spans:
        characters[start:end] = "*" * (end - start)
    return "".join(characters)


def _differences(case: Case, verdict: Verdict | None, mode: str | None) -> list[str]:
    """What is not as expected, a sentence each."""
    got: dict[str, Any] = {
        "action": (Action.PASS if verdict is None else verdict.action).name.lower(),
        "mode": mode,
        "rule": None if verdict is None else verdict.rule,
        "notice": None if verdict is None else verdict.notice,
        "placeholder": None if verdict is None else verdict.placeholder,
        "hits": [] if verdict is None else [hit.rule for hit in verdict.hits],
        "shadow": [] if verdict is None else [hit.rule for hit in verdict.hits if hit.mode == "shadow"],
    }
    texts = [
        masked(text.plain, [(start, end) for at, start, end in (verdict.masks if verdict else ()) if at == index])
        for index, text in enumerate(case.event.texts)
    ]
    got["texts"] = texts
    got["text"] = texts[0] if texts else None
    wrong = []
    for key, value in case.expect.items():
        if got[key] != value:
            told = f" (by {_quoted(got['rule'])})" if key == "action" and got["rule"] is not None else ""
            wrong.append(f"expected {key} {_quoted(value)}, got {_quoted(got[key])}{told}")
    return wrong


def _quoted(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return f"[{', '.join(map(_quoted, value))}]"
    return f'"{shown(value, 200)}"'


class _Reader:
    """Reads one file of tests; collects faults instead of stopping at the first."""

    def __init__(self, document: Located) -> None:
        self.document = document
        self.protocols = {*PROTOCOLS, *protocol_names()}
        self.faults: list[Fault] = []

    def wrong(self, text: str, *keys: Key) -> None:
        self.faults.append(self.document.fault(text, *keys))

    def cases(self) -> list[Case]:
        top = self.document.value
        if not isinstance(top, dict) or not isinstance(top.get("tests"), list):
            raise Faults([self.document.fault("a file of policy tests is a mapping with a list: tests")])
        self.faults += self.document.unknown(("description", "given", "tests"))
        common = top.get("given") or {}
        if not isinstance(common, dict):
            self.wrong("given is a mapping", "given")
            common = {}
        self.faults += self.document.unknown(_GIVEN, "given") if common else []
        cases = []
        names: set[str] = set()
        for index, body in enumerate(top["tests"]):
            keys: tuple[Key, ...] = ("tests", index)
            if not isinstance(body, dict):
                self.wrong("a test is a mapping with name, given and expect", *keys)
                continue
            self.faults += self.document.unknown(("name", "given", "expect"), *keys)
            name = body.get("name")
            if not isinstance(name, str) or not name.strip():
                self.wrong("a test needs a name", *keys)
                name = ""
            elif name in names:
                self.wrong("a test of that name is there already", *keys, "name")
            names.add(name)
            given = body.get("given", {})
            if not isinstance(given, dict):
                self.wrong("given is a mapping", *keys, "given")
                given = {}
            self.faults += self.document.unknown(_GIVEN, *keys, "given") if given else []
            expect = self.expect(body.get("expect"), *keys, "expect")
            before = len(self.faults)
            case = self.case(name, {**common, **given}, given, expect, *keys)
            if len(self.faults) == before:
                cases.append(case)
        if self.faults:
            raise Faults(self.faults)
        return cases

    def expect(self, value: Any, *keys: Key) -> dict[str, Any]:
        if isinstance(value, str):
            value = {"action": value}
        elif isinstance(value, dict):
            self.faults += self.document.unknown(_EXPECT, *keys)
        if not isinstance(value, dict) or not value:
            self.wrong(f"expect is an action, or a mapping of {', '.join(_EXPECT)}", *keys)
            return {}
        action = value.get("action")
        if "action" in value and action not in _ACTIONS:
            near = did_you_mean(str(action), _ACTIONS)
            self.wrong(f'unknown action "{shown(action)}"{near}', *keys, "action")
        value = dict(value)
        if "mode" in value and value["mode"] not in MODES:
            near = did_you_mean(str(value["mode"]), MODES)
            self.wrong(f'unknown mode "{shown(value["mode"])}"{near}', *keys, "mode")
            del value["mode"]
        return {key: item for key, item in value.items() if key in _EXPECT}

    def case(
        self, name: str, given: Mapping[str, Any], own: Mapping[str, Any], expect: Mapping[str, Any], *keys: Key,
    ) -> Case:
        def where(key: str) -> tuple[Key, ...]:
            return (*keys, "given", key) if key in own else ("given", key)

        def text(key: str, default: str | None = None) -> Any:
            value = given.get(key, default)
            if value is not None and not isinstance(value, str):
                self.wrong(f"{key} is text: put it into quotes", *where(key))
                return default
            return value

        def choice(key: str, allowed: tuple[str, ...], default: str) -> Any:
            value = given.get(key, default)
            if value not in allowed:
                near = did_you_mean(str(value), allowed)
                self.wrong(f'unknown {key} "{shown(value)}"{near}', *where(key))
                return default
            return value

        kind = choice("event", EVENTS, "message")
        way = DOWN if choice("way", ("up", "down"), "up") == "down" else UP
        context = Context(Flow(
            "test", self.address(text("client", "10.0.0.5"), 50000, *where("client")),
            self.address(text("server", "203.0.113.9"), 5222, *where("server")),
        ))
        context.protocol = text("protocol", "xmpp")
        if context.protocol is not None and context.protocol not in self.protocols:
            near = did_you_mean(context.protocol, self.protocols)
            self.wrong(f'unknown protocol "{shown(context.protocol)}"{near}', *where("protocol"))
        context.application = text("application")
        confidence = given.get("confidence", 1.0)
        if isinstance(confidence, bool) or not isinstance(confidence, (int, float)):
            self.wrong("confidence is a number", *where("confidence"))
            confidence = 1.0
        context.confidence = float(confidence)
        context.user = text("user")
        context.identity = choice(
            "identity", get_args(Identity), "unknown" if context.user is None else "authenticated",
        )
        texts = self.texts(given, where)
        sender = text("sender", context.user if way is UP else "peer@example.org")
        recipients = given.get("recipients", ["peer@example.org"] if way is UP else [context.user or "me"])
        if not isinstance(recipients, list) or not all(isinstance(item, str) for item in recipients):
            self.wrong("recipients is a list of names", *where("recipients"))
            recipients = []
        people: dict[str, Any] = {"sender": sender, "recipients": tuple(recipients), "texts": texts}
        encryption = Encryption(choice("inspectable", get_args(Inspectable), "full"), text("encryption"))
        event: Event
        if kind == "message":
            event = Message(
                kind=choice("kind", get_args(Kind), "chat"), conversation=text("conversation"),
                copy=cast(Copy, choice("copy", get_args(Copy), "no")), encryption=encryption, **people,
            )
        elif kind == "file":
            event = self.file(given, people, text("conversation"), where)
        elif kind == "sign_on":
            event = SignOn(user=context.user or "somebody", identity=context.identity, texts=texts)
        elif kind == "presence":
            event = Presence(**people)
        elif kind == "contact":
            event = ContactChange(action=text("action", "add"), contact=text("contact", "peer@example.org"),
                                  sender=sender, texts=texts)
        elif kind == "group":
            event = GroupChange(action=text("action", "join"), group=text("group", "#room"), member=sender, texts=texts)
        elif kind == "call":
            event = CallSetup(action=text("action", "invite"), **people)
        elif kind == "typing":
            event = Typing(**people)
        else:
            event = Opaque(kind=text("kind", "query"), encryption=encryption, **people)
        if "mode" in expect and not isinstance(event, FileOffer):
            self.wrong("a mode is for a file whose content has not come", *keys, "expect", "mode")
        return Case(
            name, self.document.path, self.document.at(*keys, "name"), event, context, way, self.time(given, where),
            self.findings(given, event.texts, where), expect,
        )

    def address(self, text: str, port: int, *keys: Key) -> Address:
        """An address, with or without port: 10.0.0.5, "10.0.0.5:5222", "[2001:db8::1]:5222"."""
        host, colon, after = text.rpartition(":")
        if colon and after.isdigit() and int(after) < 65536 and (host.startswith("[") or ":" not in host):
            port, text = int(after), host
        try:
            return Address(str(ipaddress.ip_address(text.strip("[]"))), port)
        except ValueError:
            self.wrong(f'"{shown(text)}" is not an address', *keys)
            return Address("0.0.0.0", 0)  # noqa: S104 - nothing listens here

    def time(self, given: Mapping[str, Any], where: Any) -> float:
        if "at" not in given:
            return _MOMENT
        try:
            moment = datetime.datetime.fromisoformat(given["at"])
        except (TypeError, ValueError):
            moment = None
        if moment is None or moment.tzinfo is None:
            self.wrong('at is a time with its zone like "2026-11-22T10:00:00+01:00"', *where("at"))
            return _MOMENT
        return moment.timestamp()

    def texts(self, given: Mapping[str, Any], where: Any) -> tuple[Text, ...]:
        if "text" in given:
            if isinstance(given["text"], str) and "texts" not in given:
                return (Text("body", given["text"]),)
            self.wrong("text is one text; several are texts: [{part: body, plain: …}]", *where("text"))
            return ()
        listed = given.get("texts", [])
        texts = []
        for index, item in enumerate(listed if isinstance(listed, list) else [None]):
            plain = item.get("plain") if isinstance(item, dict) else None
            if not isinstance(item, dict) or not isinstance(plain, str) or set(item) - {"part", "plain", "editable"}:
                self.wrong("a text is {part: body, plain: …, editable: true}", *where("texts"), index)
                continue
            texts.append(Text(str(item.get("part", "body")), plain, None, item.get("editable") is not False))
        return tuple(texts)

    def file(
        self, given: Mapping[str, Any], people: Mapping[str, Any], conversation: str | None, where: Any,
    ) -> FileOffer | File:
        """An offer, or, where something is said of the content, a file that was transferred."""
        body = given.get("file", {})
        if not isinstance(body, dict):
            self.wrong("file is {name: …, size: …, type: a media type, method: …}", *where("file"))
            body = {}
        elif body:
            self.faults += self.document.unknown((*_OFFERED, *_TRANSFERRED), *where("file"))

        def typed(key: str, kind: type, default: Any, told: str) -> Any:
            value = body.get(key, default)
            if value is not default and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
                self.wrong(f"{key} is {told}", *where("file"), key)
                return default
            return value

        name = typed("name", str, "", "text: put it into quotes")
        offered: dict[str, Any] = {
            "sender": people["sender"], "recipients": people["recipients"], "conversation": conversation,
            "file_name": name, "size": typed("size", int, None, "a whole number of bytes"),
            "declared_type": typed("type", str, None, "a media type"), "method": typed("method", str, "", "a word"),
            "texts": people["texts"] or ((Text("file_name", name),) if name else ()),
        }
        if not set(body) & set(_TRANSFERRED):
            return FileOffer(**offered)
        # Whoever says what the content is says that it was read.
        read = set(body) & (set(_TRANSFERRED) - {"complete"})
        return File(
            **offered, kinds=self.kinds(body.get("content", []), *where("file"), "content"),
            media_type=typed("media_type", str, None, "a media type"),
            complete=typed("complete", bool, bool(read), "true or false"),
            encrypted=typed("encrypted", bool, False, "true or false"),
            members=typed("members", int, 0, "a whole number"),
            sha256=typed("sha256", str, _READ if read else None, "text: put it into quotes"),
        )

    def kinds(self, value: Any, *keys: Key) -> tuple[str, ...]:
        """What the content of a file is: a word or several."""
        kinds = []
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            if item in FILE_TYPES:
                kinds.append(str(item))
            else:
                place = (*keys, index) if isinstance(value, list) else keys
                self.wrong(f'unknown content "{shown(item)}"{did_you_mean(str(item), FILE_TYPES)}', *place)
        return tuple(kinds)

    def findings(self, given: Mapping[str, Any], texts: tuple[Text, ...], where: Any) -> tuple[Finding, ...]:
        listed = given.get("findings", [])
        if not isinstance(listed, list):
            self.wrong("findings is a list", *where("findings"))
            return ()
        return tuple(self.finding(item, texts, *where("findings"), index) for index, item in enumerate(listed))

    def finding(self, body: Any, texts: tuple[Text, ...], *keys: Key) -> Finding:
        if not isinstance(body, dict) or not isinstance(body.get("rule"), str):
            self.wrong('a finding is {rule: dlp.card_number, severity: medium, in: "the words that were found"}', *keys)
            return Finding("", "", "low")
        self.faults += self.document.unknown(("rule", "severity", "pack", "tags", "in"), *keys)
        severity = body.get("severity", "medium")
        if severity not in get_args(Severity):
            near = did_you_mean(str(severity), get_args(Severity))
            self.wrong(f'unknown severity "{shown(severity)}"{near}', *keys, "severity")
        spans: list[Span] = []
        words = body.get("in")
        if words is not None:
            for index, text in enumerate(texts):
                start = text.plain.find(str(words))
                while words and start >= 0:
                    spans.append((index, start, start + len(str(words))))
                    start = text.plain.find(str(words), start + len(str(words)))
            if not spans:
                self.wrong(f'"{shown(words)}" is in none of the texts', *keys, "in")
        rule = body["rule"]
        tags = body.get("tags", [])
        detector = next((name for name in ("dlp", "file") if rule.startswith(f"{name}.")), "yara")
        return Finding(
            detector, rule, severity, "", body.get("pack"),
            tuple(map(str, tags if isinstance(tags, list) else [tags])), tuple(spans),
        )
