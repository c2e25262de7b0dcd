"""Writes docs/limits.md from inspector.model.Limits (`make limits`); tests/model/test_limits.py proves it current."""

from __future__ import annotations

from pathlib import Path

from inspector.model import Limits

HEAD = """# Limits

Every bound of the gateway: its default, why it is there, and whether a reload (SIGHUP) may change it. Sizes are bytes
and times seconds unless the name says otherwise. Set them under `limits:` in `inspector.yaml`, by name:

    limits:
      idle_seconds: 86400

This page is made from `inspector/model/limits.py` by `make limits`.

| name | default | reloadable | reason |
|---|---:|---|---|
"""


def shown(value: float) -> str:
    """262144 as 262144; 345600.0 as 345600; 1.5 as 1.5."""
    return str(int(value)) if value == int(value) else str(value)


def page() -> str:
    """The whole page."""
    rows = [
        f"| `{name}` | {shown(default)} | {'yes' if reloadable else 'no'} | {reason} |\n"
        for name, default, reason, reloadable in Limits.table()
    ]
    return HEAD + "".join(rows)


if __name__ == "__main__":
    Path(__file__).resolve().parent.parent.joinpath("docs", "limits.md").write_text(page())
