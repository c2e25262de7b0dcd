"""The house's own rules, as far as no other tool keeps them."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent
PACKAGE = HOUSE / "inspector"
OUTSIDE = {".git", ".venv", "var", "build", "dist", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache",
           ".hypothesis", ".import_linter_cache"}

# Pure data: nothing in them could be wrong by itself.
NO_TEST_OF_ITS_OWN = {
    "inspector/engine/items.py", "inspector/engine/owner.py",
    "inspector/model/carriers.py", "inspector/model/effects.py", "inspector/model/events.py",
    "inspector/model/holds.py", "inspector/model/ports.py",
    "inspector/model/verdicts.py", "inspector/app/__main__.py",
    "inspector/protocols/xmpp/edits.py", "inspector/protocols/xmpp/owner.py", "inspector/protocols/xmpp/state.py",
}

# What only some files may import, at the top or inside a function.
ONLY_IN = {
    "re": ("inspector/wire/patterns.py",),
    "mitmproxy": ("inspector/drivers/mitm*.py",),
    "OpenSSL": ("inspector/drivers/mitm*.py",),
    "sqlite3": ("inspector/store/*.py",),
    "yara": ("inspector/scan/*.py",),
    "hyperscan": ("inspector/scan/*.py",),
    "scapy": ("inspector/drivers/scapy_child.py",),
    "uvloop": ("inspector/app/*.py",),
}

# Where the alternative is worse: the layer's top (design §6); the command line, which turns it into exit 70 and a
# report file; the child process in which scapy's dissectors raise what they like.
MAY_CATCH_ALL = {
    "inspector/drivers/mitm_layer.py": 1, "inspector/app/cli.py": 1, "inspector/drivers/scapy_child.py": 1,
}


def ours(pattern: str = "*") -> Iterator[Path]:
    """Files of the project, without what is made by tools."""
    for folder, folders, files in HOUSE.walk():
        folders[:] = sorted(set(folders) - OUTSIDE)
        yield from (folder / file for file in sorted(files) if fnmatch(file, pattern))


def name(path: Path) -> str:
    return path.relative_to(HOUSE).as_posix()


def sources() -> list[Path]:
    return [path for path in ours("*.py") if path.is_relative_to(PACKAGE)]


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_every_source_file_has_its_test_file() -> None:
    """inspector/<room>/<x>.py is tested by tests/<room>/test_<x>.py; packages and pure data are exempt, by name."""
    lacking = []
    for path in sources():
        if path.name == "__init__.py" or name(path) in NO_TEST_OF_ITS_OWN:
            continue
        inside = path.relative_to(PACKAGE)
        if not (HOUSE / "tests" / inside.parent / f"test_{path.name}").exists():
            lacking.append(name(path))
    assert lacking == []
    gone = [exempt for exempt in NO_TEST_OF_ITS_OWN if "__main__" not in exempt and not (HOUSE / exempt).exists()]
    assert gone == []


def test_no_module_imports_in_a_circle() -> None:
    """Inside of a room, too, one of two modules stands above the other; imports for types alone count."""
    modules = {name(path)[:-3].removesuffix("/__init__").replace("/", "."): path for path in sources()}
    above: dict[str, set[str]] = {}
    for module, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                named |= {one if one in modules else node.module for one in inner}
        above[module] = {one for one in named if one in modules and one != module}
    assert len(above) > 150
    while ready := [module for module, needs in above.items() if needs.isdisjoint(above)]:
        for module in ready:
            del above[module]
    assert above == {}


def test_every_room_says_what_lives_there() -> None:
    """Each room's docstring says what lives there, what it may import, and what never."""
    rooms = [path for path in PACKAGE.iterdir() if (path / "__init__.py").exists()]
    assert len(rooms) >= 12
    for room in rooms:
        doc = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
        for heading in ("Lives here:", "May import:", "Never:"):
            assert heading in doc, f"{name(room)}: no {heading!r}"


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_libraries_stay_in_their_files(library: str) -> None:
    """`re`, mitmproxy, sqlite3 and their like are imported only where the design says, function bodies included."""
    strays = [
        name(path)
        for path in sources()
        if any(module.split(".")[0] == library for module in imports(ast.parse(path.read_text())))
        and not any(fnmatch(name(path), pattern) for pattern in ONLY_IN[library])
    ]
    assert strays == []


