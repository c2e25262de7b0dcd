"""`python -m bench`: all figures, or the parts named."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

PARTS = ("cpu", "memory", "captures", "files", "scale", "reload", "latency", "workers", "tls", "soak", "mixed", "bosh")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="|".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5, help="how often each gateway is measured, in turn")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured window of each")
    parser.add_argument("--only", action="append", default=[], help="gateways whose name has this word; files: these "
                        "transfers (dcc, oft, bytestream, http, ibb), or small")
    parser.add_argument("--file-size", type=int, default=100, help="MiB of the large file")
    parser.add_argument("--file-rules", type=int, default=1000, help="rules that look at files")
    parser.add_argument("--captures", type=Path, default=Path("../shared/captures"), help="folder of captures")
    parser.add_argument("--packets", type=int, default=1_000_000, help="packets of the merged capture")
    parser.add_argument("--rules", type=int, default=50_000, help="message rules of the large set (scale)")
    parser.add_argument("--indicators", type=int, default=1_000_000, help="indicators of the large set (scale)")
    parser.add_argument("--rate", type=float, default=500, help="messages a second (reload, soak)")
    parser.add_argument("--priority", type=int, default=0, help="of all that is started (autogroup), so that "
                        "others' work is less in gaps and waits (root)")
    parser.add_argument("--minutes", type=float, default=1, help="of the soak, of the mixed load")
    parser.add_argument("--idle", type=int, default=8000, help="idle plain sessions (soak)")
    parser.add_argument("--idle-tls", type=int, default=2000, help="idle sessions with TLS on both legs (soak)")
    parser.add_argument("--keep", action="store_true", help="keep the work folder (configurations and logs)")
    options = parser.parse_args()
    parts = options.parts or list(PARTS)
    haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if options.priority:
        from bench.processes import preferred

        preferred(options.priority)
        print(f"priority of all that is measured: {options.priority}")
    print(f"machine: {platform.machine()}, {cores()}; Python {platform.python_version()}, mitmproxy "
          f"{version('mitmproxy')}, uvloop {version('uvloop')}, HAProxy {'there' if haproxy else 'not there'}")
    folder = Path(tempfile.mkdtemp(prefix="inspector-bench-"))
    try:
        if "cpu" in parts:
            from bench import cpu

            print(f"\n## CPU per message\n\n300-byte messages, texts all different, {cpu.SESSIONS} sessions of "
                  f"ping-pong, {options.rounds} rounds of {options.seconds} s, gateways in turn. Unless the name says "
                  "otherwise: XMPP over plain TCP, 1,000 message rules, 50 policy rules, nothing matching, archive "
                  "none, own I/O, uvloop. Median (least-greatest).\n")
            cpu.run(folder, options.rounds, options.seconds, set(options.only))
        if "memory" in parts:
            from bench import memory

            print("\n## Memory per idle session\n")
            memory.run(folder, min(options.rounds, 3))
        if "captures" in parts:
            from bench import captures

            print("\n## Captures\n")
            captures.run(folder, options.captures, options.packets, min(options.rounds, 3))
        if "files" in parts:
            from bench import files

            print("\n## Files\n")
            files.run(folder, min(options.rounds, 3), max(5.0, options.seconds), options.file_size << 20,
                      set(options.only), options.file_rules)
        if "scale" in parts:
            from bench import scale

            print(f"\n## Large rule sets\n\nCPU of the gateway a message, as above, {options.rounds} rounds of "
                  f"{options.seconds} s, sets in turn; half of the indicators are domains, the rest links, addresses, "
                  "hashes and phrases, none in a text.\n")
            scale.run(folder, options.rounds, options.seconds, options.rules, options.indicators)
        if "reload" in parts:
            from bench import reload

            print("\n## Reload under load\n\n10,000 message rules are replaced by 10,000 others while "
                  f"{reload.SESSIONS} sessions send {options.rate:g} messages of 300 bytes a second, one in "
                  f"{reload.MARKED} of which must be refused; XMPP over plain TCP, uvloop. A gap is the time between "
                  "two turns of the worker's event loop, seen by a timer of 2 ms in it; it counts the time when others "
                  "had the core, too.\n")
            reload.run(folder, min(options.rounds, 3), options.rate)
        if "latency" in parts:
            from bench import added

            print(f"\n## Added latency\n\nRound trips of 300-byte messages of {added.SESSIONS} sessions, each sending "
                  "by the clock, at half of the load that saturates the gateway, client and server in one process; "
                  "XMPP over plain TCP, 1,000 message rules, 50 policy rules, uvloop in gateway, relay and load; "
                  f"{options.rounds} rounds of {max(5.0, options.seconds):g} s, in turn, a fresh process each.\n")
            added.run(folder, options.rounds, max(5.0, options.seconds))
        if "workers" in parts:
            from bench import workers

            print(f"\n## Workers\n\nIRC over plain TCP, 300-byte messages, {workers.SESSIONS} sessions a worker that "
                  "write as fast as they may, 1,000 message rules, 50 policy rules, uvloop; "
                  f"{options.rounds} rounds of {max(5.0, options.seconds):g} s, in turn.\n")
            workers.run(folder, options.rounds, max(5.0, options.seconds))
        if "tls" in parts:
            from bench import tls

            print("\n## TLS session set-ups\n\nA client connects with TLS (1.3, no resumption, one server name), the "
                  "gateway opens TLS to the server and verifies it, one stream header goes up and its answer down, the "
                  f"client goes; {tls.AT_ONCE} at a time, {options.rounds} rounds of {max(4.0, options.seconds):g} s, "
                  "gateways in turn, CPU time of the gateway, on uvloop. mitmproxy makes its own (RSA) authority and "
                  "does not verify the server; the first row has only the addons without which nothing is relayed.\n")
            tls.run(folder, options.rounds, max(4.0, options.seconds))
        if "soak" in parts:
            from bench import soak

            print(f"\n## Idle sessions for {options.minutes:g} minutes\n\nTwo gateways, one worker each, 1,000 "
                  f"message rules: on the first {options.idle:,} idle XMPP sessions over plain TCP, and "
                  f"{options.rate:g} messages a second of 50 others; on the second {options.idle_tls:,} idle ones, "
                  "STARTTLS on both legs.\n")
            soak.run(folder, options.minutes, options.idle, options.idle_tls, options.rate)
        if "bosh" in parts:
            from bench import bosh

            print("\n## XMPP over HTTP\n\nThe engine alone, in one process: a request with its answer, a message "
                  f"of about 300 bytes in each, beside the same two on a bare stream; {options.rounds} rounds of "
                  f"{bosh.PAIRS} pairs, in turn.\n")
            bosh.run(options.rounds)
        if "mixed" in parts:
            from bench import mixed

            plan = mixed.Plan(seconds=60 * options.minutes)
            print(f"\n## Mixed load for {options.minutes:g} minutes\n\nTwo workers, {plan.rules:,} message rules, "
                  f"uvloop; {plan.steady} sessions each of XMPP (plain, STARTTLS, WebSocket), IRC and OSCAR that say "
                  f"{plan.rate:g} messages a second together, {plan.visitors:g} others a second that come and go, "
                  f"{plan.files:g} files a second.\n")
            if mixed.run(folder, plan).faults:
                sys.exit(1)
    finally:
        if options.keep:
            print(f"work folder: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def cores() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return f"{os.cpu_count()} cores {model}"


if __name__ == "__main__":
    main()
