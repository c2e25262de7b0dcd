"""The fuzz target itself: what it reads, and that it can fail."""

from __future__ import annotations

import pytest

from inspector.model import DOWN, UP, Chunk, Frame, Spec
from inspector.protocols.registry import SPECS
from tests.fuzz import decoder
from tests.protocols import contract


def test_an_input_is_modes_and_pieces() -> None:
    """What `pack` writes `unpack` reads: ways and bytes, long pieces cut; an end in mid-piece is a shorter piece."""
    said: contract.Said = [(UP, b"a" * 300), (DOWN, b"b"), (UP, b"")]
    modes, pieces = decoder.unpack(decoder.pack(said, 5))
    assert modes == 5
    assert contract.joined(pieces, UP) == b"a" * 300
    assert contract.joined(pieces, DOWN) == b"b"
    assert decoder.unpack(b"\x01\x08ab") == (1, [(UP, b"ab")])
    assert decoder.unpack(b"") == (0, [])


@pytest.mark.fuzz
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_invariant_holds_on_the_seeds(spec: Spec) -> None:
    """Every conversation of the contract suite, in every mode, passes the target."""
    for said in contract.conversations(spec).values():
        for modes in range(8):
            decoder.one(spec, decoder.pack(said, modes))


def test_a_decoder_that_loses_a_byte_is_found() -> None:
    """The target fails when a decoder's frames are not all that was fed."""
    whole = SPECS[0].decoder

    def lossy(*arguments: object) -> object:
        made = whole(*arguments)  # type: ignore[arg-type]

        class Lossy:
            """Drops the last byte of every frame."""

            def __getattr__(self, name: str) -> object:
                return getattr(made, name)

            def feed(self, chunk: Chunk) -> list[Frame]:
                return made.feed(Chunk(chunk.way, chunk.at, chunk.data[:-1]))

        return Lossy()

    spec = Spec(SPECS[0].name, "lossy", SPECS[0].probe, lossy)  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        decoder.one(spec, decoder.pack([(UP, b"NICK a\r\n")]))
