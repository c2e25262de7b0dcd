"""Rules as generated code: what is left of them for one kind of event, one way, in one kind of session.

A rule is first folded: conditions that are the same for all events of the session (protocol, direction, group, user,
port …) and conditions on findings where there are none are replaced by their truth. Most rules vanish. What stays is
written as one Python function, an `if` a rule, ten times cheaper than a call a rule. Only names that this module makes
up itself stand in the source; everything from the policy is reached through a namespace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inspector.model import Context, Event, File, Finding, Way
from inspector.policy.fields import conversation, file_state, file_types, packs, peers, read_content, scheme
from inspector.policy.matchers import Names, Pattern, PatternSet
from inspector.policy.rules import AnyOf, Atom, Condition, Matched, Not, Rule, atoms

USUAL: Mapping[str, str] = {"kind": "chat", "copy": "no", "inspectable": "full"}
"""What nearly every message is: most rules that ask ask for something else."""

Judge = Callable[[Event, Context, float, str | None, tuple[Finding, ...]], list[Matched] | None]
"""(event, context, at, peer, findings) -> the rules that matched, up to and with the first final one; None: none.
`peer`: the one recipient of several that is judged; None: there is one at most, and it is looked up when asked for."""

Truth = Callable[[Atom], bool | None]
"""The value of a condition as far as it is known before the event is; None: only the event can tell."""

_COST: Mapping[str, int] = {"text": 9, "time": 8, "file.type": 7, "conversation": 5, "peer": 5, "file.name": 5}
"""Rough price of a condition, so that cheap ones are asked first. What has an expression costs nothing."""


def judge(
    rules: Sequence[Rule], known: Truth, *, way: Way, found: bool, jids: bool, texts: PatternSet | None,
    pattern_index: Mapping[int, int],
) -> tuple[Judge | None, bool]:
    """The function for these rules, None when none of them can match; and whether it asks for the peer.

    `known`: truth of what is known beforehand; `found`: whether there are findings; `jids`: whether names of people
    are XMPP addresses; `texts` and `pattern_index`: all text patterns, and the index of each text condition (by id).
    """
    writer = _Writer(known, found, jids, pattern_index)
    writer.write(rules)
    if writer.read and not found:

        def usually(atom: Atom) -> bool | None:
            value = known(atom)
            if value is None and atom.field.name in USUAL:
                return atom.matcher.holds(USUAL[atom.field.name])  # type: ignore[arg-type]
            return value

        plain = _Writer(usually, found, jids, pattern_index)
        plain.write(rules)
        if not plain.lines:
            # None of them is about usual events: say so before anything else is looked at.
            writer.guard = " and ".join(f'{name} == "{USUAL[name]}"' for name in writer.read)
    return writer.function(texts, lambda event: next(iter(peers(event, way)), None)), writer.asks_peer


class _Writer:
    """Writes the source of one function."""

    def __init__(self, known: Truth, found: bool, jids: bool, pattern_index: Mapping[int, int]) -> None:
        self.known = known
        self.found = found
        self.jids = jids
        self.pattern_index = pattern_index
        self.asks_peer = False
        self.peers: list[Callable[[str], bool]] = []
        """Every question that is asked of the peer's name."""
        self.read: dict[str, str] = {}
        """Local names of what is read of the event once, and where from."""
        self.guard = ""
        """What holds where none of the rules can match."""
        self.lines: list[str] = []
        self.names: dict[str, object] = {}

    def write(self, rules: Sequence[Rule]) -> None:
        """Write all rules, up to the first that always matches and is final."""
        for rule in rules:
            if not self.rule(rule):
                break
        # Of rules that vanished in the end parts may have been folded before.
        body = "".join(self.lines)
        self.asks_peer = "P(event)" in body
        self.read = {name: read for name, read in self.read.items() if f"({name} " in body}

    def name(self, value: object) -> str:
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name

    def rule(self, rule: Rule) -> bool:
        """Write one rule. False: it always matches and is final, so that nothing after it is ever reached."""
        condition, _ = self.fold(rule.when)
        if condition is False:
            return True
        constant = self.name(rule)
        if rule.findings == "none" or not self.found:
            matched, test = f"({constant}, ())", condition
        elif rule.findings == "some":
            self.lines.append(f"    m = tuple([f for f in findings if {condition}])")
            matched, test = f"({constant}, m)", "m"
        else:
            matched, test = f"({constant}, ())", f"all([{condition} for f in findings])"
        then = f"return [*(hits or ()), {matched}]" if rule.final else f"hits = [*(hits or ()), {matched}]"
        if test is True:
            self.lines.append(f"    {then}")
            return not rule.final
        self.lines.append(f"    if {test}:")
        self.lines.append(f"        {then}")
        return True

    def fold(self, condition: Condition) -> tuple[bool | str, int]:
        """True, False, or an expression; and what it costs."""
        if isinstance(condition, Atom):
            return self.atom(condition)
        if isinstance(condition, Not):
            value, cost = self.fold(condition.item)
            return (not value if isinstance(value, bool) else f"(not {value})"), cost
        decisive = isinstance(condition, AnyOf)
        parts: list[tuple[int, str]] = []
        for item in condition.items:
            value, cost = self.fold(item)
            if value is decisive:
                return decisive, 0
            if isinstance(value, str):
                parts.append((cost, value))
        if not parts:
            return not decisive, 0
        parts.sort(key=lambda part: part[0])
        joined = (" or " if decisive else " and ").join(text for _, text in parts)
        return (f"({joined})" if len(parts) > 1 else joined), max(cost for cost, _ in parts)

    def atom(self, atom: Atom) -> tuple[bool | str, int]:
        field, matcher = atom.field, atom.matcher
        if field.scope == "finding":
            if not self.found:
                return False, 0
            if field.expression is not None and isinstance(matcher, Names) and not matcher.globs:
                return self.among(field.expression, matcher), 0
            return f"{self.name(_finding_test(atom))}(f)", 3
        value = self.known(atom)
        if value is not None:
            return value, 0
        if field.expression is not None and isinstance(matcher, Names) and not matcher.globs:
            self.read[field.name] = field.expression
            return self.among(field.name, matcher), 0
        if field.name == "text":
            # All patterns are looked for at once, when the first rule asks.
            index = self.pattern_index[id(atom)]
            return f"({index} in (t or (t := T(event.texts))))", _COST["text"]
        if field.name == "time":
            return f"{self.name(matcher.holds)}(at)", _COST["time"]
        if field.name == "peer":
            assert isinstance(matcher, Names)
            question = matcher.holds_jid if self.jids else matcher.holds
            if question not in self.peers:
                self.peers.append(question)
            index = self.peers.index(question)
            return f"((peer := peer or P(event)) is not None and (w or (w := K(peer)))[{index}])", _COST["peer"]
        if field.name == "application":
            test = self.name(matcher.holds)
            return f"(context.application is not None and {test}(context.application))", 4
        if field.name == "confidence":
            return f"{self.name(matcher.holds)}(context.confidence)", 4
        return f"{self.name(_event_test(atom, self.jids))}(event)", _COST.get(field.name, 4)

    def among(self, expression: str, matcher: Names) -> str:
        if len(matcher.exact) == 1:
            return f"({expression} == {self.name(next(iter(matcher.exact)))})"
        return f"({expression} in {self.name(matcher.exact)})"

    def function(self, texts: PatternSet | None, one_peer: Callable[[Event], str | None]) -> Judge | None:
        if not self.lines:
            return None
        first = [f"    {name} = {read}" for name, read in self.read.items()]
        if self.guard:
            first.append(f"    if {self.guard}: return None")
        body = "\n".join([*first, *self.lines])
        source = f"def judge(event, context, at, peer, findings):\n    hits = t = w = None\n{body}\n    return hits\n"
        namespace: dict[str, Any] = {"__builtins__": {"all": all, "tuple": tuple}, "P": one_peer, **self.names}
        if self.peers:
            namespace["K"] = _known_peers(tuple(self.peers))
        if texts is not None:
            namespace["T"] = _finder(texts)
        exec(compile(source, "<policy>", "exec"), namespace)  # noqa: S102 - see the module's docstring
        made: Judge = namespace["judge"]
        return made


