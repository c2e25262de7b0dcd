"""What a content is, by its bytes."""

from __future__ import annotations

import gzip
import struct
import tarfile
import zlib

import pytest

from inspector.policy.fields import FILE_TYPES
from inspector.scan.content import Held
from inspector.scan.filetypes import KINDS, format_of, identify, kinds_of, ordered, tar_header, text_of
from tests.scan.making_files import (
    CLASS,
    ELF,
    GIF,
    JPEG,
    LNK,
    PDF,
    PNG,
    SCRIPT,
    cab,
    compressed,
    iso,
    mail,
    ole,
    pe,
    rar4,
    rar5,
    rtf,
    sevenzip,
    tarred,
    zipped,
)


def names(data: bytes) -> list[str]:
    return [one.name for one in identify(Held(data))]


RIFF = b"RIFF\x20\0\0\0"
UTF16 = "\ufeff[InternetShortcut]\r\nURL=http://a.test\r\n".encode("utf-16-le")
SAMPLES: dict[str, list[bytes]] = {
    "pe": [pe()], "elf": [ELF], "class": [CLASS], "dos": [b"MZ" + bytes(62) + b"code"],
    "macho": [b"\xcf\xfa\xed\xfe" + bytes(30), b"\xca\xfe\xba\xbe\0\0\0\x02" + bytes(30)],
    "dex": [b"dex\n035\0" + bytes(30)], "lnk": [LNK], "chm": [b"ITSF\x03\0\0\0" + bytes(40)],
    "swf": [b"CWS\x0a" + bytes(20)], "rpm": [b"\xed\xab\xee\xdb\x03" + bytes(90)], "pyc": [b"\xf3\x0d\r\n" + bytes(20)],
    "zip": [zipped({"a": b"a"}), b"PK\x05\x06" + bytes(18)], "7z": [sevenzip({"a": b"a"})],
    "rar": [rar4({"a": b"a"}), rar5({"a": b"a"})], "gzip": [gzip.compress(b"a")],
    "bzip2": [compressed(b"a")["bz2"]], "xz": [compressed(b"a")["xz"]], "lzma": [compressed(b"a")["lzma"]],
    "lzip": [compressed(b"a")["lz"]], "zstd": [b"\x28\xb5\x2f\xfd" + bytes(9)], "tar": [tarred({"a": b"a"})],
    "cab": [cab({"a": b"a"})], "lzh": [b"\x20\x00-lh5-" + bytes(20)], "ace": [b"\0" * 7 + b"**ACE**" + bytes(20)],
    "arj": [b"\x60\xea\x2b\0\x22\x0b\x01\x0b\x10\0\x02" + bytes(40)], "compress": [b"\x1f\x9d\x90" + bytes(9)],
    "iso": [iso({"A": b"a"})], "vhd": [b"conectix" + bytes(600), bytes(512) + b"conectix" + bytes(504)],
    "vhdx": [b"vhdxfile" + bytes(30)], "vmdk": [b"KDMV" + bytes(30)], "dmg": [bytes(900) + b"koly" + bytes(508)],
    "ole": [ole({"a": b"a"})], "rtf": [rtf(b"x")], "pdf": [PDF, b"junk\n" + PDF], "onenote": [
        bytes.fromhex("e4525c7b8cd8a74daeb15378d02996d3") + bytes(30)],
    "postscript": [b"%!PS-Adobe-3.0\n"], "jpeg": [JPEG], "png": [PNG], "gif": [GIF],
    "bmp": [b"BM" + bytes(12) + struct.pack("<I", 40) + bytes(40)], "tiff": [b"II*\0" + bytes(20)],
    "ico": [b"\0\0\x01\0\x01\0\x20\x20\0\0" + bytes(20)], "webp": [RIFF + b"WEBPVP8 " + bytes(20)],
    "ani": [RIFF + b"ACONanih" + bytes(20)], "heif": [b"\0\0\0\x18ftypheic" + bytes(20)],
    "svg": [b'<?xml version="1.0"?>\n<svg xmlns="x"/>', b"<svg width='1'></svg>"],
    "wav": [RIFF + b"WAVEfmt " + bytes(20)], "mp3": [b"ID3\x04" + bytes(20), b"\xff\xfb\x90\x44" + bytes(20)],
    "ogg": [b"OggS" + bytes(20)], "flac": [b"fLaC" + bytes(20)], "amr": [b"#!AMR\n" + bytes(20)],
    "m4a": [b"\0\0\0\x18ftypM4A " + bytes(20)], "mp4": [b"\0\0\0\x18ftypisom" + bytes(20)],
    "avi": [RIFF + b"AVI LIST" + bytes(20)], "matroska": [b"\x1aE\xdf\xa3" + bytes(20)],
    "flv": [b"FLV\x01" + bytes(20)], "font": [b"OTTO\0\x0a" + bytes(20)], "woff": [b"wOF2" + bytes(20)],
    "shebang": [SCRIPT, b"\xef\xbb\xbf#!/usr/bin/env python3\n", b"\n\n#! /bin/sh\n"],
    "bat": [b"@echo off\r\ndel x\r\n", b"\r\n @ECHO OFF\r\n"],
    "powershell": [b"$c = New-Object Net.WebClient\nInvoke-Expression $c.DownloadString('x')\n"],
    "vbscript": [b"On Error Resume Next\r\nSet s = CreateObject(\"WScript.Shell\")\r\n"],
    "jscript": [b"var s = new ActiveXObject('WScript.Shell');\ns.Run('calc');\n", b"#@~^bgAAAA=="],
    "hta": [b"<html><head><HTA:APPLICATION id=a></head></html>"],
    "wsf": [b"<job><script language='VBScript'>x</script></job>", b"<?xml version='1.0'?><scriptlet></scriptlet>"],
    "reg": [b"Windows Registry Editor Version 5.00\r\n", b"REGEDIT4\r\n"],
    "shortcut": [b"[InternetShortcut]\r\nURL=file://x\r\n", UTF16, b"[Shell]\r\nCommand=2\r\nIconFile=\\\\h\\x\r\n"],
    "desktop": [b"[Desktop Entry]\nExec=sh\n"], "inf": [b"[Version]\r\nSignature=\"$CHICAGO$\"\r\n"],
    "php": [b"<?php system('x');"], "html": [b"<!DOCTYPE html><p>hi", b"\r\n <HTML><body>hi"],
    "xml": [b"<?xml version='1.0'?><a/>"], "mail": [mail({"a": b"a"})],
    "text": [b"hello\n", "Grüße, 你好\n".encode(), "Die Größe der Straße".encode("latin-1"), b"a,b\n1,2\n",
             "\ufeffhello".encode("utf-16-le"), b"MZ is a district on the map"],
}
"""Format -> contents that are of it (and may be of others besides)."""


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_each_format_is_recognised(name: str) -> None:
    """By content alone; text formats and others by themselves."""
    for data in SAMPLES[name]:
        assert name in names(data), data[:60]


