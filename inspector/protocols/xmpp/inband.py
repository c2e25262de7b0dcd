"""Content of in-band bytestreams (XEP-0047)."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from inspector.model import FileOffer, Verdict
from inspector.protocols.xmpp.names import IBB_DATA, QUIET
from inspector.protocols.xmpp.words import says_something

BLOCK_BYTES = 65535
"""Largest block that can be agreed on (XEP-0047 §2.1)."""
_NO_SPACE = str.maketrans("", "", " \t\r\n")


def is_block(element: Element, strays: Sequence[Element]) -> bool:
    """Whether a message is one block of a bytestream and says nothing else (XEP-0047 §4: rules of XEP-0079 aside)."""
    if len(strays) != 1 or strays[0].tag != IBB_DATA or element.get("type") == "error" or says_something(element.text):
        return False
    return all(
        not says_something(child.tail) and (
            child is strays[0] or child.tag.startswith("{http://jabber.org/protocol/amp}")
            or (child.tag in QUIET and not len(child) and not child.text)
        ) and (child is strays[0] or not any(each.text and not each.text.isspace() for each in child.iter()))
        for child in element
    )


def decoded(text: str | None) -> bytes | None:
    """The bytes of base64 as every reader decodes them (RFC 4648 §4; white space is left out by all); None: readers
    differ."""
    if not text:
        return b""
    found = _decoded(text)
    return found if found is not None else _decoded(text.translate(_NO_SPACE))


def _decoded(text: str) -> bytes | None:
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    # Python 3.12 takes padding behind four letters.
    return data if len(text) == (len(data) + 2) // 3 * 4 else None


def told_of(offer: FileOffer | None, refused: Verdict) -> str:
    """What people are told of a refused file."""
    name = "" if offer is None else offer.file_name[:80]
    said = f'The file "{name}"' if name else "A file"
    reference = f" Reference {refused.reference}." if refused.reference else ""
    return f"{said} was not delivered: company policy.{reference}"
