"""A row's place in its chain: every change of what was written is seen, an erased row still stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.store.chain import GENESIS, Link, body_of, digest_of, header_of, walk


def chain(count: int, name: str = "0") -> list[Link]:
    """A whole chain."""
    links: list[Link] = []
    head = GENESIS
    for seq in range(1, count + 1):
        line, salt = f'{{"n":{seq}}}'.encode(), bytes([seq % 256]) * 16
        fields = (f"id{seq}", 1000.0 + seq, "verdict", "block", None, "")
        body = body_of(salt, line)
        head = digest_of(head, header_of(name, seq, *fields), body)
        links.append(Link(name, seq, *fields, line, salt, body, head))
    return links


def last_fault(links: list[Link]) -> str | None:
    """The first fault, None when all verify."""
    for _, state in walk(links):
        if state.fault is not None:
            return str(state.fault)
    return None


def change(link: Link, **fields: object) -> Link:
    """The row with other fields."""
    values = {name: getattr(link, name) for name in Link.__slots__}
    return Link(**{**values, **fields})


def test_a_whole_chain_verifies() -> None:
    """Every row, and the head is the last one's digest."""
    links = chain(20)
    *_, (link, state) = walk(links)
    assert (state.rows, state.head, state.fault) == (20, link.digest, None)


def test_two_chains_are_walked_one_after_the_other() -> None:
    """Each from its own beginning."""
    assert last_fault([*chain(3, "0"), *chain(4, "1")]) is None


@pytest.mark.parametrize("field", [
    {"id": "other"}, {"t": 1.0}, {"event": "message"}, {"action": "pass"}, {"rule": "r"}, {"reference": None},
    {"line": b"{}"}, {"salt": b"x" * 16}, {"body": b"b" * 32}, {"digest": b"d" * 32},
])
def test_a_changed_field_is_seen(field: dict[str, object]) -> None:
    """Whatever is changed of a row in the middle."""
    links = chain(5)
    links[2] = change(links[2], **field)
    assert "row 3" in (last_fault(links) or "")


def test_a_removed_and_a_reordered_row_are_seen() -> None:
    """A missing one, two that were exchanged, one that is there twice."""
    links = chain(5)
    assert "row 3 is missing" in (last_fault(links[:2] + links[3:]) or "")
    swapped = [*links[:2], change(links[3], seq=3), change(links[2], seq=4), links[4]]
    assert "row 3" in (last_fault(swapped) or "")
    assert "twice" in (last_fault([*links[:3], links[2], *links[3:]]) or "")


def test_an_erased_row_verifies_and_is_counted() -> None:
    """Without line and salt the rest still proves that the row was there."""
    links = chain(5)
    links[2] = change(links[2], line=b"{}", salt=None)
    *_, (_, state) = walk(links)
    assert (state.rows, state.erased, state.fault) == (5, 1, None)


def test_an_erased_row_cannot_be_filled_with_other_words() -> None:
    """A new line with a salt of one's own does not match what was kept."""
    links = chain(5)
    links[2] = change(links[2], line=b'{"n":"other"}', salt=b"s" * 16)
    assert "was changed" in (last_fault(links) or "")


@given(st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=3, max_size=3),
       st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=3, max_size=3))
def test_headers_of_different_fields_differ(one: list[str | None], two: list[str | None]) -> None:
    """No two rows' fields run together into the same bytes; None is not ""."""
    same = header_of("0", 1, "i", 1.0, "e", *one) == header_of("0", 1, "i", 1.0, "e", *two)
    assert same is (one == two)
