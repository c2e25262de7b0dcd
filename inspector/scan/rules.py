"""The rules of packs: what their meta says, checked, with every fault at its place.

Meta of a rule: id ("core.eicar": the pack's name, a dot, a word), severity, description, scope (message, file, both);
reference and tags (a text, words parted by commas) where wanted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

import msgspec

from inspector.model.verdicts import Severity
from inspector.scan.packs import Pack
from inspector.scan.yararules import Rule, Source, read
from inspector.wire.located import Fault, did_you_mean, shown

SEVERITIES: tuple[str, ...] = get_args(Severity)
SCOPES = ("message", "file", "both")
_REQUIRED = ("id", "severity", "description", "scope")
_KNOWN = (*_REQUIRED, "reference", "tags", "author", "date", "modified", "version", "license", "note")
_ID_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")


class PackRule(msgspec.Struct, frozen=True):
    """A rule of a pack, and what its meta says."""

    id: str
    severity: Severity
    scope: str
    tags: tuple[str, ...]
    description: str
    pack: str
    """The pack's label."""
    namespace: str
    """The namespace it is compiled in: one for each file, the same wherever the pack lies."""
    source: Source
    rule: Rule

    @property
    def for_messages(self) -> bool:
        return self.scope != "file"

    @property
    def for_files(self) -> bool:
        return self.scope != "message"


def read_rules(packs: Iterable[Pack]) -> tuple[list[PackRule], list[Fault]]:
    """All rules of all packs, and what is wrong with them. Private rules have no id and make no findings."""
    rules: list[PackRule] = []
    faults: list[Fault] = []
    ids: dict[str, PackRule] = {}
    for pack in packs:
        for file in pack.files:
            if file.kind != "yara":
                continue
            source = read(file.path, file.data)
            faults.extend(source.faults)
            for rule in source.rules:
                made = _rule(pack, file.path, source, rule, faults)
                if made is None:
                    continue
                if made.id in ids and made.id:
                    first = ids[made.id]
                    where = f"{first.source.path}:{first.source.place(first.rule.at)[0]}"
                    faults.append(source.fault(rule.meta["id"].at, f'the id "{made.id}" is in {where} too'))
                    continue
                ids[made.id] = made
                rules.append(made)
    return rules, faults


def split_tags(text: str) -> tuple[str, ...]:
    """Tags as meta and indicator lists write them: words parted by commas."""
    return tuple(dict.fromkeys(word for part in text.split(",") if (word := part.strip())))


def _rule(pack: Pack, path: str, source: Source, rule: Rule, faults: list[Fault]) -> PackRule | None:
    before = len(faults)
    private = "private" in rule.flags
    texts: dict[str, str] = {}
    for key, value in rule.meta.items():
        if key not in _KNOWN:
            faults.append(source.fault(value.at, f'unknown meta key "{shown(key)}"{did_you_mean(key, _KNOWN)}'))
        elif not isinstance(value.value, str):
            if key in (*_REQUIRED, "tags", "reference"):
                faults.append(source.fault(value.at, f'meta "{key}" must be text'))
        else:
            texts[key] = value.value
    if not private:
        faults.extend(
            source.fault(rule.at, f'the rule "{rule.name}" has no meta "{key}"')
            for key in _REQUIRED if key not in rule.meta
        )
    rule_id = texts.get("id", "")
    if rule_id and not (rule_id.startswith(pack.name + ".") and len(rule_id) > len(pack.name) + 1):
        text = f'the id "{shown(rule_id)}" must begin with the pack\'s name: "{pack.name}."'
        faults.append(source.fault(rule.meta["id"].at, text))
    elif not set(rule_id) <= _ID_CHARS:
        text = f'the id "{shown(rule_id)}" may have small letters, digits, "_", "-" and "."'
        faults.append(source.fault(rule.meta["id"].at, text))
    for key, allowed in (("severity", SEVERITIES), ("scope", SCOPES)):
        if key in texts and texts[key] not in allowed:
            hint = did_you_mean(texts[key], allowed)
            faults.append(source.fault(rule.meta[key].at, f'unknown {key} "{shown(texts[key])}"{hint}'))
    if len(faults) != before:
        return None
    return PackRule(
        id=rule_id,
        severity=msgspec.convert(texts.get("severity", "low"), Severity),
        scope=texts.get("scope", "both" if private else "message"),
        tags=split_tags(texts.get("tags", "")) or rule.tags,
        description=texts.get("description", ""),
        pack=pack.label,
        namespace=f"{pack.name}/{path.rpartition('/')[2]}",
        source=source,
        rule=rule,
    )
