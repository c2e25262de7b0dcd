"""`inspector events` and `inspector explain`: reading the event log."""

from __future__ import annotations

import json
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inspector.app.errors import WRONG_USE, UserError
from inspector.app.places import store_path
from inspector.app.wording import clip, pad, quoted, reference, when
from inspector.store.fields import KINDS
from inspector.store.lines import shown
from inspector.store.sqlite import Reader, StoreError

ACTIONS = ("pass", "warn", "redact", "hold", "block", "cut")
FOLLOW_SECONDS = 0.2

Line = dict[str, Any]


# ------------------------------------------------------------------------------------------------------- events


def events_command(args: Namespace) -> int:
    """Print what the log holds; 0 also when nothing matches. With --rejudge, decide one verdict again."""
    if args.rejudge is not None:
        from inspector.app.rejudge import rejudge_command

        return rejudge_command(args)
    now = time.time()
    query: Line = {
        "since": None if args.since is None else when(args.since, now),
        "until": None if args.until is None else when(args.until, now),
        "events": _known(args.event, tuple(KINDS), "event"), "actions": _known(args.action, ACTIONS, "action"),
        "user": args.user,
    }
    path = store_path(args.config)
    table = Table(sys.stdout.isatty()) if args.format == "table" else None
    try:
        with Reader(path) as reader:
            last = reader.last() if args.follow else 0
            for n, line in reader.select(**query, limit=args.limit):
                last = max(last, n)
                _print(line, table)
        if args.follow:
            sys.stdout.flush()
            for line in follow(path, last, query):
                _print(line, table)
                sys.stdout.flush()
    except StoreError as fault:
        raise UserError(str(fault)) from None
    except KeyboardInterrupt:
        if not args.follow:
            raise
    return 0


def follow(path: Path, last: int, query: Line, seconds: float = FOLLOW_SECONDS) -> Iterator[bytes]:
    """Lines that come after row `last`, for ever; a store that is replaced is read from its beginning."""
    while True:
        try:
            inode = path.stat().st_ino
            with Reader(path) as reader:
                while path.stat().st_ino == inode:
                    upto = reader.last()
                    if upto > last:
                        for n, line in reader.select(**query, after=last):
                            upto = max(upto, n)
                            yield line
                        last = upto
                    time.sleep(seconds)
        except (StoreError, FileNotFoundError):
            time.sleep(seconds)
            if path.exists():
                continue
        last = 0


def _known(names: Sequence[str], known: tuple[str, ...], what: str) -> tuple[str, ...]:
    for name in names:
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, 1)
            hint = f'did you mean "{near[0]}"?' if near else f"one of {', '.join(known)}"
            raise UserError(f'unknown {what} "{name}" ({hint})', WRONG_USE)
    return tuple(names)


def _print(line: bytes, table: Table | None) -> None:
    if table is None:
        sys.stdout.buffer.write(line + b"\n")
    else:
        table.print(json.loads(line))


class Table:
    """Events as a table, a line each, as they come. On a terminal a line is as long as the terminal is wide."""

    COLUMNS = (("TIME (UTC)", 19), ("EVENT", 14), ("PROTOCOL", 8), ("WHO", 34), ("DID", 6))

    def __init__(self, terminal: bool) -> None:
        self.width = shutil.get_terminal_size().columns if terminal else None
        self._headed = False

    def print(self, line: Line) -> None:
        if not self._headed:
            self._headed = True
            self._write([name for name, _ in self.COLUMNS], "WHAT")
        did = line.get("did")
        cells = [
            str(line["t"])[:19].replace("T", " "), line["event"], line.get("protocol") or "-", who(line), did or "",
        ]
        self._write(cells, what(line))

    def title(self, text: str) -> None:
        """A line of its own between the others: what the next ones are of."""
        text = shown(text)
        sys.stdout.write((text if self.width is None else clip(text, self.width)) + "\n")

    def _write(self, cells: Sequence[str], rest: str) -> None:
        text = "  ".join(pad(cell, width) for cell, (_, width) in zip(cells, self.COLUMNS, strict=True)) + "  " + rest
        sys.stdout.write((text if self.width is None else clip(text, self.width)).rstrip() + "\n")