@pytest.mark.parametrize("data", [
    b"", b"\0" * 600, b"\x01\x02\x03\x04" * 40, b"\xff\xfe\0\0", b"PK\x06\x06" + bytes(60), b"\x60\xea" + bytes(9),
    b"\0\0\x01\0\xff\xff" + bytes(30),
])
def test_what_is_not_known_has_no_kind(data: bytes) -> None:
    """Neither a guess nor an error."""
    assert identify(Held(data)) == ()


@pytest.mark.parametrize("text", [
    b"I wrote a script, it begins with #!/bin/sh and then @echo off",
    b"Use CreateObject( to make one", b"[notes]\nmeet at 8\n", b"From: here to there\nDate: today? no\n",
    b"a < b and b > c", b"The PDF spec says %PDF is first", b"see <html> tags", b"Version 5 of the editor",
])
def test_texts_that_speak_of_scripts(text: bytes) -> None:
    """They are texts."""
    assert kinds_of(identify(Held(text))) == ("text",)


def test_a_file_that_is_pdf_zip_and_script_at_once() -> None:
    """All of its kinds, the most dangerous first."""
    data = b"#!/bin/sh\nexit 0\n" + PDF + zipped({"a.txt": b"hello"})
    found = identify(Held(data))
    assert [one.name for one in found] == ["shebang", "zip", "pdf"]
    assert kinds_of(found) == ("script", "archive", "document")


def test_other_polyglots() -> None:
    """A picture with a RAR behind it, a program that is an HTML application too, a disc image behind a PDF."""
    assert names(JPEG + rar5({"a": b"a"})) == ["rar", "jpeg"]
    assert names(pe(600) + b"<hta:application>") == ["pe", "hta"]
    assert names(PDF.ljust(32768, b"\0") + iso({"A": b"a"})[32768:]) == ["iso", "pdf"]


def test_the_magic_of_an_archive_in_a_program_is_none() -> None:
    """Only a header with the right checksum is an archive."""
    assert names(pe(600) + b"Rar!\x1a\x07\x01\0" + bytes(60) + b"7z\xbc\xaf\x27\x1c\0\x04" + bytes(60)) == ["pe"]


def test_kinds_are_the_words_of_policy() -> None:
    """The same vocabulary, each in its rank."""
    assert set(KINDS) == set(FILE_TYPES) - {"unknown"}
    assert kinds_of([format_of("text"), format_of("ole_macro"), format_of("pe")]) == (
        "executable", "macro_document", "document", "text")
    assert [one.name for one in ordered([format_of("font"), format_of("png"), format_of("elf"), format_of("png")])] == [
        "elf", "font", "png"]


def test_texts_are_told_from_bytes() -> None:
    """UTF-8 cut in mid-character is text; bytes with zeros are not, without a mark."""
    assert text_of(b"hello \xc3") == "hello "
    assert text_of(b"a\0b") is None
    assert text_of(bytes(range(128, 256)) * 3) is None


def test_checksums_of_tar() -> None:
    """Right, summed as old writers did, wrong."""
    head = bytearray(tarred({"\xe9\xe9": b""}, format_=tarfile.GNU_FORMAT)[:512])
    assert tar_header(bytes(head))
    high = sum(byte > 127 for byte in head)
    signed = sum(head[:148]) + sum(head[156:]) + 256 - 256 * high
    assert high
    assert tar_header(bytes(head[:148]) + b"%06o\0 " % signed + bytes(head[156:]))
    head[0] ^= 1
    assert not tar_header(bytes(head))
    assert not tar_header(bytes(512))


def test_identifying_is_quick_whatever_the_bytes() -> None:
    """Sixty thousand beginnings of archives that are none cost a look each, and few are taken."""
    data = b"Rar!\x1a\x07\x01\0" * 60_000 + zlib.compress(b"x")
    assert names(b"x" + data) == []
