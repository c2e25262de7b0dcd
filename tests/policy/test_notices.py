"""policy.notices: texts with variables."""

from __future__ import annotations

import pytest

from inspector.policy.notices import Template


def test_variables_are_filled_and_the_reference_is_left() -> None:
    """All variables but {reference}, which the engine knows later; unknown people and protocols are told as such."""
    template = Template("{rule}: {user} over {protocol}, reference {reference}.")
    assert template.fill("r", "alice", "irc") == "r: alice over irc, reference {reference}."
    assert template.fill("r", None, None) == "r: unknown over unknown, reference {reference}."


def test_a_name_is_never_read_as_a_variable() -> None:
    """Somebody who calls himself {reference} does not get the reference twice."""
    assert Template("{user} {reference}").fill("r", "{reference}", None) == "(reference) {reference}"


@pytest.mark.parametrize(("text", "unknown"), [
    ("no variables", []), ("{rule}{user}", []), ("{foo} {rule}", ["foo"]), ("{rule", ["rule"]), ("a } b", ["}"]),
    ("{}", [""]), ("{{rule}}", ["{rule", "}"]), ("{rule.name}", ["rule.name"]), ("{rule!r}", ["rule!r"]),
])
def test_unknown_variables_are_told(text: str, unknown: list[str]) -> None:
    """Braces name variables and nothing else: no attributes, no formats, no escapes."""
    assert Template.unknown(text) == unknown


def test_a_template_with_unknown_variables_cannot_be_made() -> None:
    """What was not checked before does not pass silently."""
    with pytest.raises(ValueError, match="foo"):
        Template("{foo}")
