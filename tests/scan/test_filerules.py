"""The bytes that file workers are given: what is in them, what their key says."""

from __future__ import annotations

import msgspec
import pytest

from inspector.model import Limits
from inspector.scan.filerules import FileMatcher, FileRules
from tests.scan import making

RULES = making.rule("f", '$a = "word"', "$a", scope="file") + making.rule("b", '$a = "word"', "$a", scope="both") + (
    making.rule("m", '$a = "word"', "$a"))
LIST = "kind,value,severity,description\nmd5," + "0" * 32 + ",low,zeros\ndomain,evil.test,high,host\n"


def test_rules_for_files_come_through() -> None:
    """Those of scope file and both; hashes, not hosts."""
    scanner = making.scanner(making.pack(RULES, bad=LIST))
    matcher = FileMatcher(scanner.files.blob)
    rows, unasked = matcher.match(memoryview(b"a word"), 5)
    assert (sorted(row.id for row in rows), unasked) == (["t.b", "t.f"], [])
    assert (matcher.rules, matcher.kinds, matcher.packs) == (2, ("md5",), ("t@1",))
    assert [one.rule for one in matcher.known({"md5": "0" * 32})] == ["t.bad"]
    assert matcher.known({"md5": "1" * 32, "sha1": "0" * 40}) == []


def test_rules_that_need_one_another() -> None:
    """A file rule that names a private rule and one for messages; those make no finding of a file."""
    rules = 'private rule p { strings: $a = "one" condition: $a }\n' + making.rule("m", '$a = "two"', "$a") + (
        making.rule("f", "", "p and m", scope="file"))
    matcher = FileMatcher(making.scanner(making.pack(rules)).files.blob)
    assert [row.id for row in matcher.match(memoryview(b"one two"), 5)[0]] == ["t.f"]


def test_the_key_is_of_all_that_judges() -> None:
    """The same for the same; another for other rules, lists or limits."""
    def key(rules: str = RULES, bad: str = LIST, limits: Limits | None = None) -> str:
        return FileRules.of(making.built(making.pack(rules, bad=bad)), limits or Limits()).key

    others = {key(), key(RULES + " "), key(RULES.replace("word", "words")), key(bad=LIST.replace("zeros", "naught")),
              key(limits=Limits(archive_depth=3))}
    assert key() == key()
    assert len(others) == 4  # a blank at the end of a file changes nothing


def test_many_shards() -> None:
    """More rules than one object holds are all asked."""
    rules = "".join(making.rule(f"r{i}", f'$a = "word{i:04d}x"', "$a", scope="file") for i in range(1100))
    built = making.built(making.pack(rules))
    matcher = FileMatcher(FileRules.of(built, Limits()).blob)
    assert len(matcher._shards) == 2
    assert [row.id for row in matcher.match(memoryview(b"word0000x word1099x"), 5)[0]] == ["t.r0", "t.r1099"]


def test_a_rule_without_an_end_is_told() -> None:
    """It is stopped after its time, and the others have been asked."""
    slow = making.rule("slow", "", "for all i in (0..100000000000) : (uint8(i % 7) != 255)", scope="file")
    matcher = FileMatcher(making.scanner(making.pack(slow)).files.blob)
    assert matcher.match(memoryview(b"a word"), 1) == ([], ["a rule takes too long"])


def test_too_many_matches_are_told() -> None:
    """A string that is everywhere may hide what follows it."""
    many = making.rule("many", '$a = "aa"', "#a > 3000000", scope="file")
    matcher = FileMatcher(making.scanner(making.pack(many)).files.blob)
    rows, unasked = matcher.match(memoryview(b"a" * 2_000_000), 20)
    assert rows == []
    assert unasked and unasked[0].startswith("too many matches")


@pytest.mark.parametrize("blob", [b"", b"\xc0", b"nonsense", msgspec.msgpack.encode([1, 2, 3])])
def test_other_bytes_are_refused(blob: bytes) -> None:
    """Raises ValueError."""
    with pytest.raises(ValueError, match="not file rules"):
        FileMatcher(blob)


def test_another_version_of_yara_is_refused() -> None:
    """Compiled rules are of one version."""
    made = msgspec.msgpack.decode(making.scanner(making.pack(RULES)).files.blob)
    made[0] = "1.0"
    with pytest.raises(ValueError, match=r"YARA 1\.0"):
        FileMatcher(msgspec.msgpack.encode(made))
