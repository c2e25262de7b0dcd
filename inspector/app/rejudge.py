"""`inspector events --rejudge ID`: decide again from what was kept, and say whether the result is the same.

What a verdict was decided by is named in its row: the policy and the packs, by digest. Both are kept when they come
into force (`keep`, inspector/store/rulebook.py); what was decided about is in the row of its event, as far as
`archive`, `privacy` and erasing have left it there. Nothing is decided from less: then the answer is "not kept".

What cannot be found again from the row alone is taken from the verdict: what a file's content held, and what earlier
messages began that this one completed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from inspector import policy as policies
from inspector import scan
from inspector.app.build import Built
from inspector.app.config import Config
from inspector.app.errors import UserError
from inspector.app.places import load, store_path
from inspector.app.wording import quoted, reference, when
from inspector.model import (
    DOWN,
    UP,
    Action,
    Address,
    CallSetup,
    ContactChange,
    Context,
    Encryption,
    Event,
    File,
    FileOffer,
    Finding,
    Flow,
    GroupChange,
    Message,
    Opaque,
    Presence,
    Rules,
    ScanFailed,
    SignOn,
    Text,
    Typing,
    Verdict,
)
from inspector.protocols.registry import SPECS
from inspector.scan.packs import digest, folders, read_packs
from inspector.store.lines import shown
from inspector.store.rulebook import Rulebook
from inspector.store.sqlite import Reader, StoreError
from inspector.wire.located import Faults

Line = dict[str, Any]

_COMPLETED = "completed by this message"
"""How the engine says that a finding rests on earlier messages (engine/windows.py)."""


class NotKept(Exception):
    """What would be needed is not there; the text says what."""


@dataclass(slots=True)
class Outcome:
    """What came of one verdict. `differences`: what is not the same, in words; `taken`: what was taken from the row."""

    line: Line
    missing: str | None = None
    differences: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)

    @property
    def result(self) -> str:
        return "not_kept" if self.missing is not None else "differs" if self.differences else "same"


# --------------------------------------------------------------------------------------------------------- keeping


def folder(config: Config) -> Path:
    """Where rules are kept."""
    return config.state / "rules"


def keep(config: Config, built: Built) -> str | None:
    """Keep the rules that came into force. What kept it from that, in a sentence; None: all is well."""
    limits, rules = config.limits, built.rules
    packs, _ = read_packs(folders(config.signatures), ())
    if f"sha256:{digest(packs)}" != rules.scanner.digest:
        return "the packs were changed after they were loaded: they are not kept for `inspector events --rejudge`"
    files = [
        (f"{pack.name}/{Path(name).name}", Path(name))
        for pack in packs for name in (str(Path(pack.folder) / "pack.yaml"), *(file.path for file in pack.files))
    ]
    try:
        Rulebook(folder(config)).keep(
            (rules.policy.digest, built.source), (rules.scanner.digest, files), days=limits.rules_kept_days,
            count=limits.rules_kept, size=limits.rules_kept_bytes)
    except (OSError, ValueError) as fault:
        why = (fault.strerror or str(fault)).lower() if isinstance(fault, OSError) else str(fault)
        return f"the rules could not be kept for `inspector events --rejudge`: {why}"
    return None


# ------------------------------------------------------------------------------------------------------ the command


def rejudge_command(args: Namespace) -> int:
    """Decide the verdicts of an event again; 0 when all are the same."""
    config: Config = load(args.config)
    path = store_path(args.config)
    try:
        with Reader(path) as reader:
            rows = [json.loads(line) for _, line in reader.about(args.rejudge) or reader.about(reference(args.rejudge))]
            verdicts = [line for line in rows if line["event"] == "verdict"]
            named = [line for line in verdicts if line["id"] == args.rejudge] or verdicts
            if not named:
                gone = reader.erased(args.rejudge) or reader.erased(reference(args.rejudge))
                what = "was erased: not kept" if gone else "has no verdict in the log" if rows else "is not in the log"
                raise UserError(f"{quoted(args.rejudge)} {what}")
            outcomes = [again(reader, line, rows, config) for line in named]
    except StoreError as fault:
        raise UserError(str(fault)) from None
    for outcome in outcomes:
        for sentence in _told(outcome) if args.format != "jsonl" else (_json(outcome),):
            print(sentence)
    sys.stdout.flush()
    return 0 if all(outcome.result == "same" for outcome in outcomes) else 1


def _told(outcome: Outcome) -> list[str]:
    line = outcome.line
    by = f" by rule {quoted(line['rule'])}" if line["rule"] else ""
    said = [f"verdict {shown(line['id'])} of {line['t'][:19].replace('T', ' ')} UTC: {line['asked']}{by}"]
    said.append({
        "same": "decided again: the same", "differs": "decided again: it differs",
        "not_kept": f"decided again: not kept: {shown(outcome.missing or '')}",
    }[outcome.result])
    said += [f"  {difference}" for difference in outcome.differences]
    said += [f"  taken from the verdict: {one}" for one in outcome.taken]
    return said


def _json(outcome: Outcome) -> str:
    return json.dumps({
        "id": outcome.line["id"], "message": outcome.line["message"], "result": outcome.result,
        "missing": outcome.missing, "differences": outcome.differences, "taken": outcome.taken,
    })


# ----------------------------------------------------------------------------------------------------- deciding again


def again(reader: Reader, line: Line, rows: Sequence[Line], config: Config) -> Outcome:
    """Decide one verdict again."""
    outcome = Outcome(line)
    try:
        about = next((row for row in rows if row["id"] == line["message"]), None)
        if about is None:
            raise NotKept("what it was about (it was erased, or is not in the log)")
        event = event_of(about, line)
        context = context_of(reader, line)
        rules = rules_of(line, config)
        way = DOWN if line["way"] == "down" else UP
        findings = _findings(rules, event, line, outcome)
        now = rules.policy.decide(event, context, way, when(line["t"], 0), findings)
    except NotKept as missing:
        outcome.missing = str(missing)
        return outcome
    _compare(line, now, findings, outcome)
    return outcome


def _findings(rules: Rules, event: Event, line: Line, outcome: Outcome) -> tuple[Finding, ...]:
    """What the packs find now, and what only the row can tell."""
    found: tuple[Finding, ...] | None = ()
    if event.texts:
        try:
            found = rules.scanner.quick(event.texts)
            found = rules.scanner.full(event.texts) if found is None else found
        except ScanFailed as failed:
            raise NotKept(f"a scan that comes to its end ({failed})") from None
    known = {(finding.detector, finding.rule) for finding in found or ()}
    given: list[Finding] = []
    for one in line["findings"]:
        completes = _COMPLETED in (one["detail"] or "")
        if (isinstance(event, File) or completes) and (one["detector"], one["rule"]) not in known:
            given.append(Finding(one["detector"], one["rule"], one["severity"], one["detail"] or "", one["pack"],
                                 tuple(one["tags"])))
            where = "completes earlier messages" if completes else "was in the file"
            outcome.taken.append(f"{shown(one['rule'])}, which {where}")
    return (*(found or ()), *given)


def _compare(line: Line, now: Verdict | None, findings: Sequence[Finding], outcome: Outcome) -> None:
    """What is not as it was, in words."""
    action = (now.action if now is not None else Action.PASS).name.lower()
    rule = now.rule if now is not None else None
    hits = [(hit.rule, hit.action.name.lower(), hit.mode) for hit in (now.hits if now is not None else ())]
    then = [(hit["rule"], hit["action"], hit["mode"]) for hit in line["hits"]]
    # That a text could not be changed in its place (it was signed) is known only to the decoder of the day.
    stricter = line["asked"] == "block" and action == "redact" and (rule, hits) == (line["rule"], then)
    if action != line["asked"] and not stricter:
        outcome.differences.append(f"{line['asked']} then, {action} now")
    if rule != line["rule"]:
        outcome.differences.append(f"{_rule(line['rule'])} then, {_rule(rule)} now")
    if sorted(hits) != sorted(then):
        outcome.differences.append(f"rules that matched: {_list(then)} then, {_list(hits)} now")
    before = {(one["detector"], one["rule"], one["severity"], one["pack"]) for one in line["findings"]}
    after = {(one.detector, one.rule, one.severity, one.pack) for one in findings}
    if before - after:
        outcome.differences.append(f"found then and not now: {_list(before - after)}")
    if after - before:
        outcome.differences.append(f"found now and not then: {_list(after - before)}")


def _rule(name: str | None) -> str:
    return f"rule {quoted(name)}" if name else "no rule"


def _list(found: Any) -> str:
    return ", ".join(sorted(shown(" ".join(str(part) for part in one[:2])) for one in found)) or "none"


# --------------------------------------------------------------------------------------------------- what was kept


def rules_of(line: Line, config: Config) -> Rules:
    """The policy and the packs that a verdict names. Raises NotKept."""
    book = Rulebook(folder(config))
    text = book.policy(line["policy"] or "")
    if text is None:
        raise NotKept(f"the policy {line['policy']}")
    try:
        policy = policies.compile(text, "the kept policy", tuple(spec.name for spec in SPECS))
    except Faults as faults:
        raise NotKept(f"the policy {line['policy']} in a form that this release reads ({faults.faults[0]})") from None
    packs = line["packs_digest"]
    with tempfile.TemporaryDirectory(prefix="inspector-rejudge-") as place:
        if packs is None or not book.packs(packs, Path(place)):
            raise NotKept(f"the packs {', '.join(line['packs']) or packs}")
        try:
            scanner = scan.load(place, config.limits, config.state / "cache").scanner
        except scan.PackError as faults:
            raise NotKept(f"the packs in a form that this release reads ({faults.faults[0]})") from None
    if scanner.digest != packs:
        raise NotKept(f"the packs {', '.join(line['packs'])} as they were")
    return Rules(0, policy, scanner)


def context_of(reader: Reader, line: Line) -> Context:
    """The session as it was known. Raises NotKept."""
    rows = [json.loads(row) for _, row in reader.of_flow(line["flow"] or "", ("flow", "session", "trouble"))]
    known = next((row for row in rows if row["client"] and row["server"]), None) or reader.living(line["flow"] or "")
    if known is None or not known.get("client") or not known.get("server"):
        raise NotKept("which connection it was in")
    client, server = (Address(known[end]["ip"], known[end]["port"] or 0) for end in ("client", "server"))
    context = Context(Flow(line["flow"], client, server, listener=known.get("listener")))
    context.protocol, context.application = line["protocol"], line["application"]
    context.user, context.identity = line["user"], line["identity"] or "unknown"
    context.confidence = known.get("confidence") or 1.0
    return context


def event_of(row: Line, verdict: Line) -> Event:
    """An event from its row. Raises NotKept: its words are not all there."""
    texts = tuple(Text(part["part"], part["text"] or "", part["lang"]) for part in row.get("texts") or ())
    if verdict["words"] == "none":
        raise NotKept("its words (privacy.text: none)")
    if verdict["words"] == "masked" and verdict["findings"]:
        raise NotKept("its words (privacy.text: masked)")
    who: Line = {"sender": row["sender"], "recipients": tuple(row["recipients"])} if "sender" in row else {}
    more: Line
    match row["event"]:
        case "message":
            if not texts and row["encryption"]["inspectable"] == "full":
                raise NotKept("its words (archive: metadata, or privacy.never_inspect)")
            return Message(
                **who, kind=row["kind"], conversation=row["conversation"], texts=texts, id=row["message_id"],
                copy=row["copy"], encryption=_encryption(row), replaces=row["replaces"])
        case "file":
            more = {**who, "conversation": row["conversation"], "file_name": row["name"] or "", "size": row["size"],
                    "method": row["method"] or "", "declared_type": row["declared_type"], "address": row["address"],
                    "id": row["message_id"], "texts": texts}
            if row["state"] == "offered":
                hashes = (("sha-256", row["sha256"]),) if row["sha256"] else ()
                return FileOffer(**more, hashes=hashes)
            return File(
                **more, sha256=row["sha256"], sha1=row["sha1"], md5=row["md5"], kinds=tuple(row["types"]),
                media_type=row["media_type"], complete=bool(row["complete"]), members=row["members"] or 0,
                encrypted=bool(row["encrypted"]), offer=row["offer"], mode=row["mode"], sent=row["sent"] or 0)
        case "sign_on":
            return SignOn(user=row["user"] or "", identity=row["identity"] or "unknown", mechanism=row["mechanism"],
                          channel_binding=row["channel_binding"], account=row["account"], texts=texts)
        case "presence":
            return Presence(**who, availability=row["availability"] or "online", texts=texts)
        case "contact":
            return ContactChange(action=row["change"] or "", contact=row["contact"] or "", sender=row["sender"],
                                 texts=texts)
        case "group":
            return GroupChange(action=row["change"] or "", group=row["group"] or "", member=row["member"], texts=texts)
        case "call":
            return CallSetup(**who, action=row["change"] or "", media=tuple(row["media"]), id=row["message_id"],
                             texts=texts)
        case "typing":
            return Typing(**who, state=row["state"] or "composing")
        case "opaque":
            return Opaque(**who, kind=row["kind"] or "", texts=texts, id=row["message_id"], encryption=_encryption(row))
    raise NotKept(f"how a {row['event']} event is judged")


def _encryption(row: Line) -> Encryption:
    return msgspec.convert(row["encryption"], Encryption)
