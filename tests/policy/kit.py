"""What the tests of the policy share."""

from __future__ import annotations

from typing import Any

import pytest

from inspector.model import UP as UP
from inspector.model import (
    Address,
    Context,
    Event,
    Finding,
    Flow,
    Identity,
    Message,
    Severity,
    Span,
    Text,
    Verdict,
    Way,
)
from inspector.policy import CompiledPolicy, compile
from inspector.wire.located import Faults

AT = 1_790_000_000.0
"""2026-09-21T14:13:20Z, a Monday."""


def context(
    client: str = "10.0.0.5", server: str = "203.0.113.9", protocol: str | None = "xmpp", user: str | None = None,
    identity: Identity | None = None, port: int = 5222,
) -> Context:
    made = Context(Flow("f", Address(client, 50000), Address(server, port)))
    made.protocol = protocol
    made.user = user
    made.identity = identity or ("unknown" if user is None else "authenticated")
    return made


def finding(rule: str, severity: Severity = "medium", *spans: Span, pack: str | None = None, tags: Any = ()) -> Finding:
    return Finding("yara", rule, severity, "", pack, tuple(tags), spans)


def message(text: str = "hello", **fields: Any) -> Message:
    fields.setdefault("sender", "alice@example.net")
    fields.setdefault("recipients", ("bob@example.org",))
    fields.setdefault("texts", (Text("body", text),))
    return Message(**fields)


def rules(*lines: str, before: str = "") -> CompiledPolicy:
    """A policy of rules written as flow mappings without their braces."""
    listed = "".join(f"  - {{{line}}}\n" for line in lines)
    return compile(f"{before}\nrules:\n{listed}" if lines else before, "p.yaml")


def faults(text: str) -> list[str]:
    with pytest.raises(Faults) as caught:
        compile(text, "p.yaml")
    return [str(fault) for fault in caught.value.faults]


def decide(
    policy: CompiledPolicy, event: Event, within: Context | None = None, way: Way = UP, *findings: Finding,
    at: float = AT,
) -> Verdict | None:
    """The verdict, by generated code; the plain interpreter must say the same."""
    within = within if within is not None else context()
    verdict = policy.decide(event, within, way, at, findings)
    assert policy.interpret(event, within, way, at, findings)[0] == verdict
    return verdict


def matches(when: str, event: Event | None = None, within: Context | None = None, way: Way = UP, *findings: Finding,
            at: float = AT, before: str = "") -> bool:
    """Whether a rule with these conditions matches."""
    policy = rules(f"name: r, when: {when}, then: block", before=before)
    return decide(policy, event if event is not None else message(), within, way, *findings, at=at) is not None
