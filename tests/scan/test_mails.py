"""Files in text: mail, uuencode, RTF."""

from __future__ import annotations

import binascii

import pytest

from inspector.model import Limits
from tests.scan import making
from tests.scan.making_files import EICAR, mail, ole, package, pe, rtf, zipped


def test_attachments_are_judged() -> None:
    """With their names, opened if they are archives."""
    report = making.judged(mail({"photo.jpg.exe": pe(), "a.zip": zipped({"eicar.com": EICAR})}), "a.eml")
    assert (report.kinds, report.media_type, report.members) == (("mail",), "message/rfc822", 4)
    assert making.told(report) == {
        "t.eicar": "high", "file.double_extension": "high"}


def test_a_mail_in_a_mail() -> None:
    """An attached mail is opened as well."""
    assert making.told(making.judged(mail({"inner.eml": mail({"e.com": EICAR})}))) == {"t.eicar": "high"}


@pytest.mark.parametrize("disposition", [
    b'attachment; filename="=?utf-8?B?cGhvdG8uanBnLmV4ZQ==?="',
    b"attachment; filename*=utf-8''photo.jpg%2Eexe",
    b"attachment; filename*0=photo.j; filename*1=pg.exe",
    b'attachment;\r\n filename="photo.jpg.exe"',
])
def test_names_in_each_spelling(disposition: bytes) -> None:
    """RFC 2047, RFC 2231, folded lines."""
    data = mail({"x": b"content"}).replace(b'attachment; filename="x"', disposition)
    assert making.told(making.judged(data)) == {"file.double_extension": "high"}


def test_other_transfer_encodings() -> None:
    """Quoted-printable, and what is not encoded."""
    head = b"From: a@b\r\nTo: c@d\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
    text = EICAR.replace(b"-STANDARD", b"=2DSTAND=\r\nARD")
    quoted = head + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + text
    assert making.told(making.judged(quoted)) == {"t.eicar": "high"}


def test_base64_with_rubbish_in_it() -> None:
    """What is no letter of it is skipped, as readers do; an end in mid-group too."""
    data = mail({"e": EICAR})
    at = data.find(b"WDVP")
    assert at > 0
    assert making.told(making.judged(data[:at + 9] + b"!-*\r\n" + data[at + 9:])) == {"t.eicar": "high"}


def test_uuencoded_files() -> None:
    """Between "begin" and "end" in a text of mail."""
    lines = b"".join(binascii.b2a_uu(EICAR[i:i + 45]) for i in range(0, len(EICAR), 45))
    text = b"hello\nbegin 644 photo.jpg.exe\n" + lines + b"`\nend\n"
    head = b"From: a@b\nTo: c@d\nSubject: x\n\n"
    told = making.told(making.judged(head + text))
    assert told == {"t.eicar": "high", "file.double_extension": "high"}


def test_encrypted_mail() -> None:
    """S/MIME is told."""
    head = b"From: a@b\r\nTo: c@d\r\nMIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; name=smime.p7m\r\n"
    assert making.judged(head + b"\r\nAAAA").encrypted


def test_many_parts_are_bounded() -> None:
    """More than are looked at are told; boundaries that never come cost one look."""
    head = b'From: a@b\r\nTo: c@d\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
    part = b"\r\n--b\r\nContent-Type: text/plain\r\n\r\nx"
    assert making.told(making.judged(head + part * 1500)) == {"file.too_many": "high"}
    assert making.told(making.judged(head + b"\n--c" * 100_000)) == {}


def test_objects_in_an_rtf() -> None:
    """Their digits are put together, whatever stands between them; what they are is judged."""
    report = making.judged(rtf(bytes(32) + pe() + EICAR), "a.doc")
    assert report.kinds == ("document",)
    assert making.told(report) == {"t.eicar": "high", "file.embedded_object": "medium"}
    inner = ole({"\x01Ole10Native": package("a.jpg.exe", pe())})
    told = making.told(making.judged(rtf(b"\x01\x05\0\0" + bytes(28) + inner)))
    assert told == {
        "file.embedded_object": "medium", "file.double_extension": "high"}


def test_objects_count_as_unpacked() -> None:
    """Many of them use up the bytes."""
    data = rtf(bytes(50_000)) * 20
    report = making.judged(data, limits=Limits(archive_bytes=300_000))
    assert making.told(report)["file.budget"] == "high"
