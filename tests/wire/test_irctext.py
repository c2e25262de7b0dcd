"""Texts of IRC: charsets, codes, masks, ciphers."""

from __future__ import annotations

from inspector.model import CLEAR, Encryption, Text
from inspector.wire.irctext import (
    decode,
    encryption_of,
    fit,
    masked,
    other_reading,
    plain_of,
    shown,
    texts_of,
    wire,
    written,
)


def test_charset_is_utf8_else_cp1252_else_latin1_and_japanese_by_its_escapes() -> None:
    """Bytes that no charset rejects silently: every one can be written back."""
    assert decode("é".encode()) == ("é", "utf-8")
    assert decode(b"caf\xe9 \x93q\x94") == ("café “q”", "cp1252")
    assert decode(b"\x81\xff") == ("\x81ÿ", "latin-1")
    assert decode("庭".encode("iso2022_jp")) == ("庭", "iso2022_jp")


def test_masks_keep_the_charset_and_drop_codes_inside() -> None:
    """One star a character; formatting inside the masked word goes, around it stays."""
    assert masked(b"\x02a se\x02\x0304cret b\x0f", [(2, 8)]) == b"\x02a ****** b\x0f"
    assert masked("Grüße an alle".encode("cp1252"), [(0, 5)]) == "***** an alle".encode("cp1252")
    assert masked("庭のトマト".encode("iso2022_jp"), [(0, 1)]).decode("iso2022_jp") == "*のトマト"
    assert masked("schön".encode(), [(4, 99), (0, 1)]) == "*chö*".encode()


def test_a_mask_never_makes_a_text_longer() -> None:
    """ISO-2022-JP needs escapes around each star: its end is given up rather than the line limit."""
    data = "庭のトマト庭のトマト".encode("iso2022_jp")
    stars = masked(data, [(i, i + 1) for i in range(0, 10, 2)])
    assert len(stars) <= len(data)
    assert stars.decode("iso2022_jp").startswith("*の*")


def test_a_text_is_cut_at_a_character() -> None:
    """No half of a UTF-8 character is left behind."""
    assert fit("aéé".encode(), 4) == "aé".encode()
    assert fit(b"abc", 5) == b"abc"
    assert fit("é".encode(), 1) == b""
    assert fit(b"abc", -3) == b""


def test_what_a_person_reads_has_no_codes() -> None:
    """Colours, marks and NUL go; a text of nothing else is none."""
    assert plain_of(b"\x02se\x0304,01cr\x0fet\x00") == "secret"
    assert texts_of("body", b"\x02\x0f") == ()
    assert texts_of("body", b"hello") == (Text("body", "hello"),)


def test_another_reading_of_a_guessed_charset_is_told() -> None:
    """One wrong byte makes CP1252 of what most clients show as UTF-8; ISO-2022-JP's escapes hide letters."""
    assert other_reading("schön".encode() + b"\xff") == "schön"
    assert other_reading(b"\x1b$Bsecret\x1b(B") == " secret "
    assert other_reading("sch\x1b(Bön".encode()) == "schön"
    assert other_reading("schön".encode()) is None
    assert other_reading(b"plain") is None
    assert texts_of("body", "schön".encode() + b"\xff")[1] == Text("body", "schön", None, False)


def test_written_is_the_text_with_its_codes_where_it_has_any() -> None:
    """Evidence for the log; nothing where there is no difference."""
    assert written(b"\x02a\x02", texts_of("body", b"\x02a\x02")) == "\x02a\x02"
    assert written(b"a", texts_of("body", b"a")) is None


def test_words_of_ours_hold_no_line_break() -> None:
    """What a rule's notice says cannot end a line."""
    assert wire("a\r\nb\0c é") == "a  b c é".encode()


def test_a_name_is_shown_in_utf8_or_cp1252() -> None:
    """There are channels in CP1252, too."""
    assert shown("#grün".encode()) == shown("#grün".encode("cp1252")) == "#grün"


def test_ciphers_are_told_by_their_starts() -> None:
    """FiSH, its key exchange, OTR and PGP; words that only begin alike are clear."""
    assert encryption_of("hello") is CLEAR
    assert encryption_of("?OTR:AAMC.") == Encryption("metadata", "otr")
    assert encryption_of("+OK abcdefghijkl") == Encryption("metadata", "fish")
    assert encryption_of("DH1080_INIT abc") == Encryption("metadata", "fish")
    assert encryption_of("-----BEGIN PGP MESSAGE-----") == Encryption("metadata", "openpgp")
    assert encryption_of("-----BEGIN PGP PUBLIC KEY BLOCK-----") is CLEAR
    assert encryption_of("+OK fine then") is CLEAR
