"""Realistic rules for files in any number, files to judge, and how fast one process judges them.

The rules are like those that people write for malware: names of a family, of its mutexes and paths, bytes of its code
with holes, regular expressions for addresses and keys, bound to a beginning, a size, a number of strings. Always the
same for the same number and seed. The files are documents, pictures, archives and programs of 20 KiB, all different;
no rule matches any: nothing matching is what is measured.

    python -m bench.file_rules [FILES] [RULES] [SECONDS]
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
import zlib
from pathlib import Path

from bench.realistic_rules import words
from inspector.model import File, Limits
from inspector.scan import load
from inspector.scan.files import FileJudge
from tests.scan.making_files import pdf, pe, zipped

_HEADS = (
    "uint16(0) == 0x5A4D and filesize < 2MB", "uint32(0) == 0x464C457F", "filesize < 500KB", "uint32(0) == 0xE011CFD0",
    "uint32be(0) == 0x504B0304", "uint32(0) == 0x46445025", "filesize > 100",
)


def rules(count: int, seed: int = 11) -> str:
    """Source of `count` YARA rules of a pack named "filebench", scope file."""
    rnd = random.Random(seed)
    vocabulary = words()

    def name(parts: int = 2) -> str:
        return "".join(rnd.choice(vocabulary).capitalize() for _ in range(parts)) + str(rnd.randrange(100))

    def code(length: int) -> str:
        out = [f"{rnd.randrange(256):02X}" for _ in range(length)]
        for at in rnd.sample(range(4, length), length // 5):
            out[at] = "??"
        return " ".join(out)

    made: list[str] = []
    for i in range(count):
        strings = [f'$n0 = "{name(3)}"', f'$n1 = "{name()}.exe" nocase', f'$n2 = "Global\\\\{name()}" wide ascii']
        kind = i % 4
        if kind == 0:
            strings += [f"$c{n} = {{ {code(24)} }}" for n in range(2)]
        elif kind == 1:
            strings += [f'$p = "\\\\{name()}\\\\Release\\\\{name()}.pdb"', f"$c = {{ {code(16)} [4-12] {code(8)} }}"]
        elif kind == 2:
            strings.append(f"$r = /{name()}[a-z0-9]{{4,16}}\\.(php|aspx?)\\?id=/")
        condition = f"{rnd.choice(_HEADS)} and 2 of them" if kind < 3 else "all of them"
        body = "\n        ".join(strings)
        made.append(
            f"rule filebench_{i:05d}\n{{\n    meta:\n        id = \"filebench.rule_{i:05d}\"\n"
            f"        severity = \"high\"\n        description = \"Family {i}\"\n        scope = \"file\"\n"
            f"    strings:\n        {body}\n    condition:\n        {condition}\n}}\n"
        )
    return "\n".join(made)


def write_pack(folder: Path, count: int, seed: int = 11) -> Path:
    """Write the pack into `folder`/filebench (made when missing); returns that folder."""
    pack = folder / "filebench"
    pack.mkdir(parents=True, exist_ok=True)
    (pack / "rules.yar").write_text(rules(count, seed), encoding="utf-8")
    (pack / "pack.yaml").write_text(
        f"name: filebench\nversion: '{count}.{seed}'\ndescription: Rules for the benchmarks\nlicense: Apache-2.0\n"
        "content:\n  - {file: rules.yar, kind: yara}\n",
        encoding="utf-8",
    )
    return pack


def files(count: int, size: int = 20 * 1024, seed: int = 12) -> list[tuple[str, bytes]]:
    """(name, content) of documents, PDFs, pictures, archives and programs in turn, about `size` bytes each."""
    rnd = random.Random(seed)
    vocabulary = words()

    def text(length: int) -> bytes:
        return " ".join(rnd.choice(vocabulary) for _ in range(length // 7)).encode()

    out: list[tuple[str, bytes]] = []
    for i in range(count):
        noise = rnd.randbytes(size)
        kind = i % 5
        if kind == 0:
            relations = f'<R><Relationship Id="{i}" Target="styles.xml"/></R>'.encode()
            parts = {f"word/part{n}.xml": text(3000) for n in range(8)}
            out.append((f"report {i}.docx", zipped({
                "[Content_Types].xml": b"<Types/>", "_rels/.rels": relations, "word/document.xml": text(9000), **parts,
                "word/media/image1.png": b"\x89PNG\r\n\x1a\n" + noise[:9000],
            })))
        elif kind == 1:
            streams = [(b"/Filter /FlateDecode", zlib.compress(text(6000))) for _ in range(6)]
            pages: list[tuple[bytes, bytes | None]] = [*streams, (b"/Subtype /Image /Filter /DCTDecode", noise[:8000])]
            out.append((f"paper {i}.pdf", pdf(pages)))
        elif kind == 2:
            out.append((f"photo {i}.png", b"\x89PNG\r\n\x1a\n" + noise))
        elif kind == 3:
            notes = {f"folder/note {n}.txt": text(4000) for n in range(6)}
            out.append((f"things {i}.zip", zipped({**notes, "photo.jpg": b"\xff\xd8\xff\xe0" + noise[:9000]})))
        else:
            out.append((f"setup {i}.exe", pe(1024) + noise))
    return out


def main() -> None:
    """Print what one process judges in a second."""
    count, number, seconds = (int(sys.argv[i]) if len(sys.argv) > i else given
                              for i, given in ((1, 200), (2, 1000), (3, 10)))
    with tempfile.TemporaryDirectory() as folder:
        write_pack(Path(folder), number)
        start = time.perf_counter()
        scanner = load(folder, Limits()).scanner
        compiled = time.perf_counter() - start
    blob = scanner.files.blob
    start = time.perf_counter()
    judge = FileJudge(blob)
    loaded = time.perf_counter() - start
    print(f"{number} file rules: compiled in {compiled:.1f} s, {len(blob) / 1e6:.1f} MB for a worker, "
          f"loaded there in {loaded * 1000:.0f} ms")
    made = files(count)
    mean = sum(len(data) for _, data in made) / len(made)
    spent: dict[str, list[float]] = {}
    judged = 0
    begin, wall = time.process_time(), time.perf_counter()
    while time.perf_counter() - wall < seconds:
        for name, data in made:
            start = time.process_time()
            report = judge.judge(data, File(file_name=name))
            spent.setdefault(name.rpartition(".")[2], []).append(time.process_time() - start)
            judged += 1
            if any(found.detector == "yara" for found in report.findings):
                raise SystemExit(f"a rule matched {name}")
    used = time.process_time() - begin
    print(f"{judged} files of {mean / 1024:.0f} KiB: {judged / used:.0f} files/s of one core's CPU")
    for kind, times in sorted(spent.items()):
        print(f"  {kind:5} {sum(times) / len(times) * 1000:6.2f} ms")


if __name__ == "__main__":
    main()
