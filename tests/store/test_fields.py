"""The catalogue of events: its page and its JSON Schema are made from it, and every line obeys the schema."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from inspector.store.fields import HEAD, KINDS, schema
from inspector.store.lines import render
from tests.store.rows import bare, full

HOUSE = Path(__file__).resolve().parents[2]
MADE = runpy.run_path(str(HOUSE / "tools" / "events_page.py"))
VALIDATOR = jsonschema.Draft202012Validator(schema())


def test_the_page_and_the_schema_are_current() -> None:
    """docs/events.md and events.schema.json are what tools/events_page.py would write now."""
    assert (HOUSE / "docs" / "events.md").read_text() == MADE["page"](), "run tools/events_page.py"
    assert (HOUSE / "inspector" / "store" / "events.schema.json").read_text() == MADE["schema_text"]()


def test_the_schema_is_a_schema() -> None:
    """It is valid JSON Schema 2020-12 and closed: no kind lets a field through that it does not name."""
    jsonschema.Draft202012Validator.check_schema(schema())
    assert all(kind["additionalProperties"] is False for kind in schema()["oneOf"])


@pytest.mark.parametrize("event", KINDS)
def test_a_full_and_a_bare_row_of_every_kind_obey_the_schema(event: str) -> None:
    """Whatever is known of an event, its line is valid; `file` is there only when it came from a capture."""
    for row in (full(event), bare(event), full(event, file="a.pcap")):
        line = json.loads(render(row, "gw1"))
        VALIDATOR.validate(line)
        assert ("file" in line) is bool(row.get("file"))
        named = [field.name for field in (*HEAD, *KINDS[event]) if field.name != "file" or row.get("file")]
        assert list(line) == named


@pytest.mark.parametrize(("field", "value"), [("t", "yesterday"), ("surprise", 1), ("schema", 2), ("way", "sideways")])
def test_the_schema_refuses(field: str, value: Any) -> None:
    """A line with an unknown field, a time of another form or a word outside the vocabulary is invalid."""
    line = json.loads(render(full("message"), "gw1"))
    line[field] = value
    assert not VALIDATOR.is_valid(line)


def test_a_missing_field_is_invalid() -> None:
    """Unknown is null: a field that is absent is a fault of ours."""
    line = json.loads(render(full("verdict"), "gw1"))
    del line["held"]
    assert not VALIDATOR.is_valid(line)


def test_no_field_is_named_twice() -> None:
    """Head and kind together name each field once."""
    for event, fields in KINDS.items():
        names = [field.name for field in (*HEAD, *fields)]
        assert len(names) == len(set(names)), event