def who(line: Line) -> str:
    """Who to whom, ready for a terminal."""
    if line["event"] == "legal_hold":
        return shown(line["by"] or "")
    if line["event"] in ("flow", "session"):
        return f"{_address(line['client'])} > {_address(line['server'])}"
    sender = line.get("sender") or line.get("user") or line.get("host") or line.get("by") or ""
    to = line.get("recipients") or [line.get("conversation")]
    to = [name for name in to if name]
    if line["event"] in ("contact", "group"):
        to = [line.get("contact") or line.get("group") or ""]
    readers = ", ".join(map(shown, to[:3])) + (f" and {len(to) - 3} more" if len(to) > 3 else "")
    return f"{shown(sender)} > {readers}" if readers else shown(sender)


def what(line: Line) -> str:
    """What an event says in a few words, ready for a terminal."""
    match line["event"]:
        case "verdict":
            hits = [hit["rule"] for hit in line["hits"] if hit["mode"] == "shadow"]
            words = [
                f"rule {quoted(line['rule'])}" if line["rule"] else "",
                f"(asked {line['asked']})" if line["asked"] != line["did"] else "",
                f"({line['mode']})" if line["mode"] not in (None, "enforce") else "",
                f"on trial: {', '.join(map(quoted, hits))}" if hits else "",
                "found " + ", ".join(shown(f["rule"]) for f in line["findings"]) if line["findings"] else "",
                f"ref {line['reference']}" if line["reference"] else "",
            ]
            return " ".join(filter(None, words)) or shown(line["reason"] or "")
        case "message":
            kind = f"{line['kind']}: " if line["kind"] not in (None, "chat") else ""
            if line["text"] is None:
                scheme = line["encryption"]["scheme"]
                return f"{kind}(encrypted: {shown(scheme)})" if scheme else f"{kind}(text not kept)"
            return kind + quoted(line["text"])
        case "file":
            size = f"{line['size']} bytes" if line["size"] is not None else ""
            about = [
                quoted(line["name"] or ""), size, shown(line["method"] or ""),
                *(_content(line) if line["state"] == "transferred" else ()),
            ]
            return f"{shown(line['state'] or '')} {', '.join(filter(None, about))}".strip()
        case "sign_on":
            return " ".join(filter(None, (line["identity"], line["mechanism"])))
        case "flow" | "session":
            about = [line["state"], shown(line["server_name"] or ""), "tls" if line["tls"] else ""]
            sent = f"{line['bytes']} bytes" if line["bytes"] is not None else ""
            return ", ".join(filter(None, (*about, sent)))
        case "contact":
            return shown(line["change"] or "")
        case "group":
            return " ".join(shown(word) for word in (line["change"], line["member"]) if word)
        case "oddity" | "trouble" | "proposal":
            return ": ".join(shown(word) for word in (line["name"], line.get("detail") or line.get("reason")) if word)
        case "reload_refused":
            return "; ".join(map(shown, line["faults"]))
        case "erased":
            about = [
                f"{line['count'] or 0} rows erased", f"{line['pruned']} removed" if line["pruned"] else "",
                f"{line['held']} on legal hold" if line["held"] else "",
            ]
            return ", ".join(filter(None, about))
        case "legal_hold":
            return " ".join(shown(word) for word in (line["change"], line["user"], line["reason"]) if word)
        case "kill":
            return f"session {shown(line['session'] or '')}"
        case "review":
            step, by, code = line["step"] or "", line["by"], line["reference"]
            words = [
                _STEPS.get(step, shown(step)), f"by {shown(by)}" if by else "", f"ref {shown(code)}" if code else "",
                *(f"({shown(line[why])})" for why in ("note", "reason") if line[why]),
            ]
            return " ".join(filter(None, words))
    return shown(str(line.get("reason") or line.get("version") or line.get("availability") or line.get("kind") or ""))


