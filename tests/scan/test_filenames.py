"""Tricks with names, and what a name claims."""

from __future__ import annotations

import pytest

from inspector.policy.fields import FILE_TYPES
from inspector.scan.filenames import ENDINGS, claims, ending, mismatch, safe, tricks


def rules(name: str) -> dict[str, str]:
    return {one.rule: one.severity for one in tricks(name)}


@pytest.mark.parametrize("name", [
    "", "report.pdf", "setup.exe", "archive.tar.gz", "jquery.min.js", "v1.2.3.zip", "My holiday photo.jpg",
    "a/b/c.txt", "[Content_Types].xml", ".bashrc", "README", "Notes of 3.11.", "фото.jpg", "תמונה.jpg",
    "libfoo.so.1.2", "data.json.py", "word/vbaProject.bin", "console.log", "author.txt", "a - b.doc",
])
def test_names_without_a_trick(name: str) -> None:
    """Many dots, other scripts and folders are no tricks."""
    assert rules(name) == {}


@pytest.mark.parametrize(("name", "severity"), [
    ("photo.jpg.exe", "high"), ("LETTER.TXT.vbs", "high"), ("a.pdf .lnk", "high"), ("x/report.docx.scr. ", "high"),
    ("a.zip.bat", "high"), ("photo.jpg.exe\u200b", "high"),
])
def test_double_endings(name: str, severity: str) -> None:
    """A harmless one in front of one that runs."""
    assert rules(name)["double_extension"] == severity


@pytest.mark.parametrize(("name", "severity"), [
    ("photo\u202egpj.exe", "high"), ("a\u202db.txt", "high"), ("a\u2067b.txt", "medium"), ("\u202aa.txt", "medium"),
])
def test_directions(name: str, severity: str) -> None:
    """Overrides are high, embeddings and isolates medium; they show in the detail as what they are."""
    (trick,) = [one for one in tricks(name) if one.rule == "bidi_name"]
    assert trick.severity == severity
    assert "\\u20" in trick.detail and name not in trick.detail


@pytest.mark.parametrize(("name", "severity"), [
    ("photo.jpg" + " " * 40 + ".exe", "high"), ("setup.exe ", "high"), ("setup.exe...", "high"),
    ("setup.ex\u200be", "high"), ("setup.exe\0.jpg", "medium"), ("a\u00a0\u00a0\u00a0\u00a0b.pdf", "medium"),
    ("x.p\u00adif", "high"), ("a\tb.txt", "medium"), ("a.pdf\u3000", "medium"),
])
def test_endings_that_do_not_show(name: str, severity: str) -> None:
    """Blanks, trailing dots, controls."""
    assert rules(name)["hidden_extension"] == severity


@pytest.mark.parametrize(("name", "severity"), [
    ("../a", "high"), ("a/../../b", "high"), ("a\\..\\b", "high"), ("..", "high"), ("//host/share", "high"),
    ("\\\\host\\share", "high"), ("/etc/passwd", "medium"), ("\\windows", "medium"), ("C:\\x", "medium"),
    ("c:x", "medium"), ("photo.jpg:evil.exe", "high"), ("nul", "low"), ("a/COM1.txt", "low"), ("LPT\u00b9", "low"),
    ("aux .c", "low"), ("a/.. /b", "high"),
])
def test_paths(name: str, severity: str) -> None:
    """Out of the folder, to another host, absolute, a device."""
    assert rules(name)["unsafe_path"] == severity


@pytest.mark.parametrize(("name", "found"), [
    ("A.EXE", "exe"), ("a.exe. .", "exe"), ("a", ""), ("a/b.c/d", ""), ("a.ex\u200be", "exe"), ("a.tar.gz", "gz"),
    ("c:\\x\\y.bat", "bat"), (".exe", "exe"),
])
def test_endings(name: str, found: str) -> None:
    """As Windows reads them."""
    assert ending(name) == found


@pytest.mark.parametrize(("name", "kinds", "severity"), [
    ("a.jpg", ("executable",), "high"), ("a.pdf", ("executable",), "high"), ("a.txt", ("executable",), "high"),
    ("a.bat", ("executable",), "high"), ("a.jpg", ("script",), "high"), ("a.docx", ("script", "document"), "high"),
    ("a.docx", ("macro_document", "document"), "medium"), ("a.jpg", ("macro_document", "document"), "medium"),
    ("a.mp3", ("disk_image",), "medium"), ("a.jpg", ("archive",), "medium"), ("a.txt", ("archive",), "medium"),
    ("a.png", ("document",), "medium"),
])
def test_content_that_is_worse_than_its_name(name: str, kinds: tuple[str, ...], severity: str) -> None:
    """By how far."""
    found = mismatch(name, kinds)
    assert found is not None
    assert found[0] == severity


@pytest.mark.parametrize(("name", "kinds"), [
    ("a.exe", ("executable",)), ("a.jpg", ("image",)), ("a.png", ("image",)), ("a.mp4", ("audio",)),
    ("a.txt", ("script",)), ("a.html", ("script",)), ("a.doc", ("macro_document", "document")),
    ("a.docm", ("macro_document", "document")), ("a.docx", ("archive",)), ("a.jar", ("executable", "archive")),
    ("a.exe", ("executable", "archive")), ("a.doc", ("text",)), ("a.csv", ("document",)), ("a", ("executable",)),
    ("a.unknown", ("executable",)), ("a.jpg", ()), ("a.iso", ("disk_image",)), ("a.bin", ("script",)),
])
def test_content_that_is_not(name: str, kinds: tuple[str, ...]) -> None:
    """Harmless differences, and names that claim nothing."""
    assert mismatch(name, kinds) is None


def test_every_ending_that_policy_knows() -> None:
    """Each claims the kinds that policy gives it."""
    for kind, endings in FILE_TYPES.items():
        assert endings <= ENDINGS.get(kind, frozenset()), kind
    assert claims("a.JAR ") == {"executable", "archive"}


def test_names_for_people() -> None:
    """Nothing in them acts; long ones keep both ends."""
    assert safe("a\x1b[2Jb\u202ec\n") == "a\\u001b[2Jb\\u202ec\\u000a"
    shortened = safe("x" * 5000 + ".exe")
    assert len(shortened) <= 120 and shortened.endswith(".exe")


def test_a_declared_type_claims_where_the_name_does_not() -> None:
    """A program that is called an image by its media type alone."""
    assert mismatch("upload", ("executable",), "image/png") == ("high", "upload holds a program")
    assert mismatch("", ("executable",), "image/png") == ("high", "image/png holds a program")
    assert mismatch("setup.exe", ("executable",), "image/png") is None
    assert mismatch("upload", ("executable",), "application/octet-stream") is None
    assert mismatch("upload", ("image",), "text/plain") is None
