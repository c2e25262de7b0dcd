"""Makes one big capture of a folder of small ones: all of them, again and again, each round two days later.

    python bench/merge_capture.py FOLDER OUT.pcapng --packets 1000000

The output is pcapng with an interface for each link type, so that nothing of the packets changes but their time. Two
days are longer than any flow is waited for: a round does not run into the one before.
"""

from __future__ import annotations

import argparse
import struct
import sys
from pathlib import Path

from inspector.drivers.pcap import find, open_capture
from inspector.model import Limits

ROUND_SECONDS = 2 * 86400
_ENHANCED = struct.Struct("<IIIIIII").pack


def merge(folder: str, out: Path, packets: int) -> int:
    """Write `packets` packets (fewer only when the folder has none); how many were written."""
    limits = Limits()
    files = list(find([folder]))
    interfaces: dict[int, int] = {}
    written = 0
    with out.open("wb", buffering=1 << 20) as stream:
        stream.write(struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28))
        start = 0
        while written < packets:
            before = written
            for name, path in files:
                capture = open_capture(name, path, limits)
                for at, link, data, begin, end, wire in capture:
                    if link not in interfaces:
                        interfaces[link] = len(interfaces)
                        stream.write(struct.pack("<IIHHII", 1, 20, link, 0, 0, 20))
                    kept = end - begin
                    pad = -kept % 4
                    length = 32 + kept + pad
                    micro = round((at + start) * 1e6)
                    head = _ENHANCED(6, length, interfaces[link], micro >> 32, micro & 0xFFFFFFFF, kept, wire)
                    stream.write(head + data[begin:end] + bytes(pad) + struct.pack("<I", length))
                    written += 1
                    if written >= packets:
                        break
                capture.close()
                if written >= packets:
                    break
            if written == before:
                break
            start += ROUND_SECONDS
    return written


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("out", type=Path)
    parser.add_argument("--packets", type=int, default=1_000_000)
    args = parser.parse_args()
    written = merge(args.folder, args.out, args.packets)
    print(f"{written} packets in {args.out}")
    return 0 if written == args.packets else 1


if __name__ == "__main__":
    sys.exit(main())
