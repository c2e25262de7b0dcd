"""Indicator lists: rows checked with their lines, and looked up in texts."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.model import Limits, Text
from inspector.scan import indicators
from inspector.scan.indicators import Indicator, Table, index_of, read_indicators
from inspector.scan.packs import Pack, PackFile
from inspector.scan.scanner import PackScanner
from tests.scan import making

HEAD = "kind,value,severity,description,reference,tags\n"
LIST = HEAD + """domain,evil.example,high,bad host,https://example.org/1,"phish,web"
domain,*.bücher.example,high,bad books,,
url,http://Files.Example:80/a/%7Eb,high,bad file,,
ip,192.0.2.7,medium,bad address,,
ip,2001:db8::0:1,medium,bad address,,
phrase,Wire the Money Today,low,a phrase,,
phrase,срочный перевод,low,a phrase,,
phrase,免费赠送,low,a phrase,,
sha256,E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855,critical,bad file,,
sha1,da39a3ee5e6b4b0d3255bfef95601890afd80709,critical,bad file,,
md5,d41d8cd98f00b204e9800998ecf8427e,critical,bad file,,
"""
SCANNER = making.scanner(making.pack(name="p", bad=LIST))


def found(text: str) -> list[str]:
    """The texts of the spans."""
    findings = SCANNER.quick([Text("body", text)])
    assert findings is not None
    assert all(one.rule == "p.bad" and one.detector == "indicator" and one.pack == "p@1" for one in findings)
    return [text[start:end] for one in findings for _, start, end in one.spans]


@pytest.mark.parametrize(("text", "want"), [
    ("see evil.example now", ["evil.example"]), ("http://a.b.EVIL.example:8080/x", ["a.b.EVIL.example"]),
    ("http://x@evil.example./", ["evil.example"]), ("http://ev%69l.example/", ["ev%69l.example"]),
    ("ev\u200bil.example", ["ev\u200bil.example"]), ("ｅｖｉｌ．ｅｘａｍｐｌｅ", ["ｅｖｉｌ．ｅｘａｍｐｌｅ"]),
    ("www.BÜCHER.example!", ["www.BÜCHER.example"]), ("xn--bcher-kva.example", ["xn--bcher-kva.example"]),
    ("get https://files.example/a/~b?x=1, ok", ["files.example/a/~b?x=1,"]), ("files.example/a/~b",
    ["files.example/a/~b"]),
    ("http://192.0.2.7/x", ["192.0.2.7"]), ("http://3221225991/", ["3221225991"]), ("0xC0.0.2.7", []),
    ("http://0xC0.0.2.7/", ["0xC0.0.2.7"]), ("[2001:DB8:0:0::1]", ["2001:DB8:0:0::1]"]),
    ("please wire the money today!", ["wire the money today"]), ("СРОЧНЫЙ ПЕРЕВОД", ["СРОЧНЫЙ ПЕРЕВОД"]),
    ("快来免费赠送吧", ["免费赠送"]), ("md5 D41D8CD98F00B204E9800998ECF8427E", ["D41D8CD98F00B204E9800998ECF8427E"]),
    ("wire the mon\u00adey today", ["wire the mon\u00adey today"]), ("&#101;vil.example", ["&#101;vil.example"]),
])
def test_what_is_found(text: str, want: list[str]) -> None:
    """Every kind, in every spelling, with the place in the text as it was written."""
    assert found(text) == want


@pytest.mark.parametrize("text", [
    "notevil.example", "evil.example.org", "evil.exampleton", "my-evil.example", "éevil.example", "evil-example",
    "http://other.example/evil.example.html", "files.example/a/~bc", "files.example/A/~b", "192.0.2.70", "1192.0.2.7",
    "192.0.2.7.5", "rewire the money today", "wire the money todays",
    "d41d8cd98f00b204e9800998ecf8427e0", "еvil.example",
    "evil .example",
])
def test_near_misses(text: str) -> None:
    """Names end at labels, addresses and hashes at their digits, phrases at words; a lookalike host is another host."""
    assert "evil.example" not in found(text) or text.startswith("http://other")
    assert found(text) == [] or text.startswith("http://other")


def test_a_file_name_may_look_like_a_host() -> None:
    """A host's name in the path of another is found as a name that stands there: html is a label too, so it is not."""
    assert found("http://other.example/evil.example.html") == []


