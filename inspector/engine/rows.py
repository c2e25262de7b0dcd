"""Events and verdicts as rows of the log (design section 10): plain values, times as float seconds."""

from __future__ import annotations

from typing import Any

from inspector.model import (
    Action,
    CallSetup,
    ContactChange,
    Context,
    Event,
    File,
    FileOffer,
    Finding,
    Flow,
    GroupChange,
    Hit,
    Message,
    Opaque,
    Presence,
    Rules,
    SignOn,
    Typing,
    Verdict,
    Way,
)

UNSCANNED = Finding("engine", "unscanned", "low")
"""In the row of what was not scanned, or not whole: what is not named there was not looked for."""

_WAYS = ("up", "down")


def head(event: str, ident: str, at: float, flow: Flow) -> dict[str, Any]:
    """The common head of a row of a flow."""
    return {"event": event, "id": ident, "t": at, "file": flow.file, "flow": flow.id}


def of_event(event: Event, ident: str, at: float, way: Way, context: Context, *, text: bool) -> dict[str, Any]:
    """The row of an event. `text` False: a row without its texts (archive: metadata, never_inspect)."""
    row = head(event.name, ident, at, context.flow)
    row["protocol"] = context.protocol
    row["application"] = context.application
    row["way"] = _WAYS[way]
    row["direction"] = context.directions[way]
    row["user"] = context.user
    row["identity"] = context.identity
    texts = event.texts if text else ()
    match event:
        case Message():
            row["kind"] = event.kind
            row["sender"] = event.sender
            row["recipients"] = list(event.recipients)
            row["conversation"] = event.conversation
            row["text"] = (event.written or main_text(event)) if text else None
            row["encryption"] = {"inspectable": event.encryption.inspectable, "scheme": event.encryption.scheme}
            row["copy"] = event.copy
            row["message_id"] = event.id
            row["replaces"] = event.replaces
            row["sent_at"] = event.sent_at
        case SignOn():
            row["mechanism"] = event.mechanism
            row["channel_binding"] = event.channel_binding
            row["account"] = event.account
        case Presence():
            row["sender"] = event.sender
            row["recipients"] = list(event.recipients)
            row["availability"] = event.availability
        case ContactChange():
            row["action"] = event.action
            row["contact"] = event.contact
            row["sender"] = event.sender
        case GroupChange():
            row["action"] = event.action
            row["group"] = event.group
            row["member"] = event.member
        case FileOffer():
            row["state"] = "offered"
            row["sender"] = event.sender
            row["recipients"] = list(event.recipients)
            row["conversation"] = event.conversation
            row["name"] = event.file_name
            row["size"] = event.size
            row["sha256"] = dict(event.hashes).get("sha-256")
            row["type"] = None
            row["complete"] = None
            row["method"] = event.method
            row["address"] = event.address
            row["declared_type"] = event.declared_type
        case File():
            row["state"] = "transferred"
            row["sender"] = event.sender
            row["recipients"] = list(event.recipients)
            row["conversation"] = event.conversation
            row["name"] = event.file_name
            row["size"] = event.size
            row["sha256"], row["sha1"], row["md5"] = event.sha256, event.sha1, event.md5
            row["type"] = event.kinds[0] if event.kinds else None
            row["types"] = list(event.kinds)
            row["media_type"] = event.media_type
            row["complete"] = event.complete
            read = event.sha256 is not None
            row["encrypted"] = event.encrypted if read else None
            row["members"] = event.members if read else None
            row["offer"] = event.offer
            row["method"] = event.method
            row["address"] = event.address
            row["declared_type"] = event.declared_type
            row["mode"] = event.mode
            row["sent"] = event.sent
        case CallSetup():
            row["action"] = event.action
            row["sender"] = event.sender
            row["recipients"] = list(event.recipients)
            row["media"] = list(event.media)
        case Typing():
            row["state"] = event.state
            row["sender"] = event.sender
            row["recipients"] = list(event.recipients)
        case Opaque():
            row["kind"] = event.kind
            row["sender"] = event.sender
            row["recipients"] = list(event.recipients)
            row["encryption"] = {"inspectable": event.encryption.inspectable, "scheme": event.encryption.scheme}
    row["texts"] = [{"part": t.part, "lang": t.lang, "text": t.plain} for t in texts]
    return row


def main_text(event: Event) -> str | None:
    """The text a person would quote: the body where there is one, else the first text."""
    for text in event.texts:
        if text.part == "body":
            return text.plain
    return event.texts[0].plain if event.texts else None


def of_finding(finding: Finding) -> dict[str, Any]:
    """A finding without its place; never the found value."""
    return {
        "detector": finding.detector, "rule": finding.rule, "severity": finding.severity, "pack": finding.pack,
        "detail": finding.detail, "tags": list(finding.tags), "spans": [list(s) for s in finding.spans],
    }


def of_hit(hit: Hit) -> dict[str, Any]:
    return {"rule": hit.rule, "action": hit.action.name.lower(), "mode": hit.mode}


def of_verdict(
    event: Event, ident: str, message: str | None, at: float, way: Way, context: Context, asked: Verdict, did: Action,
    rules: Rules, findings: tuple[Finding, ...], *, late: bool, mode: str, notice: str | None, latency: float | None,
) -> dict[str, Any]:
    """The row of a verdict: what was asked, what was done, why, by which versions."""
    row = head("verdict", ident, at, context.flow)
    row["message"] = message
    row["about"] = event.name
    row["protocol"] = context.protocol
    row["application"] = context.application
    row["kind"] = getattr(event, "kind", None)
    row["way"] = _WAYS[way]
    row["direction"] = context.directions[way]
    row["sender"] = getattr(event, "sender", None)
    row["recipients"] = list(getattr(event, "recipients", ()))
    row["user"] = context.user
    row["identity"] = context.identity
    row["conversation"] = getattr(event, "conversation", None)
    row["reference"] = asked.reference or None
    row["asked"] = asked.action.name.lower()
    row["did"] = did.name.lower()
    row["action"] = row["did"]
    row["mode"] = mode
    row["rule"] = asked.rule
    row["reason"] = asked.reason or None
    row["policy"] = rules.policy.digest
    row["packs"] = list(rules.scanner.packs)
    row["packs_digest"] = rules.scanner.digest
    row["findings"] = [of_finding(f) for f in findings]
    row["hits"] = [of_hit(h) for h in asked.hits]
    row["notice"] = notice
    row["late"] = late
    row["latency"] = latency
    row["held"] = None
    return row
