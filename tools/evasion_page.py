"""Writes docs/evasion.md: plays every case of tests/evasion and tells what became of it (some minutes)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.evasion import page

if __name__ == "__main__":
    page.PAGE.write_text(page.text(), encoding="utf-8")