def test_the_finding_says_what_the_row_says() -> None:
    """Severity, description and tags are the row's; rule is the pack's name and the file's stem."""
    (finding,) = SCANNER.quick([Text("b", "evil.example")]) or ()
    assert (finding.severity, finding.detail, finding.tags) == ("high", "bad host", ("phish", "web"))


@pytest.mark.parametrize(("row", "column", "text"), [
    ("host,evil.example,high,d,,", 1, 'unknown kind "host"'), ("domain,evil,high,d,,", 8, '"evil" is no domain'),
    ("domain,evil.example,hihg,d,,", 21, 'unknown severity "hihg" (did you mean "high"?)'),
    ("ip,1.2.3,low,d,,", 4, '"1.2.3" is no ip'), ("md5,abc,low,d,,", 5, '"abc" is no md5'),
    ("url,http://,low,d,,", 5, '"http://" is no url'), ("phrase,ab,low,d,,", 8, '"ab" is no phrase'),
    ("domain,a.example,low", 1, "3 cells in a row where the header has 6"),
    ("domain,1.2.3.4,low,d,,", 8, '"1.2.3.4" is no domain'),
])
def test_wrong_rows_are_told_with_their_place(row: str, column: int, text: str) -> None:
    """Each fault with line and column, all of them, and the good rows between them are read."""
    rows, faults = read_indicators([making.pack(bad=f"{HEAD}{row}\ndomain,ok.example,low,d,,\n{row}\n")], 100)
    assert [one.value for one in rows] == ["ok.example"]
    assert [(one.path, one.line, one.column, one.text) for one in faults] == [
        ("t/bad.csv", 2, column, text), ("t/bad.csv", 4, column, text),
    ]


def test_wrong_lists_are_told() -> None:
    """A missing or unknown column, a row twice, a quote that is never closed, too many rows."""
    def faults(text: str, most: int = 100) -> list[str]:
        return [str(one) for one in read_indicators([making.pack(bad=text)], most)[1]]

    assert faults("kind,value,severty,description\n") == [
        't/bad.csv:1:1: the column "severity" is missing',
        't/bad.csv:1:12: unknown column "severty" (did you mean "severity"?)',
    ] or len(faults("kind,value,severty,description\n")) == 2
    twice = "domain,a.example,low,d,,\n"
    assert faults(HEAD + twice + twice) == [
        't/bad.csv:3:8: the domain "a.example" is there twice (first on line 2)',
    ]
    assert faults(HEAD + 'domain,"a.example,low,d,,\n')[0].startswith("t/bad.csv:2:1: not CSV")
    assert faults(HEAD + "md5,d41d8cd98f00b204e9800998ecf8427e,low,d,,\n" + twice, 1) == [
        "t/bad.csv: more than 1 indicators in all packs together",
    ]


def test_a_hundred_thousand_indicators_stay_fast() -> None:
    """A text with a host costs tens of microseconds, whatever the length of the list."""
    def scanner(count: int) -> PackScanner:
        rows = "".join(f"domain,host{i}.example,low,d,,\n" for i in range(count))
        return making.scanner(making.pack(name="p", many=HEAD + rows), limits=Limits(indicators=200_000))

    def seconds(one: PackScanner) -> float:
        best = 9.0
        for _ in range(20):
            start = time.thread_time()
            for _ in range(50):
                assert one.quick([Text("b", "please look at https://www.harmless.example/page?x=1 and tell me")]) == ()
            best = min(best, time.thread_time() - start)
        return best / 50

    large = scanner(100_000)
    assert [one.rule for one in large.quick([Text("b", "at host99999.example")]) or ()] == ["p.many"]
    assert seconds(large) < 3 * seconds(scanner(10)) + 20e-6