_STEPS = {
    "show_wished": "wish to see it", "release_wished": "wish to release it", "delivering": "being delivered",
    "uncertain": "uncertain whether it was delivered", "rotated": "all items' keys wrapped anew",
}
"""Steps of a review that need more than their name."""


def _content(line: Line) -> list[str]:
    """What a transferred file is, in a few words."""
    if line["sha256"] is None:
        return ["not read"]
    kinds = "/".join(map(shown, line["types"])) or "unknown"
    members = f"{line['members']} file{'s' if line['members'] > 1 else ''} inside" if line["members"] else ""
    return [kinds, members, "encrypted" if line["encrypted"] else "", "" if line["complete"] else "not whole"]


def _address(value: Line | None) -> str:
    if value is None:
        return "?"
    ip = f"[{value['ip']}]" if ":" in value["ip"] else value["ip"]
    return shown(f"{ip}:{value['port']}")


# ------------------------------------------------------------------------------------------------------ explain


def explain_command(args: Namespace) -> int:
    """Tell the whole story of one event; 1 when there is none of that name."""
    path = store_path(args.config)
    try:
        with Reader(path) as reader:
            rows = [line for _, line in reader.about(args.key) or reader.about(reference(args.key))]
            rows = _with_its_file(reader, rows)
            gone = reader.erased(args.key) or reader.erased(reference(args.key)) if not rows else None
            flows = dict.fromkeys(json.loads(line)["flow"] for line in rows) or {args.key: None}
            around = [
                line for flow in flows if flow
                for _, line in reader.of_flow(flow, ("flow", "session", "sign_on", "trouble", "kill"))
            ]
    except StoreError as fault:
        raise UserError(str(fault)) from None
    if gone is not None and not around:
        raise UserError(_erased(*gone))
    if not rows and not around:
        raise UserError(f"no event, message or reference {quoted(args.key)} in {path}")
    if args.format == "jsonl":
        for line in dict.fromkeys((*rows, *around)):
            sys.stdout.buffer.write(line + b"\n")
    else:
        for sentence in story([json.loads(line) for line in rows], [json.loads(line) for line in around]):
            sys.stdout.write(sentence + "\n")
    return 0


def _erased(ident: str, t: float, event: str, action: str | None, rule: str | None) -> str:
    """What stays of an erased row."""
    did = f", {action}" if action else ""
    by = f" by rule {quoted(rule)}" if rule else ""
    at = datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"event {shown(ident)} was erased: there was a {event} at {at} UTC{did}{by}, and nothing else is kept of it"


_FILE_SECONDS = 7 * 86400
"""An offer and its content lie no further apart: nobody waits longer for a file."""


def _with_its_file(reader: Reader, rows: list[bytes]) -> list[bytes]:
    """The rows, and where one is a file, those of its offer, or of the content that came of it."""
    more: list[bytes] = []
    for line in map(json.loads, rows):
        if line["event"] != "file":
            continue
        at = when(line["t"], 0)
        if line["state"] == "offered":
            others = [json.loads(one) for _, one in reader.select(since=at, until=at + _FILE_SECONDS, events=("file",))]
            found = [other["id"] for other in others if other["offer"] == line["id"]]
        else:
            found = [line["offer"]] if line["offer"] else []
        for ident in found:
            more += [one for _, one in reader.about(ident)]
    return sorted(dict.fromkeys((*rows, *more)), key=lambda one: str(json.loads(one)["t"])) if more else rows


_DID = {
    "pass": "it was delivered", "warn": "it was delivered, and the sender was warned",
    "redact": "it was delivered with the findings masked", "hold": "it was held",
    "block": "it was not delivered", "cut": "the session was ended",
}


