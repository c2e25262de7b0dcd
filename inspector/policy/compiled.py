"""A compiled policy: the port model.Policy, and the plain interpreter that explains each decision."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from inspector.model import (
    DOWN,
    UP,
    Action,
    Context,
    Event,
    File,
    FileMode,
    FileOffer,
    Finding,
    Hit,
    Identity,
    Message,
    SignOn,
    Span,
    Verdict,
    Way,
)
from inspector.policy.fields import EVENTS, JID_PROTOCOLS, Facts, peers
from inspector.policy.matchers import Names, PatternSet
from inspector.policy.program import Judge, judge, text_atoms
from inspector.policy.reader import read
from inspector.policy.rules import All, AnyOf, Atom, Condition, Matched, Not, Rule, Source, atoms
from inspector.policy.shadowed import hidden
from inspector.wire.located import Fault

_PLANS = 512
"""Kinds of sessions whose generated code is kept; a site has a few dozen."""


class Said(msgspec.Struct, frozen=True):
    """What one rule had to say of an event.

    `reached`: whether it was looked at at all, a final rule before it being none; `findings`: those it matched with.
    """

    rule: str
    line: int
    reached: bool
    matched: bool
    why: str
    findings: tuple[Finding, ...] = ()


_Code = tuple[Judge | None, Judge | None, bool]
"""Code for one kind of event, one way, in one kind of session: without findings, with findings, asks for the peer."""

_Plan = dict[type, _Code]
"""Code by kind of event, for one way of one kind of session; filled when first asked for."""

_Session = tuple[str | None, str | None, _Plan, _Plan, tuple[bool, ...]]
"""What `enter` leaves in Context.plan: protocol and user that it was worked out from, plans of both ways, truths.

