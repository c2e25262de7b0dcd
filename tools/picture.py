"""Draws docs/refused.svg from a real run: the demo's refused message as the sender sees it and as the log tells it."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from html import escape
from pathlib import Path

from inspector.app import demo

WIDTH, LINE, LEFT = 860, 19, 18
DARK, LIGHT, DIM, RED, GREEN = "#14181f", "#e6e9ee", "#8b94a3", "#ff7a70", "#8fd18a"
SHOWN = ("when", "what", "who", "text", "found", "matched", "did", "reference")


def pane(title: str, lines: list[tuple[str, str]], top: int) -> tuple[str, int]:
    """A window with a title and coloured lines; the SVG and where it ends."""
    height = LINE * (len(lines) + 2) + 10
    parts = [
        f'<rect x="6" y="{top}" width="{WIDTH - 12}" height="{height}" rx="8" fill="{DARK}"/>',
        f'<text x="{LEFT}" y="{top + 22}" fill="{DIM}" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (text, colour) in enumerate(lines):
        y = top + 22 + LINE * (number + 1) + 6
        parts.append(f'<text x="{LEFT}" y="{y}" fill="{colour}" xml:space="preserve">{escape(text)}</text>')
    return "\n".join(parts), top + height + 10


def main() -> None:
    """Plays the demo, asks `inspector explain`, writes the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seen, events = asyncio.run(demo.run(folder))
        refused = next(event for event in events if event["action"] == "block")
        command = demo.command("explain", "-c", str(folder / "inspector.yaml"), refused["reference"])
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    client = []
    for heard in seen:
        client.append((f"<alice> {heard['alice says']}", LIGHT))
        if "alice reads" in heard:
            client.append((f"-gateway- {heard['alice reads']}", RED))
        client.append((f"{'':48}bob reads: {heard['bob reads']}", DIM if heard["bob reads"] == "(nothing)" else GREEN))
    rows = [line for line in told if line.split() and line.split()[0] in SHOWN]
    colours = {"did": RED, "matched": RED, "text": LIGHT}
    log = [(line, colours.get(line.split()[0], DIM)) for line in rows]
    first, end = pane("alice's IRC client, and what reaches bob", client, 6)
    second, end = pane(f"$ inspector explain {refused['reference']}", log, end)
    Path(__file__).resolve().parent.parent.joinpath("docs", "refused.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{end}" viewBox="0 0 {WIDTH} {end}" '
        f'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14">\n{first}\n{second}\n</svg>\n'
    )


if __name__ == "__main__":
    main()