def story(rows: list[Line], around: list[Line]) -> Iterator[str]:
    """What happened, in plain words, a line each. `rows`: the event and its verdicts; `around`: its flow."""
    named = {line["id"]: line for line in rows}
    for line in rows:
        if line["event"] not in ("verdict", "review"):
            yield from _event(line)
    for line in rows:
        if line["event"] == "verdict":
            yield from _verdict(line, named.get(line["message"], line), alone=len(rows) == 1)
    reviewed = [line for line in rows if line["event"] == "review"]
    if reviewed:
        yield f"Review of {shown(reviewed[0]['hold'] or '?')}"
    for line in reviewed:
        yield f"  {_time(line['t'])}  {what(line)}"
    for ident in dict.fromkeys(line["flow"] for line in (*rows, *around)):
        of = [line for line in around if line["flow"] == ident and line not in rows]
        yield from _connection(
            ident, [line for line in of if line["event"] in ("flow", "session")],
            [line for line in of if line["event"] == "sign_on"],
        )
    troubles = [line for line in around if line["event"] in ("trouble", "kill") and line not in rows]
    if troubles:
        yield "Trouble on this connection"
        for line in troubles[:20]:
            yield f"  {_time(line['t'])}  {what(line)}{' -> ' + line['did'] if line.get('did') else ''}"
        if len(troubles) > 20:
            yield f"  and {len(troubles) - 20} more"


def _event(line: Line) -> Iterator[str]:
    yield f"{line['event'].replace('_', ' ').capitalize()} {shown(line['id'])}"
    yield f"  when      {_time(line['t'])}" + (f", gateway {shown(line['gateway'])}" if line["gateway"] else "")
    if line.get("file"):
        yield f"  capture   {shown(line['file'])}"
    sort = ", ".join(filter(None, (line.get("protocol"), line.get("kind"), line.get("direction"))))
    if sort:
        yield f"  what      {shown(sort)}"
    if line.get("sender") or line.get("recipients"):
        readers = ", ".join(map(shown, line.get("recipients") or ["?"]))
        yield f"  who       {shown(line.get('sender') or '?')} to {readers}"
    if line.get("user"):
        yield f"  user      {shown(line['user'])} ({line.get('identity') or 'unknown'})"
    if line.get("conversation"):
        yield f"  in        {shown(line['conversation'])}"
    if line["event"] not in ("message", "opaque"):
        said = what(line)
        if said:
            yield f"  details   {said}"
    if line.get("text") is not None:
        yield f"  text      {quoted(line['text'])}"
    elif line["event"] == "message":
        yield "  text      not kept (archive, privacy.text or never_inspect), or none"
    if line["event"] == "file":
        yield from _file(line)
    for part in line.get("texts") or ():
        if part["text"] != line.get("text") and part["text"] is not None:
            yield f"  {pad(shown(part['part'] or 'text'), 9)} {quoted(part['text'])}"
    encryption = line.get("encryption")
    if encryption and encryption["inspectable"] != "full":
        yield f"  encrypted {shown(encryption['scheme'] or 'yes')}: {encryption['inspectable']} could be read"
    if line.get("copy") not in (None, "no"):
        yield f"  copy      {line['copy']}: not the first time that it was seen"


_TAKEN = {
    "spool": "whole, before anything of it left", "stream": "while it left", "pass": "not at all: it was not read",
    "watch": "while it left, without holding it back",
}


def _file(line: Line) -> Iterator[str]:
    """What a file was said to be and what it is."""
    if line["declared_type"]:
        yield f"  declared  {shown(line['declared_type'])}"
    if line["address"]:
        yield f"  from      {shown(line['address'])}"
    for claimed in line["hashes"]:
        yield f"  claimed   {shown(claimed['algorithm'])} {shown(claimed['value'])}"
    if line["offer"]:
        yield f"  offered   {shown(line['offer'])}"
    if line["mode"]:
        left = f"; {line['sent']} bytes had left before the verdict" if line["sent"] else ""
        yield f"  taken     {shown(line['mode'])}: {_TAKEN.get(line['mode'], 'otherwise')}{left}"
    if line["state"] != "transferred":
        return
    media = f" ({shown(line['media_type'])})" if line["media_type"] else ""
    yield f"  content   {', '.join(filter(None, _content(line)))}{media}"
    for name in ("sha256", "sha1", "md5"):
        if line[name]:
            yield f"  {pad(name, 9)} {shown(line[name])}"