_PEERS = 4096
"""Names of peers whose answers are remembered: people talk with the same few over and over."""
_PEER_LENGTH = 256
"""Longer names are asked anew each time: what is remembered is bounded in bytes, too."""


def _known_peers(questions: tuple[Callable[[str], bool], ...]) -> Callable[[str], tuple[bool, ...]]:
    """Name of a peer -> the answers to all questions about it."""
    known: dict[str, tuple[bool, ...]] = {}

    def answers(peer: str) -> tuple[bool, ...]:
        found = known.get(peer)
        if found is None:
            found = tuple([question(peer) for question in questions])
            if len(peer) <= _PEER_LENGTH:
                if len(known) >= _PEERS:
                    known.clear()
                known[peer] = found
        return found

    return answers


def _finder(texts: PatternSet) -> Callable[[Sequence[Any]], frozenset[int]]:
    return lambda parts: texts.found(part.plain for part in parts)


def _event_test(atom: Atom, jids: bool) -> Callable[[Any], bool]:
    """A condition as a function of the event, for fields that generated code does not read itself."""
    matcher: Any = atom.matcher
    holds = matcher.holds
    match atom.field.name:
        case "conversation":
            named = matcher.holds_jid if jids else holds

            def in_conversation(event: Event) -> bool:
                value = conversation(event)
                return value is not None and named(value)

            return in_conversation
        case "encryption":

            def encrypted(event: Event) -> bool:
                value = scheme(event)
                return value is not None and holds(value)

            return encrypted
        case "file.type":
            return lambda event: any(holds(value) for value in file_types(event))
        case "file.name":
            return lambda event: bool(event.file_name) and holds(event.file_name)
        case "file.size":
            return lambda event: event.size is not None and holds(event.size)
        case "file.state":
            return lambda event: (state := file_state(event)) is not None and holds(state)
        case "file.method":
            return lambda event: bool(event.method) and holds(event.method)
        case "file.complete":
            return lambda event: isinstance(event, File) and holds(event.complete)
        case "file.encrypted":
            return lambda event: (file := read_content(event)) is not None and holds(file.encrypted)
        case "file.members":
            return lambda event: (file := read_content(event)) is not None and holds(file.members)
        case "file.sha256":
            return lambda event: (file := read_content(event)) is not None and holds(file.sha256)
        case "kind":
            return lambda event: holds(event.kind)
        case "copy":
            return lambda event: holds(event.copy)
        case "inspectable":
            return lambda event: holds(event.encryption.inspectable)
        case name:
            raise ValueError(f"the field {name} cannot be asked of an event")


def _finding_test(atom: Atom) -> Callable[[Finding], bool]:
    matcher = atom.matcher
    assert isinstance(matcher, Names)
    holds = matcher.holds
    match atom.field.name:
        case "finding.rule":
            return lambda finding: holds(finding.rule)
        case "finding.severity":
            return lambda finding: holds(finding.severity)
        case "finding.pack":
            return lambda finding: any(holds(value) for value in packs(finding))
        case "finding.tag":
            return lambda finding: any(holds(tag) for tag in finding.tags)
        case name:
            raise ValueError(f"the field {name} cannot be asked of a finding")


def text_atoms(rules: Sequence[Rule]) -> list[tuple[Atom, Pattern]]:
    """Every text condition, in the order of the policy."""
    return [
        (atom, atom.matcher)
        for rule in rules
        for atom, _ in atoms(rule.when)
        if isinstance(atom.matcher, Pattern)
    ]