def test_modules_and_tests_say_what_they_are() -> None:
    """Every module of the package and every test function has a docstring."""
    mute = [name(path) for path in sources() if not ast.get_docstring(ast.parse(path.read_text()))]
    for path in ours("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
                continue
            if not ast.get_docstring(node):
                mute.append(f"{name(path)}:{node.lineno} {node.name}")
    assert mute == []


def test_every_regular_expression_has_a_linear_time_test() -> None:
    """Each compiled constant of wire/patterns.py is named in tests/wire/test_patterns.py."""
    constants = {
        target.id
        for node in ast.parse((PACKAGE / "wire" / "patterns.py").read_text()).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value and "re.compile" in ast.unparse(node.value)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    tests = (HOUSE / "tests" / "wire" / "test_patterns.py").read_text()
    assert constants
    assert sorted(constant for constant in constants if not re.search(rf"\b{constant}\b", tests)) == []


def test_catch_alls_are_counted() -> None:
    """`except Exception` stands only where the alternative is worse: anywhere else it may turn an error into a pass."""
    found: dict[str, int] = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            kinds: list[ast.expr | None] = []
            if isinstance(node, ast.ExceptHandler):
                kinds = [node.type]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
                kinds = list(node.args)
            for kind in kinds:
                words = set(re.findall(r"\w+", ast.unparse(kind))) if kind else {"Exception"}
                if words & {"Exception", "BaseException"}:
                    found[name(path)] = found.get(name(path), 0) + 1
    assert {path: count for path, count in found.items() if count > MAY_CATCH_ALL.get(path, 0)} == {}


def test_no_unfinished_code() -> None:
    """What is in the package is finished: no promises in comments, no functions that only raise."""
    word = re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError|for now)\b")
    found = [
        f"{name(path)}:{number}"
        for path in sources()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if word.search(line)
    ]
    assert found == []


def test_no_large_files() -> None:
    """Fixtures are kilobytes: no file above 400 KB."""
    assert [name(path) for path in ours() if path.stat().st_size > 400_000] == []


def test_links_in_the_documents_resolve() -> None:
    """A relative link in a Markdown file leads to a file, and to a heading where it names one."""
    link = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")
    broken = []
    for page in ours("*.md"):
        prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        for target, anchor in link.findall(prose):
            goal = (page.parent / target) if target else page
            if not goal.exists():
                broken.append(f"{name(page)}: {target}")
            elif anchor and goal.suffix == ".md":
                headings = re.findall(r"^#+ +(.*)$", goal.read_text(), flags=re.M)
                slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
                if anchor[1:] not in slugs:
                    broken.append(f"{name(page)}: {target}{anchor}")
    assert broken == []


def test_files_named_in_the_documents_exist() -> None:
    """A path in backquotes in README or docs that looks like one of our files is one (measurements are history)."""
    rooms = "inspector|tests|docs|tools|bench|requirements|rules|signatures|pcaps"
    path_like = re.compile(rf"`((?:{rooms})/[\w./-]+\.\w+)`")
    lost = []
    for page in [HOUSE / "README.md", HOUSE / "CONTRIBUTING.md", *sorted((HOUSE / "docs").glob("*.md"))]:
        if page.exists() and page.name != "measurements.md":
            lost += [f"{name(page)}: {path}" for path in path_like.findall(page.read_text())
                     if not (HOUSE / path).exists()]
    assert lost == []


@pytest.mark.parametrize("version", ["3.12", "3.13"])
@pytest.mark.parametrize("kind", ["run", "test"])
def test_locks_are_hashed_complete_and_name_no_index(kind: str, version: str) -> None:
    """Each lock pins all that the project asks for, every pin has hashes, and no line names an index or an address."""
    text = (HOUSE / "requirements" / f"{kind}-{version}.txt").read_text()
    assert not re.search(r"://|^\s*(-i|--index-url|--extra-index-url|--find-links|-f)\b", text, flags=re.M)
    entries = re.split(r"\n(?=\S)", text.strip())
    pins = {}
    for entry in entries:
        pinned = re.match(r"([A-Za-z0-9._-]+)==(\S+)", entry)
        assert pinned, entry
        assert "--hash=sha256:" in entry, entry
        pins[pinned[1].lower().replace("_", "-")] = pinned[2]
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    if kind == "test":
        wanted += project["optional-dependencies"]["uvloop"]
        wanted += [line for line in (HOUSE / "requirements" / "test.in").read_text().splitlines() if line[:1].isalpha()]
    names = [re.match(r"[A-Za-z0-9._-]+", line)[0].lower().replace("_", "-") for line in wanted]  # type: ignore[index]
    assert [wish for wish in names if wish not in pins] == []


def test_run_and_test_locks_agree() -> None:
    """What is tested is what runs: the same versions in both locks of a Python."""
    for version in ("3.12", "3.13"):
        locks = [(HOUSE / f"requirements/{kind}-{version}.txt").read_text() for kind in ("run", "test")]
        run, test = (dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", lock, flags=re.M)) for lock in locks)
        assert {package: pin for package, pin in run.items() if test.get(package) != pin} == {}


def test_versions_agree() -> None:
    """The package, pyproject.toml and the newest entry of the changelog say the same version."""
    from inspector import __version__

    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
    newest = re.search(r"^## (?:\[)?(\d+\.\d+\.\d+)", (HOUSE / "CHANGELOG.md").read_text(), flags=re.M)
    assert newest
    assert project["version"] == __version__ == newest[1]


def test_only_the_adapter_is_exempt_from_strict_types() -> None:
    """mypy's overrides loosen at most one file of ours: the adapter that touches mitmproxy."""
    overrides = tomllib.loads((HOUSE / "pyproject.toml").read_text())["tool"]["mypy"].get("overrides", [])
    exempt = []
    for override in overrides:
        modules = override["module"] if isinstance(override["module"], list) else [override["module"]]
        exempt += [module for module in modules if module.split(".")[0] in ("inspector", "tests", "bench")]
    exempt += [name(path) for path in sources() if re.search(r"^# mypy: ", path.read_text(), flags=re.M)]
    assert len(exempt) <= 1
    assert all("mitm" in module for module in exempt)