def _verdict(line: Line, about: Line, *, alone: bool) -> Iterator[str]:
    yield f"Verdict {shown(line['id'])}"
    if alone:
        yield f"  when      {_time(line['t'])}" + (f", gateway {shown(line['gateway'])}" if line["gateway"] else "")
        yield f"  about     {shown(line['about'] or 'an event')}, {who(line)}"
    for number, finding in enumerate(line["findings"]):
        pack = f", pack {shown(finding['pack'])}" if finding["pack"] else ""
        detail = f": {shown(finding['detail'])}" if finding["detail"] else ""
        label = "found    " if not number else " " * 9
        yield f"  {label} {shown(finding['rule'])} ({finding['detector']}, {finding['severity']}{pack}){detail}"
    if not line["findings"]:
        yield "  found     nothing"
    for number, hit in enumerate(line["hits"]):
        trial = ", on trial only" if hit["mode"] == "shadow" else ""
        final = ", which decided" if hit["rule"] == line["rule"] and not trial else ""
        label = "matched  " if not number else " " * 9
        yield f"  {label} rule {quoted(hit['rule'])}: {hit['action']}{trial}{final}"
    if line["rule"] and not any(hit["rule"] == line["rule"] for hit in line["hits"]):
        yield f"  decided   rule {quoted(line['rule'])}"
    elif not line["hits"]:
        yield "  matched   no rule"
    if line["reason"]:
        yield f"  because   {shown(line['reason'])}"
    yield f"  asked     {line['asked']}"
    yield f"  did       {line['did']}: {_done(line, about)}"
    if line["reference"]:
        yield f"  reference {shown(line['reference'])}"
    if line["notice"]:
        yield f"  told      {quoted(line['notice'])}"
    if line["held"]:
        yield f"  held as   {shown(line['held'])}"
    if line["latency"] is not None:
        yield f"  took      {line['latency'] * 1000:.1f} ms"
    if line["policy"]:
        yield f"  policy    {shown(line['policy'])}"
    if line["packs"]:
        yield f"  packs     {', '.join(map(shown, line['packs']))}"


def _done(line: Line, about: Line) -> str:
    """What became of it. `about`: the event that was judged, where the log has it."""
    if line["mode"] == "monitor" and line["asked"] != "pass":
        return "it was delivered, because the policy does not enforce"
    if line["late"]:
        return "it had been delivered already, because the protocol was recognised late"
    done = _DID.get(line["did"] or "", "")
    if about.get("sent") and line["did"] in ("block", "cut", "hold"):
        done = f"{done}, but for {about['sent']} bytes that had left before"
    if line["asked"] and line["did"] != line["asked"]:
        return f"{done} (what was asked cannot be done with this message in this protocol)"
    return done


def _connection(ident: str | None, flows: list[Line], signed: list[Line]) -> Iterator[str]:
    if ident is None:
        return
    yield f"Connection {shown(ident)}"
    for flow in flows:
        way = f"{_address(flow['client'])} to {_address(flow['server'])}"
        named = f" ({shown(flow['server_name'])})" if flow["server_name"] else ""
        yield f"  from      {way}{named}, {shown(flow['protocol'] or 'not recognised')}{', TLS' if flow['tls'] else ''}"
        if flow["listener"]:
            yield f"  through   {shown(flow['listener'])}"
        if flow["state"] == "end":
            yield f"  ended     {_time(flow['t'])}{', ' + shown(flow['reason']) if flow['reason'] else ''}"
    if not flows:
        yield "  still open, or its end was not logged"
    for line in signed:
        how = f" by {shown(line['mechanism'])}" if line["mechanism"] else ""
        yield f"  signed on {_time(line['t'])} as {shown(line['user'] or '?')} ({line['identity']}){how}"


def _time(t: str) -> str:
    return f"{t[:10]} {t[11:23]} UTC"
