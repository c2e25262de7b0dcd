"""pack.yaml: its schema, and the files it lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from inspector.scan.packs import digest, folders, read_packs
from tests.scan import making

GOOD = "name: t\nversion: 1.10\ndescription: d\nlicense: MIT\nauthors: [a, b]\nhomepage: https://example.org\n"


def read(folder: Path, yaml: str) -> list[str]:
    """Faults of a pack, without the folder's name."""
    (folder / "pack.yaml").write_text(yaml)
    return [str(one).removeprefix(f"{folder}/pack.yaml:") for one in read_packs([folder])[1]]


def test_a_version_is_text(tmp_path: Path) -> None:
    """1.10 is not the number 1.1."""
    (tmp_path / "a.yar").write_text("")
    assert read(tmp_path, GOOD + "content: [{file: a.yar, kind: yara}]\n") == []
    assert read_packs([tmp_path])[0][0].label == "t@1.10"


@pytest.mark.parametrize(("yaml", "fault"), [
    ("[]", "1:1: a pack is a mapping: name, version, description, license, content"),
    (GOOD, '1:1: "content" is missing'), (GOOD + "content: x\n", '7:10: "content" must be a list of {file, kind}'),
    (GOOD + "content: [{file: a.yar, kind: yra}]\n", '7:31: unknown kind "yra" (did you mean "yara"?)'),
    (GOOD + "content: [{file: ../a.yar, kind: yara}]\n", '7:18: "../a.yar" is no name of a file in the pack'),
    (GOOD + "content: [{file: b.yar, kind: yara}]\n", '7:18: "b.yar" cannot be read: No such file or directory'),
    (GOOD + "content: [{file: l.yar, kind: yara}]\n", '7:18: "l.yar" is not a regular file'),
    (GOOD + "content: [{kind: yara}]\n", "7:11: an entry is {file: NAME, kind: yara or indicators}"),
    (GOOD.replace("name: t", "name: dlp") + "content: []\n", '1:7: "dlp" is the name of the built-in detectors'),
    (GOOD.replace("name: t", "name: A b") + "content: []\n",
     '1:7: "A b": a name has small letters, digits and _, a letter first'),
    (GOOD + "extra: 1\ncontent: []\n", '7:1: unknown key "extra"'),
    (GOOD.replace("1.10", "a b") + "content: []\n", '2:10: "a b" is no version'),
])
def test_faults_have_their_place(tmp_path: Path, yaml: str, fault: str) -> None:
    """Schema, names, files that are missing, elsewhere or links."""
    (tmp_path / "l.yar").symlink_to("/etc/passwd")
    assert fault in read(tmp_path, yaml)


def test_two_packs_of_one_name(tmp_path: Path) -> None:
    """The second is refused, and says where the first is."""
    one = making.write(tmp_path / "x", making.rule("a", '$a = "word"', "$a"))
    two = making.write(tmp_path / "y", making.rule("a", '$a = "word"', "$a"))
    packs, faults = read_packs([one, two])
    assert len(packs) == 1
    assert [one_.text for one_ in faults] == [f'a pack named "t" is in {one} too']


def test_folders(tmp_path: Path) -> None:
    """A pack is itself; a folder gives the packs right below it, by name."""
    b, a = making.write(tmp_path, "", name="b"), making.write(tmp_path, "", name="a")
    (tmp_path / "none").mkdir()
    assert folders(tmp_path) == [a, b] and folders(a) == [a] and folders(tmp_path / "gone") == []


def test_the_digest_tells_every_change() -> None:
    """Rules, lists, versions and the salt are in it."""
    packs = [making.pack("x", many="y"), making.pack("x", many="z"), making.pack("w", many="y"), making.pack("x")]
    assert len({digest([one]) for one in packs} | {digest([packs[0]], "salt")}) == 5
