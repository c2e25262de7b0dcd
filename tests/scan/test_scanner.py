"""The scanner: texts in, findings with spans out."""

from __future__ import annotations

from pathlib import Path

from inspector.model import Text
from inspector.scan import load

ROOT = Path(__file__).parents[2]


def test_a_rule_of_a_pack_makes_a_finding_with_its_span() -> None:
    """The EICAR text inside a message is found, with the rule's id and severity, and the place of the text."""
    scanner = load(ROOT / "signatures").scanner
    eicar = bytes.fromhex((ROOT / "signatures/core/match/core.eicar.hex").read_text()).decode()
    found = scanner.quick([Text("subject", "hi"), Text("body", f"héllo {eicar} bye")])
    assert found is not None
    assert [(f.detector, f.rule, f.severity, f.spans) for f in found] == [
        ("yara", "core.eicar", "high", ((1, 6, 6 + 68),)),
    ]
    assert scanner.quick([Text("body", "hello")]) == ()