_VALUES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["domain", "url", "ip", "md5"]), _VALUES), max_size=60), st.lists(_VALUES))
def test_an_index_answers_as_a_dictionary_would(rows: list[tuple[str, str]], asked: list[str]) -> None:
    """Any rows, twice the same too: what is found is what is there, in the group it was listed in, and nothing else."""
    made = [Indicator(kind, value, "low", f"{n}", "p.l", "p@1") for n, (kind, value) in enumerate(rows)]
    table = Table.of(made)
    assert list(table.rows()) == made and table.count == len(made)
    for group, kind in ((b"d", "domain"), (b"u", "url"), (b"i", "ip"), (b"h", "md5")):
        for value in {*asked, *(value for _, value in rows)}:
            wanted = [one.description for one in made if (one.kind, one.value) == (kind, value)]
            assert sorted(one.description for one in table.find(group, value)) == sorted(wanted)


def test_an_index_is_the_same_for_the_same_rows() -> None:
    """`content` says so, though the key of the digests is another one each time."""
    rows = [Indicator("domain", f"host{i}.example", "low", "d", "p.l", "p@1") for i in range(9)]
    one, other = index_of(rows), index_of(rows)
    assert one != other and Table(memoryview(one)).content == Table(memoryview(other)).content
    assert Table.of(rows[1:]).content != Table.of(rows).content


@pytest.mark.parametrize("spoil", [
    lambda data: b"", lambda data: data[:40], lambda data: data[:-1], lambda data: data + b"x",
    lambda data: data[:16] + b"index 9\0" + data[24:], lambda data: data[:56] + b"\xff\xff\xff\xff" + data[60:],
    lambda data: data[:64] + b"\xff" * 8 + data[72:],
])
def test_bytes_that_are_no_index_are_refused(spoil: Callable[[bytes], bytes]) -> None:
    """Too short, too long, another form, sizes that cannot be: ValueError, before anything is looked up."""
    with pytest.raises(ValueError, match="no index"):
        Table(memoryview(spoil(index_of([Indicator("domain", "a.example", "low", "d", "p.l", "p@1")]))))


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 3])
def test_bytes_that_are_no_text_are_told_by_their_line(size: int) -> None:
    """Wherever the list is cut for checking, in the middle of a letter too."""
    body = (HEAD + "phrase,an ünusual phrase,low,d,,\n").encode()
    filler = b"#" * max(0, size - len(body) - 2)
    rows, faults = read_indicators([Pack("t", "1", "t", (PackFile(
        "t/bad.csv", "bad", "indicators", body + filler + "éé".encode()[:-1] + b"\n" + body),))], 100)
    assert (rows, [(one.line, one.text) for one in faults]) == ([], [(3, "not UTF-8 text")])


def test_blanks_of_a_phrase_are_single() -> None:
    """A list's phrase and a text are brought to the same white space."""
    assert indicators.phrase(" Two  blanks\u00a0\u200bhere") == "two blanks here"


@pytest.mark.parametrize(("listed", "text"), [
    ("http://evil.example/x", "see evil.example/x now"), ("evil.example:8080/x", "http://evil.example:8080/x"),
    ("evil.example", "at https://EVIL.example./"), ("evil.example?q=1", "evil.example/?q=1."),
    ("http://[2001:db8::1]/x", "http://[2001:db8::1]/x"), ("http://[2001:db8::1]:81/x", "http://[2001:db8::1]:81/x"),
    ("http://203.0.113.9/x", "http://3405803785/x"), ("bücher.example/a", "http://b%C3%BCcher.example/%61"),
])
def test_a_listed_link_is_found_whatever_its_host_looks_like(listed: str, text: str) -> None:
    """The filter of hosts that links are at forgets none: names, addresses, with a port or without."""
    row = indicators._row(["url", listed, "low", "d", "", ""], "p.l", "p@1")
    assert isinstance(row, Indicator)
    found = Table.of([row, Indicator("domain", "other.example", "low", "d", "p.l", "p@1")]).hosts(text.encode())
    assert [one.kind for one, _, _ in found] == ["url"]