Plain tuples and dicts: decide() runs for every message, and reading five fields of a struct costs more than all else.
"""


class CompiledPolicy:
    """Decides. One instance serves all sessions of a worker; `enter` works out once a session what its events share."""

    def __init__(self, source: Source, digest: str) -> None:
        self.source = source
        self.digest = digest
        self.enforce = source.enforce
        self.path = source.path
        self.groups = tuple(group.name for group in source.groups)
        self.rules = source.rules
        self._takings = tuple(taking.rule for taking in source.files)
        every = (*source.rules, *self._takings)
        self._plans: dict[tuple[str | None, tuple[bool, ...], Way, str], _Plan] = {}
        self._steady = tuple({
            id(atom): atom
            for rule in every for atom, _ in atoms(rule.when)
            if atom.field.scope == "session" and atom.field.name not in ("event", "direction")
        }.values())
        """Conditions that are the same for all events of a session."""
        self._steady_index = {id(atom): index for index, atom in enumerate(self._steady)}
        texts = text_atoms(every)
        self._pattern_index = {id(atom): index for index, (atom, _) in enumerate(texts)}
        self._texts = PatternSet(pattern.joined for _, pattern in texts) if texts else None
        self._asks_peer = any(
            atom.field.name == "peer" for rule in every for atom, _ in atoms(rule.when)
        )

    # -- the port

    def enter(self, context: Context) -> None:
        """Fill groups and directions of a context, and what all its events share."""
        inside = self.source.inside
        flow = context.flow
        client, server = inside.holds(flow.client.ip), inside.holds(flow.server.ip)
        context.directions = (_direction(client, server), _direction(server, client))
        context.groups = self._groups_of(context, context.user, context.identity)
        truths = self._truths(context, context.user, context.identity, context.groups)
        session: _Session = (
            context.protocol, context.user,
            self._plan(context.protocol, truths, UP, context.directions[0]),
            self._plan(context.protocol, truths, DOWN, context.directions[1]),
            truths,
        )
        context.plan = session
        context.policy = self

    def decide(
        self, event: Event, context: Context, way: Way, at: float, findings: tuple[Finding, ...],
    ) -> Verdict | None:
        """The verdict on one event; None: passes, and no rule (shadow ones included) has anything to say of it."""
        if context.policy is not self:
            self.enter(context)
        session: Any = context.plan
        protocol, user, up, down, _ = session
        if protocol is not context.protocol or user is not context.user:
            self.enter(context)
            session = context.plan
            _, _, up, down, _ = session
        plan = down if way else up
        code = plan.get(type(event)) or self._first(event, context, way, plan)
        run = code[1] if findings else code[0]
        if run is None:
            return None
        if code[2] and len(getattr(event, "recipients", ())) > 1:
            return self._by_peer(run, event, context, way, at, findings)
        hits = run(event, context, at, None, findings)
        return None if hits is None else self._verdict(hits, event, context, findings)

    def _by_peer(
        self, run: Judge, event: Event, context: Context, way: Way, at: float, findings: tuple[Finding, ...],
    ) -> Verdict | None:
        """Each recipient is judged for himself, and the strictest verdict holds for all: `not: {peer: …}` must not be
        satisfied by adding a harmless recipient, nor a pass be earned by one."""
        verdicts = []
        for other in peers(event, way) or (None,):
            hits = run(event, context, at, other, findings)
            if hits is not None:
                verdicts.append(self._verdict(hits, event, context, findings))
        return strictest(verdicts) if verdicts else None

    def file_mode(self, offer: FileOffer, context: Context, way: Way, at: float) -> FileMode:
        """How the content of an offered file is to be taken. Of several recipients: the most careful mode."""
        session: Any = context.plan
        if context.policy is not self or session[0] is not context.protocol or session[1] is not context.user:
            self.enter(context)
            session = context.plan
        plan: _Plan = session[3] if way else session[2]
        code = plan.get(_Taking)
        if code is None:
            direction = context.directions[way]
            code = plan[_Taking] = self._code("file", context.protocol, session[4], way, direction, self._takings)
        run = code[0]
        assert run is not None, "the last default always holds"
        several = code[2] and len(offer.recipients) > 1
        modes = []
        for other in (peers(offer, way) or (None,)) if several else (None,):
            hits = run(offer, context, at, other, ())
            assert hits is not None, "the last default always holds"
            modes.append(self.source.files[hits[0][0].index].mode)
        return _most_careful(modes)

    def on_trouble(self, name: str, protocol: str | None) -> str:
        """ "pass", "block", "cut" or "hold". What a policy cannot decide (internal, injection) cuts."""
        table = self.source.on_trouble
        own = table.get(protocol) if protocol is not None else None
        if own is not None and name in own:
            return own[name]
        return table["default"].get(name, "cut")

    # -- beside the port

    def hidden(self) -> tuple[Fault, ...]:
        """Rules that can never be reached because an earlier one ends the evaluation of all they match."""
        return hidden(self.source)

    def explain(
        self, event: Event, context: Context, way: Way, at: float, findings: tuple[Finding, ...],
    ) -> list[Said]:
        """Why each rule did or did not match, in the order of the policy, by the plain interpreter.

        Of an event with several recipients: for the one whose verdict is the strictest.
        """
        return self.interpret(event, context, way, at, findings)[1]

    def interpret(
        self, event: Event, context: Context, way: Way, at: float, findings: tuple[Finding, ...],
    ) -> tuple[Verdict | None, list[Said]]:
        """The verdict and its explanation, without generated code: rule by rule, condition by condition."""
        if context.policy is not self:
            self.enter(context)
        user, identity, groups = context.user, context.identity, context.groups
        if isinstance(event, SignOn):
            user, identity = event.user, event.identity
            groups = self._groups_of(context, user, identity)
        others = peers(event, way)
        told: list[tuple[Verdict | None, list[Said]]] = []
        for peer in [(other,) for other in others] if self._asks_peer and len(others) > 1 else [others]:
            facts = Facts(event, context, way, at, user=user, identity=identity, groups=groups, peer=peer)
            hits, said = self._interpret(facts, findings)
            told.append((self._verdict(hits, event, context, findings) if hits else None, said))
        verdict = strictest(verdict for verdict, _ in told if verdict is not None)
        worst = max(told, key=lambda pair: -1 if pair[0] is None else pair[0].action)
        return verdict, worst[1]

    def explain_mode(
        self, offer: FileOffer, context: Context, way: Way, at: float,
    ) -> tuple[FileMode, list[Said]]:
        """The mode of a file, and why each entry of `files:` did or did not hold, by the plain interpreter.

        Of an offer to several recipients: for the one who calls for the most careful mode.
        """
        if context.policy is not self:
            self.enter(context)
        others = peers(offer, way)
        told: dict[FileMode, list[Said]] = {}
        for peer in [(other,) for other in others] if self._asks_peer and len(others) > 1 else [others]:
            facts = Facts(offer, context, way, at, user=context.user, identity=context.identity, groups=context.groups,
                          peer=peer)
            said = []
            for taking in self.source.files:
                matched, why = _condition(taking.rule.when, facts)
                said.append(Said(taking.rule.name, taking.rule.place[0], True, matched, f"{taking.mode}: {why}"))
                if matched:
                    told.setdefault(taking.mode, said)
                    break
        mode = _most_careful(told)
        return mode, told[mode]

    # -- inside

    def _groups_of(self, context: Context, user: str | None, identity: Identity) -> frozenset[str]:
        ip = context.flow.client.ip
        jids = context.protocol in JID_PROTOCOLS
        groups = []
        for group in self.source.groups:
            known = user is not None and (identity == "authenticated" or group.claimed)
            if group.addresses.holds(ip) or (known and _named(group.users, user or "", jids)):
                groups.append(group.name)
        return frozenset(groups)

    def _truths(
        self, context: Context, user: str | None, identity: Identity, groups: frozenset[str],
    ) -> tuple[bool, ...]:
        if not self._steady:
            return ()
        facts = Facts(_NOBODY, context, UP, 0.0, user=user, identity=identity, groups=groups, peer=())
        return tuple(_holds(atom, facts) for atom in self._steady)

    def _plan(self, protocol: str | None, truths: tuple[bool, ...], way: Way, direction: str) -> _Plan:
        key = (protocol, truths, way, direction)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _PLANS:
                self._plans.clear()  # sessions keep the plans they have
            plan = self._plans[key] = {}
        return plan

    def _first(self, event: Event, context: Context, way: Way, plan: _Plan) -> _Code:
        """Code for a kind of event that this kind of session has not seen that way, and for every sign-on.

        A sign-on is judged by the name it brings, whatever the session had before: by the code of sessions that have
        that name. It is kept under a key of its own, so that `decide` does not find it in the session's present plan.
        """
        direction = context.directions[way]
        if isinstance(event, SignOn):
            groups = self._groups_of(context, event.user, event.identity)
            truths = self._truths(context, event.user, event.identity, groups)
            named = self._plan(context.protocol, truths, way, direction)
            if _SigningOn not in named:
                named[_SigningOn] = self._code("sign_on", context.protocol, truths, way, direction)
            return named[_SigningOn]
        session: Any = context.plan
        code = plan[type(event)] = self._code(event.name, context.protocol, session[4], way, direction)
        return code

    def _code(
        self, event: str, protocol: str | None, truths: tuple[bool, ...], way: Way, direction: str,
        rules: tuple[Rule, ...] | None = None,
    ) -> _Code:
        def known(atom: Atom) -> bool | None:
            field, matcher = atom.field, atom.matcher
            if field.events is not None and event not in field.events:
                return False
            if field.name == "event":
                assert isinstance(matcher, Names)
                return matcher.holds(event)
            if field.name == "direction":
                assert isinstance(matcher, Names)
                return matcher.holds(direction)
            return truths[self._steady_index[id(atom)]] if field.scope == "session" else None

        if event not in EVENTS:
            raise ValueError(f"unknown event {event}")
        jids = protocol in JID_PROTOCOLS
        (quiet, one), (found, two) = (
            judge(
                self.rules if rules is None else rules, known, way=way, found=found, jids=jids, texts=self._texts,
                pattern_index=self._pattern_index,
            )
            for found in (False, True)
        )
        return quiet, found, one or two

    def _verdict(
        self, hits: list[Matched], event: Event, context: Context, findings: tuple[Finding, ...],
    ) -> Verdict:
        """From the rules that matched, in order, to what is done."""
        record: list[Hit] = []
        warned: list[Rule] = []
        masking: list[Matched] = []
        spans: list[Span] = []
        final: Matched | None = None
        action = Action.PASS
        for rule, matched in hits:
            record.append(Hit(rule.name, rule.then, "shadow" if rule.shadow else "enforce"))
            if rule.shadow:
                continue
            if rule.then is Action.WARN:
                warned.append(rule)
            elif rule.then is Action.REDACT:
                places = maskable(event, matched)
                if places is None:
                    # It cannot be masked, so it does not leave; a later `pass` must not let it out either.
                    final, action = (rule, matched), Action.BLOCK
                    break
                masking.append((rule, matched))
                spans += places
            else:
                final, action = (rule, matched), rule.then
                if action is Action.HOLD and not isinstance(event, (Message, FileOffer, File)):
                    action = Action.BLOCK  # only messages and files can be kept for a reviewer
                break
        masks = merged(spans)
        deciding: list[Matched]
        if final is not None and action is not Action.PASS:
            deciding, masks = [final], ()
        elif final is not None:
            # `pass` overrides a warning, but what was masked stays masked.
            deciding, action = (masking, Action.REDACT) if masks else ([final], Action.PASS)
        else:
            deciding = [*masking, *((rule, ()) for rule in warned)]
            action = Action.REDACT if masking else Action.WARN if warned else Action.PASS
        first = deciding[0][0] if deciding else None
        user = event.user if isinstance(event, SignOn) else context.user
        notices = dict.fromkeys(
            rule.notify.fill(rule.name, user, context.protocol)
            for rule, _ in deciding if rule.notify is not None
        )
        # `notify: ""` tells nobody, where without it the engine has words of its own.
        told = " ".join(filter(None, notices)) if notices else None
        placeholder = first.placeholder if first is not None else None
        return Verdict(
            action, None if first is None else first.name, _reason(deciding), "", told,
            None if placeholder is None or first is None
            else placeholder.fill(first.name, user, context.protocol),
            masks, tuple(record), findings,
        )

    def _interpret(self, facts: Facts, findings: tuple[Finding, ...]) -> tuple[list[Matched], list[Said]]:
        hits: list[Matched] = []
        said: list[Said] = []
        ended: Rule | None = None
        for rule in self.rules:
            line = rule.place[0]
            if ended is not None:
                said.append(Said(rule.name, line, False, False, f'not reached: "{ended.name}" had decided'))
                continue
            matched, why, with_findings = _interpreted(rule, facts, findings)
            said.append(Said(rule.name, line, True, matched, why, with_findings))
            if matched:
                hits.append((rule, with_findings))
                if rule.final or (
                    rule.then is Action.REDACT and not rule.shadow and maskable(facts.event, with_findings) is None
                ):
                    ended = rule
        return hits, said


class _SigningOn:
    """Stands for SignOn in a plan."""


class _Taking:
    """Stands for the entries of `files:` in a plan."""


_NOBODY = SignOn(user="", identity="unknown")
"""Stands for the event where only conditions of the session are asked."""


def compile(text: str | bytes, path: str, protocols: Iterable[str] = ()) -> CompiledPolicy:
    """Compile a policy. `path` is what faults are reported with; `protocols`: names of the registered protocols, beside
    those a policy may always use. Raises wire.located.Faults with all that is wrong in it."""
    source = read(text, path, protocols)
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return CompiledPolicy(source, f"sha256:{hashlib.sha256(raw).hexdigest()}")


def maskable(event: Event, findings: tuple[Finding, ...]) -> list[Span] | None:
    """The spans of findings; None when one has no span, or a text cannot be changed in place, nor a file's content."""
    spans: list[Span] = []
    if isinstance(event, File):
        return None
    texts = event.texts
    for finding in findings:
        if not finding.spans:
            return None
        for span in finding.spans:
            index, start, end = span
            if not 0 <= index < len(texts) or not texts[index].editable:
                return None
            if not 0 <= start < end <= len(texts[index].plain):
                return None
            spans.append(span)
    return spans


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Spans in order, those that touch or overlap as one."""
    result: list[Span] = []
    for index, start, end in sorted(set(spans)):
        if result and result[-1][0] == index and result[-1][2] >= start:
            result[-1] = (index, result[-1][1], max(result[-1][2], end))
        else:
            result.append((index, start, end))
    return tuple(result)


def strictest(verdicts: Iterable[Verdict]) -> Verdict | None:
    """One verdict of several on the same event: the strictest, with the masks and hits of all."""
    every = list(verdicts)
    if not every:
        return None
    worst = max(every, key=lambda verdict: verdict.action)
    if len(every) == 1:
        return worst
    masks = merged(span for verdict in every for span in verdict.masks)
    hits = tuple(dict.fromkeys(hit for verdict in every for hit in verdict.hits))
    return msgspec.structs.replace(worst, masks=masks if worst.action is Action.REDACT else (), hits=hits)


def _most_careful(modes: Iterable[FileMode]) -> FileMode:
    return min(modes, key=("spool", "stream", "pass").index)


def _direction(writer: bool, reader: bool) -> str:
    if not writer:
        return "inbound"
    return "internal" if reader else "outbound"


def _named(names: Names, user: str, jids: bool) -> bool:
    return names.holds_jid(user) if jids else names.holds(user)


def _reason(deciding: list[Matched]) -> str:
    """What was found, or else what the rules say of themselves."""
    found = dict.fromkeys(finding.rule for _, findings in deciding for finding in findings)
    if found:
        return ", ".join(found)
    return "; ".join(rule.description for rule, _ in deciding if rule.description)


def _holds(atom: Atom, facts: Facts) -> bool:
    matcher = atom.matcher
    holds = matcher.holds_jid if (
        isinstance(matcher, Names) and facts.jids and atom.field.name in ("user", "peer", "conversation")
    ) else matcher.holds
    return any(holds(value) for value in facts.of(atom.field.name))


def _interpreted(rule: Rule, facts: Facts, findings: tuple[Finding, ...]) -> tuple[bool, str, tuple[Finding, ...]]:
    """Whether a rule matches, why, and with which findings."""
    if rule.findings == "none" or not findings:
        facts.finding = None
        value, why = _condition(rule.when, facts)
        return value, why, ()
    matched, whys = [], []
    for finding in findings:
        facts.finding = finding
        value, why = _condition(rule.when, facts)
        whys.append(f"{finding.rule}: {why}" if len(findings) > 1 else why)
        if value:
            matched.append(finding)
        elif rule.findings == "every":
            return False, whys[-1], ()
    facts.finding = None
    if rule.findings == "every":
        return True, why, ()
    return bool(matched), "; ".join(dict.fromkeys(whys)), tuple(matched)


def _condition(condition: Condition, facts: Facts) -> tuple[bool, str]:
    """The value of a condition and the conditions that made it so."""
    if isinstance(condition, Atom):
        value = _holds(condition, facts)
        if value:
            return True, condition.shown
        return False, f"not {condition.shown} ({_told(condition, facts)})"
    if isinstance(condition, Not):
        value, why = _condition(condition.item, facts)
        return not value, why
    decisive = isinstance(condition, AnyOf)
    whys = []
    for item in condition.items:
        value, why = _condition(item, facts)
        if value is decisive:
            return decisive, why
        whys.append(why)
    if not whys:
        return isinstance(condition, All), "every event"
    return not decisive, ", ".join(whys)


def _told(atom: Atom, facts: Facts) -> str:
    """The value an explanation shows; never a text, which is somebody's words."""
    field = atom.field
    values = facts.of(field.name)
    if not values:
        if field.events is not None and facts.event.name not in field.events:
            return f"a {facts.event.name} event has none"
        return "unknown"
    if field.takes == "pattern":
        return "not in the text"
    if field.takes == "windows":
        return "another time"
    return "it is " + ", ".join(map(str, values))
