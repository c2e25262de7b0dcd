"""From the text of a policy to its rules, with every fault located (docs/write-a-rule.md describes the format)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import re2  # type: ignore[import-untyped]

from inspector.model import Action, FileMode
from inspector.policy.fields import EVENTS, FIELDS, PROTOCOLS, Field
from inspector.policy.matchers import (
    Matcher,
    Names,
    Network,
    Networks,
    Numbers,
    Pattern,
    Truth,
    Window,
    Windows,
    pattern_options,
    zone_named,
)
from inspector.policy.notices import MOST, VARIABLES, Template
from inspector.policy.rules import (
    All,
    AnyOf,
    Atom,
    Condition,
    Group,
    Not,
    Rule,
    Source,
    Taking,
    atoms,
    looks_at,
    without_finding,
)
from inspector.wire.located import Fault, Faults, Key, Located, did_you_mean, load_yaml, shown

ACTIONS: Mapping[str, Action] = {action.name.lower(): action for action in Action}

TROUBLE: Mapping[str, str] = {
    "malformed": "cut", "gap": "pass", "unclassified": "pass", "overload": "cut", "undecryptable": "cut",
    "scanner_failed": "block", "store_failed": "block",
}
"""Troubles that a policy decides, with their defaults."""
TROUBLE_OF: Mapping[str, Mapping[str, str]] = {"irc": {"malformed": "pass"}}
"""Defaults of single protocols: IRC servers answer a strange line with an error and go on."""

MODES: tuple[FileMode, ...] = get_args(FileMode)

SPOOLED = ("executable", "script", "macro_document", "archive", "disk_image", "unknown")
"""Types of which nothing leaves before the verdict, by default: part of such a file may do harm already."""

INSIDE = (
    "127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7",
    "fe80::/10",
)

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

MOST_RULES = 2000
MOST_VALUES = 10_000
"""Values of one condition; longer lists are indicators and belong into a pack."""
MOST_DEEP = 12
"""Nesting of not, any and all."""
MOST_PATTERN = 2000
"""Characters of one pattern."""
MOST_PROGRAM = 10_000
"""Instructions of one compiled pattern; RE2 counts about one a character, more for classes and repetitions."""
MOST_PROGRAMS = 50_000
"""Instructions of all patterns of a policy, so that the memory of the automaton for them all suffices."""
MOST_NAME = 200

_HEX = "0123456789abcdefABCDEF"

_UNITS: Mapping[str, int] = {
    "": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3,
}


def read(text: str | bytes, path: str, protocols: Iterable[str] = ()) -> Source:
    """Read a policy. `protocols`: names of registered protocols beside those known here. Raises Faults."""
    return _Reader(load_yaml(text, path), frozenset(PROTOCOLS) | frozenset(protocols)).source()


class _Reader:
    """Reads one document; collects faults instead of stopping at the first."""

    def __init__(self, document: Located, protocols: frozenset[str]) -> None:
        self.document = document
        self.protocols = protocols
        self.faults: list[Fault] = []
        self.groups: dict[str, Group] = {}
        self.program = 0

    # -- the file

    def source(self) -> Source:
        top = self.document.value
        if top is None:
            top = {}
        if not isinstance(top, dict):
            raise Faults([self.document.fault("a policy is a mapping with the key rules")])
        self.faults += self.document.unknown(("enforce", "inside", "on_trouble", "groups", "files", "rules"))
        enforce = self.truth(top, True, "enforce")
        inside = Networks(self.networks(top.get("inside", list(INSIDE)), "inside"))
        on_trouble = self.on_trouble(top.get("on_trouble"))
        self.read_groups(top.get("groups"))
        files = self.files(top.get("files"))
        rules = self.rules(top.get("rules"))
        if self.faults:
            raise Faults(self.faults)
        return Source(self.document.path, enforce, inside, on_trouble, tuple(self.groups.values()), rules, files)

    def wrong(self, text: str, *keys: Key) -> None:
        self.faults.append(self.document.fault(text, *keys))

    def wrong_key(self, text: str, *keys: Key) -> None:
        self.faults.append(self.document.key_fault(text, *keys))

    def truth(self, mapping: Mapping[str, Any], default: bool, *keys: Key) -> bool:
        value = mapping.get(str(keys[-1]), default)
        if isinstance(value, bool):
            return value
        self.wrong(f"{keys[-1]} is true or false", *keys)
        return default

    def networks(self, value: Any, *keys: Key) -> list[Network]:
        networks: list[Network] = []
        for item, where in self.listed(value, *keys):
            if not isinstance(item, str):
                self.wrong("a network is text, for example 10.1.0.0/16", *where)
                continue
            try:
                networks.append(ipaddress.ip_network(item))
            except ValueError:
                self.wrong(f'"{shown(item)}" is not a network{_narrower(item)}', *where)
        return networks

    def listed(self, value: Any, *keys: Key) -> list[tuple[Any, tuple[Key, ...]]]:
        """The items of a list with their places; a single value is a list of one."""
        if not isinstance(value, list):
            return [(value, keys)]
        if len(value) > MOST_VALUES:
            self.wrong(f"more than {MOST_VALUES} values; long lists are indicators of a pack", *keys)
            return []
        return [(item, (*keys, index)) for index, item in enumerate(value)]

    # -- on_trouble

    def on_trouble(self, value: Any) -> dict[str, dict[str, str]]:
        table: dict[str, dict[str, str]] = {"default": dict(TROUBLE)}
        table.update({protocol: dict(answers) for protocol, answers in TROUBLE_OF.items()})
        if value is None:
            return table
        if not isinstance(value, dict):
            self.wrong("on_trouble is a mapping of default and protocols", "on_trouble")
            return table
        for protocol, answers in value.items():
            keys: tuple[Key, ...] = ("on_trouble", protocol)
            if protocol != "default" and protocol not in self.protocols:
                near = did_you_mean(protocol, ("default", *self.protocols))
                self.wrong_key(f'unknown protocol "{shown(protocol)}"{near}', *keys)
            if not isinstance(answers, dict):
                self.wrong("a mapping of troubles and what is done: {malformed: cut}", *keys)
                continue
            for name, answer in answers.items():
                if name == "internal":
                    self.wrong_key("internal errors always cut; they cannot be configured", *keys, name)
                    continue
                if name not in TROUBLE:
                    self.wrong_key(f'unknown trouble "{shown(name)}"{did_you_mean(name, TROUBLE)}', *keys, name)
                    continue
                allowed = ("pass", "block", "cut", *(("hold",) if name == "scanner_failed" else ()))
                if answer not in allowed:
                    self.wrong(
                        f'"{shown(answer)}" cannot be done on {name}: {", ".join(allowed)}'
                        f"{did_you_mean(str(answer), allowed)}", *keys, name,
                    )
                    continue
                table.setdefault(protocol, {})[name] = answer
        return table

    # -- groups

    def read_groups(self, value: Any) -> None:
        if value is None:
            return
        if not isinstance(value, dict):
            self.wrong("groups is a mapping of names", "groups")
            return
        for name, body in value.items():
            keys: tuple[Key, ...] = ("groups", name)
            self.groups[name] = Group(name, Networks(()), Names((), fold=True), False)
            if not name or "*" in name:
                self.wrong_key("a group needs a name without *", *keys)
            if not isinstance(body, dict):
                self.wrong("a group is a mapping with addresses, users or both", *keys)
                continue
            self.faults += self.document.unknown(("addresses", "users", "claimed"), *keys)
            if not body.get("addresses") and not body.get("users"):
                self.wrong("a group needs addresses or users", *keys)
            networks = self.networks(body["addresses"], *keys, "addresses") if "addresses" in body else []
            users = self.words(body["users"], *keys, "users") if "users" in body else []
            claimed = self.truth(body, False, *keys, "claimed")
            if claimed and not users:
                self.wrong_key("claimed is about users, and there are none", *keys, "claimed")
            self.groups[name] = Group(name, Networks(networks), Names(users, fold=True), claimed)

    def words(self, value: Any, *keys: Key) -> list[str]:
        words = []
        for item, where in self.listed(value, *keys):
            if isinstance(item, (int, float)) and not isinstance(item, bool):
                item = self.document.raw(*where)  # a nick or room that looks like a number is a name all the same
            if not isinstance(item, str) or not item:
                self.wrong("text is wanted here", *where)
            elif len(item) > MOST_NAME:
                self.wrong(f"longer than {MOST_NAME} characters", *where)
            else:
                words.append(item)
        return words

    # -- files

    def files(self, value: Any) -> tuple[Taking, ...]:
        """The entries of `files:`, and the defaults behind them."""
        entries: list[tuple[Condition, FileMode, tuple[int, int]]] = []
        if value is not None and not isinstance(value, list):
            self.wrong("files is a list of {when: …, mode: …}", "files")
        elif value is not None and len(value) > MOST_RULES:
            self.wrong(f"more than {MOST_RULES} entries", "files")
        elif value is not None:
            for index, body in enumerate(value):
                keys: tuple[Key, ...] = ("files", index)
                if not isinstance(body, dict):
                    self.wrong("an entry is a mapping with when and mode", *keys)
                    continue
                self.faults += self.document.unknown(("when", "mode", "description"), *keys)
                if not isinstance(body.get("description", ""), str):
                    self.wrong("a description is text", *keys, "description")
                when = self.before(body.get("when"), *keys, "when")
                entries.append((when, self.mode(body.get("mode"), *keys, "mode"), self.document.at(*keys)))
        entries += [(condition, mode, (0, 0)) for condition, mode in _BY_DEFAULT]
        return tuple(
            Taking(Rule(index, f"files {index + 1}" if place[0] else "files by default", when, Action.PASS, False, None,
                        None, "", place, place, "none"), mode)
            for index, (when, mode, place) in enumerate(entries)
        )

    def before(self, value: Any, *keys: Key) -> Condition:
        """Conditions on a file whose content has not come."""
        if not isinstance(value, dict):
            self.wrong("an entry needs when: a mapping of conditions ({} for every file)", *keys)
            return All(())
        when = self.condition(value, 1, *keys)
        for atom, _ in atoms(when):
            field = atom.field
            if field.name == "event" or (field.events is not None and "file" not in field.events):
                text = f"files is about files: {field.name} has no use here"
            elif field.scope == "finding" or not field.early:
                text = f"{field.name} cannot be known before the content has come"
            else:
                continue
            self.faults.append(Fault(self.document.path, *atom.place, text))
        return when

    def mode(self, value: Any, *keys: Key) -> FileMode:
        for mode in MODES:
            if value == mode:
                return mode
        if value is None:
            self.wrong(f"an entry needs mode: {', '.join(MODES)}", *keys)
        else:
            self.wrong(f'unknown mode "{shown(value)}"{did_you_mean(str(value), MODES)}', *keys)
        return "spool"

    # -- rules

    def rules(self, value: Any) -> tuple[Rule, ...]:
        if value is None:
            return ()
        if not isinstance(value, list):
            self.wrong("rules is a list", "rules")
            return ()
        if len(value) > MOST_RULES:
            self.wrong(f"more than {MOST_RULES} rules", "rules")
            return ()
        rules: list[Rule] = []
        names: dict[str, int] = {}
        for index, body in enumerate(value):
            rule = self.rule(index, body)
            if rule is None:
                continue
            if rule.name in names:
                self.wrong(f'a rule "{shown(rule.name)}" is there already, on line {names[rule.name]}',
                           "rules", index, "name")
            names.setdefault(rule.name, rule.place[0])
            rules.append(rule)
        return tuple(rules)

    def rule(self, index: int, body: Any) -> Rule | None:
        keys: tuple[Key, ...] = ("rules", index)
        if not isinstance(body, dict):
            self.wrong("a rule is a mapping with name, when and then", *keys)
            return None
        self.faults += self.document.unknown(
            ("name", "when", "then", "mode", "notify", "placeholder", "description"), *keys,
        )
        before = len(self.faults)
        name = body.get("name")
        if not isinstance(name, str) or not name.strip() or len(name) > MOST_NAME or not name.isprintable():
            self.wrong(f"a rule needs a name: text of one line, up to {MOST_NAME} characters", *keys, "name")
            name = ""
        when: Condition = All(())
        if not isinstance(body.get("when"), dict):
            self.wrong("a rule needs when: a mapping of conditions ({} for every event)", *keys, "when")
        else:
            when = self.condition(body["when"], 1, *keys, "when")
        then = self.action(body.get("then"), *keys, "then")
        mode = body.get("mode", "enforce")
        if mode not in ("enforce", "shadow"):
            near = did_you_mean(str(mode), ("enforce", "shadow"))
            self.wrong(f'unknown mode "{shown(mode)}", it is enforce or shadow{near}', *keys, "mode")
        notify = self.template(body, *keys, "notify")
        placeholder = self.template(body, *keys, "placeholder")
        description = body.get("description", "")
        if not isinstance(description, str):
            self.wrong("a description is text", *keys, "description")
            description = ""
        if len(self.faults) > before:
            return None
        self.sense(when, then, notify, placeholder, *keys)
        return Rule(
            index, name, when, then, mode == "shadow", notify, placeholder, description.strip(),
            self.document.at(*keys, "name"), self.document.at(*keys, "then"), looks_at(when),
        )

    def action(self, value: Any, *keys: Key) -> Action:
        if isinstance(value, str) and value in ACTIONS:
            return ACTIONS[value]
        if value is None:
            self.wrong(f"a rule needs then: {', '.join(ACTIONS)}", *keys)
        else:
            self.wrong(f'unknown action "{shown(value)}"{did_you_mean(str(value), ACTIONS)}', *keys)
        return Action.PASS

    def template(self, body: Mapping[str, Any], *keys: Key) -> Template | None:
        value = body.get(str(keys[-1]))
        if value is None:
            if keys[-1] in body:
                self.wrong("text is wanted here", *keys)
            return None
        if not isinstance(value, str) or (not value.strip() and keys[-1] != "notify"):
            self.wrong("text is wanted here", *keys)
            return None
        if len(value) > MOST:
            self.wrong(f"longer than {MOST} characters", *keys)
            return None
        unknown = Template.unknown(value)
        for name in unknown:
            near = did_you_mean(name, VARIABLES)
            self.wrong(f'unknown variable "{{{shown(name)}}}"{near}; there are {", ".join(VARIABLES)}', *keys)
        return None if unknown else Template(" ".join(value.split()))

    def sense(
        self, when: Condition, then: Action, notify: Template | None, placeholder: Template | None, *keys: Key,
    ) -> None:
        """Faults of rules that are well written but cannot do what they say."""
        if then is Action.REDACT and without_finding(when) is not False:
            self.wrong("redact masks what was found: each alternative of when needs a finding.* condition",
                       *keys, "then")
        if notify is not None and then is Action.PASS:
            self.wrong_key("notify has no use where a message passes; warn delivers and tells", *keys, "notify")
        if placeholder is not None and then not in (Action.BLOCK, Action.HOLD):
            self.wrong_key("placeholder is for block and hold", *keys, "placeholder")
        required = _required(when)
        named = [atom for atom in required if atom.field.name == "event"]
        events = [name for name in EVENTS if all(atom.matcher.holds(name) for atom in named)]  # type: ignore[arg-type]
        if then is Action.HOLD and named and not set(events) & {"message", "file"}:
            self.wrong("hold is for messages and files", *keys, "then")
        for atom in required:
            having = atom.field.events
            if having is not None and not having & set(events):
                told = f"{' and '.join(events)} events have" if events else "no event has"
                self.faults.append(Fault(
                    self.document.path, *atom.place,
                    f"{told} no {atom.field.name}: the rule can never match" if events
                    else "no event is all of this: the rule can never match",
                ))
            events = [name for name in events if having is None or name in having]
        states = [atom for atom in required if atom.field.name == "file.state"]
        offer = not all(atom.matcher.holds("transferred") for atom in states)  # type: ignore[arg-type]
        for atom in required:
            if offer and atom.field.name in _OF_CONTENT:
                told = f"{atom.field.name} is not known of an offered file: the rule can never match"
                self.faults.append(Fault(self.document.path, *atom.place, told))

    # -- conditions

    def condition(self, value: Any, depth: int, *keys: Key) -> Condition:
        """A mapping: all of its conditions."""
        if not isinstance(value, dict):
            self.wrong("a mapping of conditions is wanted here, for example {direction: outbound}", *keys)
            return All(())
        if depth > MOST_DEEP:
            self.wrong(f"not, any and all nested more than {MOST_DEEP} deep", *keys)
            return All(())
        items: list[Condition] = []
        for name, asked in value.items():
            where = (*keys, name)
            if name == "not":
                inner = self.several(asked, depth, any_of=True, keys=where)
                items.append(Not(inner))
            elif name in ("any", "all"):
                items.append(self.several(asked, depth, any_of=name == "any", keys=where))
            elif name not in FIELDS:
                near = did_you_mean(name, (*FIELDS, "not", "any", "all"))
                self.wrong_key(f'unknown field "{shown(name)}"{near}', *where)
            else:
                atom = self.atom(FIELDS[name], asked, value, *where)
                if atom is not None:
                    items.append(atom)
        return items[0] if len(items) == 1 else All(tuple(items))

    def several(self, value: Any, depth: int, *, any_of: bool, keys: tuple[Key, ...]) -> Condition:
        """What stands under not, any and all: a list of mappings; under `not`, one mapping is usual."""
        if keys[-1] == "not" and isinstance(value, dict):
            if not value:
                self.wrong("nothing is named here", *keys)
            return self.condition(value, depth + 1, *keys)
        if not isinstance(value, list) or not value:
            wanted = "conditions or a list of them" if keys[-1] == "not" else "a list of conditions"
            self.wrong(f"{keys[-1]} takes {wanted}: [{{…}}, {{…}}]", *keys)
            return All(())
        items = tuple(self.condition(item, depth + 1, *keys, index) for index, item in enumerate(value))
        return AnyOf(items) if any_of else All(items)

    def atom(self, field: Field, asked: Any, beside: Mapping[str, Any], *keys: Key) -> Atom | None:
        before = len(self.faults)
        matcher: Matcher | None = None
        if field.takes in ("words", "names"):
            words = self.words(asked, *keys)
            self.check_words(field, asked, beside, *keys)
            matcher = Names(words, fold=field.takes == "names")
        elif field.takes == "numbers":
            matcher = Numbers([self.numbers(field, item, *where) for item, where in self.listed(asked, *keys)])
        elif field.takes == "truth":
            if isinstance(asked, bool):
                matcher = Truth(asked)
            else:
                self.wrong(f"{field.name} is true or false", *keys)
        elif field.takes == "pattern":
            matcher = self.pattern(asked, *keys)
        else:
            windows = [self.window(item, *where) for item, where in self.listed(asked, *keys)]
            matcher = Windows([window for window in windows if window is not None])
        if isinstance(asked, list) and not asked:
            self.wrong("an empty list matches nothing", *keys)
        if matcher is None or len(self.faults) > before:
            return None
        return Atom(field, matcher, self.document.key_at(*keys), f"{field.name}: {_written(asked)}")

    def check_words(self, field: Field, asked: Any, beside: Mapping[str, Any], *keys: Key) -> None:
        """Refuse values that do not exist: a rule with a slip of the pen would never match, and nobody would know."""
        allowed: tuple[str, ...] | None = field.allowed
        if field.name == "file.sha256":
            for item, where in self.listed(asked, *keys):
                if "*" not in str(item) and (len(str(item)) != 64 or str(item).strip(_HEX)):
                    self.wrong(f'"{shown(item)}" is no SHA-256 digest: 64 hexadecimal digits, in quotes', *where)
            return
        if field.name == "group":
            allowed = tuple(self.groups)
        elif field.name == "protocol":
            allowed = tuple(sorted(self.protocols))
        elif field.name == "kind":
            events = beside.get("event")
            if events == "opaque" or (isinstance(events, list) and "opaque" in events):
                return  # the kinds of opaque events are the protocols' own words
        if allowed is None:
            return
        for item, where in self.listed(asked, *keys):
            if not isinstance(item, str) or item in allowed or (field.name == "file.type" and "/" in item):
                continue
            if "*" in item and any(Names([item]).holds(word) for word in allowed):
                continue
            what = {"group": "group", "protocol": "protocol", "event": "event"}.get(field.name, f"{field.name}")
            self.wrong(f'unknown {what} "{shown(item)}"{did_you_mean(item, allowed)}', *where)

    def numbers(self, field: Field, asked: Any, *keys: Key) -> tuple[float | None, float | None]:
        """5, "5-9", ">5", ">=5", "<5", "<=5"; sizes with units. Open ends of whole numbers lie one further."""
        nothing = (None, None)
        if isinstance(asked, (int, float)) and not isinstance(asked, bool):
            if asked < 0:
                self.wrong(f"{field.name} is never negative", *keys)
            return (asked, asked)
        if isinstance(asked, str):
            text = asked.replace(" ", "")
            sign = next((s for s in (">=", "<=", ">", "<") if text.startswith(s)), "")
            low, dash, high = text[len(sign):].partition("-")
            first = _amount(low, field)
            second = _amount(high, field) if dash else first
            if first is not None and second is not None and not (sign and dash) and first <= second:
                least = 1.0 if field.unit else 1e-12
                return {
                    "": (first, second), ">=": (first, None), "<=": (None, first), ">": (first + least, None),
                    "<": (None, first - least),
                }[sign]
        example = {"bytes": '">10MB"', "port": '"6660-6669"', "count": '">100"'}.get(field.unit, '">=0.8"')
        self.wrong(f"not a number, range or comparison like {example}", *keys)
        return nothing

    def pattern(self, asked: Any, *keys: Key) -> Pattern | None:
        sources = []
        for item, where in self.listed(asked, *keys):
            if not isinstance(item, str) or not item:
                self.wrong("a regular expression is text: put it into quotes", *where)
                continue
            if len(item) > MOST_PATTERN:
                self.wrong(f"a pattern longer than {MOST_PATTERN} characters", *where)
                continue
            try:
                compiled = re2.compile(item, pattern_options())
            except re2.error as exc:
                told = exc.args[0].decode("utf-8", "replace") if exc.args and isinstance(exc.args[0], bytes) else exc
                self.wrong(f"not a regular expression of RE2: {shown(told, 100)}", *where)
                continue
            size = compiled.programsize
            self.program += size
            if size > MOST_PROGRAM or self.program > MOST_PROGRAMS:
                self.wrong("the pattern is too large when compiled: fewer or smaller repetitions, please", *where)
            elif compiled.search(b"") is not None:
                self.wrong("the pattern matches the empty text, so it would match everything", *where)
            else:
                sources.append(item)
        return Pattern(sources) if sources else None

    # -- time

    def window(self, asked: Any, *keys: Key) -> Window | None:
        if not isinstance(asked, dict):
            self.wrong('a time is {days: [mon-fri], from: "08:00", to: "18:00", zone: Europe/Zurich}', *keys)
            return None
        before = len(self.faults)
        self.faults += self.document.unknown(("days", "from", "to", "zone"), *keys)
        days = self.days(asked["days"], *keys, "days") if "days" in asked else frozenset(range(7))
        start = self.minute(asked.get("from", "00:00"), *keys, "from")
        end = self.minute(asked.get("to", "24:00"), *keys, "to")
        if start == 24 * 60:
            self.wrong("from is before 24:00", *keys, "from")
        elif start == end and start is not None:
            self.wrong("from and to are the same", *keys, "to")
        zone_name = asked.get("zone", "UTC")
        zone = zone_named(zone_name) if isinstance(zone_name, str) else None
        if zone is None:
            self.wrong(f'unknown time zone "{shown(zone_name)}"; zones are named like Europe/Zurich', *keys, "zone")
        if start is None or end is None or zone is None or len(self.faults) > before:
            return None
        return Window(days, start, end, zone)

    def days(self, asked: Any, *keys: Key) -> frozenset[int]:
        days: set[int] = set()
        for item, where in self.listed(asked, *keys):
            first, dash, last = str(item).lower().partition("-")
            last = last if dash else first
            if first not in DAYS or last not in DAYS:
                self.wrong(f'"{shown(item)}" is no day: {", ".join(DAYS)}, or a range like mon-fri', *where)
                continue
            start, end = DAYS.index(first), DAYS.index(last)
            days.update((start + n) % 7 for n in range((end - start) % 7 + 1))
        if asked == []:
            self.wrong("no days", *keys)
        return frozenset(days)

    def minute(self, asked: Any, *keys: Key) -> int | None:
        hour, colon, minute = str(asked).partition(":")
        if colon and len(minute) == 2 and 1 <= len(hour) <= 2 and (hour + minute).isdecimal() and asked.isascii():
            minutes = int(hour) * 60 + int(minute)
            if int(minute) < 60 and minutes <= 24 * 60:
                return minutes
        self.wrong(f'"{shown(asked)}" is no time of day like "08:00"', *keys)
        return None


def _is(name: str, *words: str) -> Atom:
    """A condition that stands in no file."""
    return Atom(FIELDS[name], Names(words), (0, 0), f"{name}: {_written(list(words) if len(words) > 1 else words[0])}")


_OF_CONTENT = frozenset({"file.complete", "file.encrypted", "file.members", "file.sha256"})
"""Fields of files whose content has come: of an offer they are unknown."""


def _required(condition: Condition) -> list[Atom]:
    """Atoms that must hold for the condition to hold: those not under `any` or `not`."""
    if isinstance(condition, Atom):
        return [condition]
    if isinstance(condition, All):
        return [atom for item in condition.items for atom in _required(item)]
    return []


def _amount(text: str, field: Field) -> float | None:
    digits = text.rstrip("BKMGTibkmgt") if field.unit == "bytes" else text
    unit = text[len(digits):].lower()
    if unit not in _UNITS or not digits or digits.strip("0123456789.") or digits.count(".") > 1 or digits == ".":
        return None
    value = float(digits) * _UNITS[unit]
    if field.unit in ("port", "count") and not (value.is_integer() and (value <= 65535 or field.unit == "count")):
        return None
    return value


def _narrower(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return ", like 10.1.0.0/16"
    return f" (did you mean {network}?)"


def _written(asked: Any) -> str:
    """A value as it is written in a policy, for explanations."""
    if isinstance(asked, list):
        return f"[{', '.join(map(_written, asked))}]"
    if isinstance(asked, dict):
        return f"{{{', '.join(f'{key}: {_written(value)}' for key, value in asked.items())}}}"
    if isinstance(asked, bool):
        return "true" if asked else "false"
    return shown(asked)


_BY_DEFAULT: tuple[tuple[Condition, FileMode], ...] = (
    (_is("direction", "outbound"), "spool"), (_is("file.type", *SPOOLED), "spool"), (All(()), "stream"),
)
"""How a file is taken that no entry of `files:` decides (docs/files.md)."""

__all__ = ["ACTIONS", "DAYS", "INSIDE", "MODES", "TROUBLE", "read"]

