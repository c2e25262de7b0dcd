"""Real servers and the gateway itself: foreground children of the test, waited for by port, ended by their own pid."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from inspector.app.cli import main
from inspector.drivers.mitm_tls import Authority
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


def need(*programs: str) -> None:
    """Skip the test where a program is missing."""
    for program in programs:
        if shutil.which(program) is None and not Path("/usr/sbin", program).exists():
            pytest.skip(f"{program} is not installed (make test installs it where it may)")


class Child:
    """A process in the foreground; its output goes to a file."""

    def __init__(
        self, name: str, argv: Sequence[str], folder: Path, env: dict[str, str] | None = None, cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.output = folder / f"{name}.out"
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=cwd or folder,
                env={**os.environ, **(env or {})})

    @property
    def pid(self) -> int:
        return self.process.pid

    def text(self) -> str:
        """What it has printed so far."""
        return self.output.read_text(errors="replace")

    def wait_port(self, host: str, port: int, seconds: float = 30) -> None:
        """Until it listens there."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.text()}")
            try:
                socket.create_connection((host, port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"{self.name} does not listen on {host} port {port}:\n{self.text()}")

    def wait_text(self, words: str, seconds: float = 60) -> None:
        """Until it has printed `words`."""
        deadline = time.monotonic() + seconds
        while words not in self.text():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.text()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name} does not say {words!r}:\n{self.text()}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 15) -> int:
        """End it by its own pid; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        return self.process.returncode

    def resident(self) -> int:
        """Resident bytes, anonymous and mapped."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"{self.name} has ended")


class Servers:
    """The authority of the servers; it signs a certificate for each name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority.open(folder / "authority")
        self.ca_file = folder / "authority" / "authority.pem"

    def certificate(self, name: str) -> tuple[Path, Path]:
        """Files with the certificate and the key for `name`."""
        certificate, key = self.authority.leaf(name)
        crt, pem = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pem.write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()))
        return crt, pem


class Ngircd:
    """ngircd with a plain and a TLS port, for irc.test and localhost."""

    def __init__(self, folder: Path, servers: Servers) -> None:
        need("ngircd")
        self.host = "127.0.0.1"
        self.port, self.tls_port = free_port(), free_port()
        crt, key = servers.certificate("localhost")
        config = folder / "ngircd.conf"
        config.write_text(f"""
[Global]
Name = irc.test
Info = a test
Listen = 127.0.0.1
Ports = {self.port}
[Limits]
MaxNickLength = 16
MaxConnectionsIP = 0
MaxJoins = 100
PingTimeout = 600
[Options]
DNS = no
Ident = no
PAM = no
[SSL]
CertFile = {crt}
KeyFile = {key}
Ports = {self.tls_port}
[Channel]
Name = #test
""")
        self.child = Child("ngircd", [shutil.which("ngircd") or "/usr/sbin/ngircd", "-n", "-f", str(config)], folder)
        try:
            self.child.wait_port(self.host, self.port)
            self.child.wait_port(self.host, self.tls_port)
        except BaseException:
            self.child.stop()
            raise


class Prosody:
    """Prosody for localhost: plain and STARTTLS on `port` (`require_tls`: STARTTLS only), direct TLS on `tls_port`.

    Users alice, bob and carol, password "secret"; rooms at conference.localhost. `websocket`: mod_websocket at
    /xmpp-websocket on `http_port`; `bosh`: mod_bosh at /http-bind there.
    """

    def __init__(
        self, folder: Path, servers: Servers, *, require_tls: bool = False, websocket: bool = False, bosh: bool = False,
    ) -> None:
        need("prosody")
        self.host = "127.0.0.1"
        self.port, self.tls_port = free_port(), free_port()
        crt, key = servers.certificate("localhost")
        data = folder / "data"
        for user in ("alice", "bob", "carol"):
            account = data / "localhost" / "accounts" / f"{user}.dat"
            account.parent.mkdir(parents=True, exist_ok=True)
            account.write_text('return {\n\t["password"] = "secret";\n};\n')
        encrypted = str(require_tls).lower()
        self.http_port = free_port() if websocket or bosh else 0
        enabled = ('; "websocket"' if websocket else "") + ('; "bosh"' if bosh else "")
        disabled, http = ("", f" {self.http_port} ") if enabled else ('; "http"', "")
        config = folder / "prosody.cfg.lua"
        config.write_text(f"""
daemonize = false
run_as_root = true
pidfile = "{folder}/prosody.pid"; data_path = "{data}"; log = {{ info = "{folder}/prosody.log" }}
interfaces = {{ "127.0.0.1" }}
plugin_paths = {{ "/usr/lib/prosody/modules" }}
modules_enabled = {{ "roster"; "saslauth"; "tls"; "disco"; "posix"; "ping"; "carbons"; "version"; "time";
                     "vcard"; "private"; "blocklist"; "smacks"{enabled} }}
modules_disabled = {{ "s2s"{disabled} }}
authentication = "internal_plain"
c2s_require_encryption = {encrypted}; allow_unencrypted_plain_auth = true
c2s_ports = {{ {self.port} }}; c2s_direct_tls_ports = {{ {self.tls_port} }}; legacy_ssl_ports = {{ }}; s2s_ports = {{}}
http_ports = {{{http}}}; https_ports = {{}}; http_interfaces = {{ "127.0.0.1" }}; http_default_host = "localhost"
ssl = {{ key = "{key}"; certificate = "{crt}" }}
c2s_direct_tls_ssl = ssl
limits = {{ }}
VirtualHost "localhost"
Component "conference.localhost" "muc"
""")
        self.child = Child("prosody", ["prosody", "--config", str(config)], folder)
        try:
            self.child.wait_port(self.host, self.port)
            self.child.wait_port(self.host, self.tls_port)
            if self.http_port:
                self.child.wait_port(self.host, self.http_port)
        except BaseException:
            self.child.stop()
            raise


EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
"""The file that every virus scanner calls a virus, and that is none."""


class Clamd:
    """clamd on a Unix socket, with a database of ours: it calls a virus what holds TULIPS-TEST-VIRUS, nothing else."""

    def __init__(self, folder: Path, *, stream_bytes: int = 1_000_000) -> None:
        need("clamd")
        folder.chmod(0o755)
        database = folder / "database"
        database.mkdir()
        (database / "toy.ndb").write_text("Toy.Tulips:0:*:" + b"TULIPS-TEST-VIRUS".hex() + "\n")
        self.path = folder / "clamd.ctl"
        config = folder / "clamd.conf"
        config.write_text(f"""
LocalSocket {self.path}
LocalSocketMode 666
DatabaseDirectory {database}
TemporaryDirectory {folder}
StreamMaxLength {stream_bytes}
Foreground yes
LogVerbose yes
OfficialDatabaseOnly no
User root
Bytecode no
""")
        self.child = Child("clamd", [shutil.which("clamd") or "/usr/sbin/clamd", "--config-file", str(config)], folder)
        deadline = time.monotonic() + 60
        while not self.path.exists():
            if self.child.process.poll() is not None or time.monotonic() > deadline:
                self.child.stop()
                raise AssertionError(f"clamd does not listen:\n{self.child.text()}")
            time.sleep(0.05)


BLOCK = {
    "enforce": True,
    "rules": [
        {"name": "cards", "when": {"finding.rule": "dlp.card_number"}, "then": "redact"},
        {"name": "forbidden", "when": {"event": "message", "text": "(?i)forbidden fruit"}, "then": "block"},
        {"name": "end", "when": {"event": "message", "text": "(?i)cut the line"}, "then": "cut"},
    ],
}
"""A small policy: masks card numbers, refuses "forbidden fruit", cuts at "cut the line"."""


class GatewayChild:
    """`inspector run` with a configuration of its own in `folder`.

    `prefix`: words before the command (a namespace); `patch`: Python that is run in the gateway before it starts.
    """

    def __init__(
        self,
        folder: Path,
        listeners: Sequence[dict[str, Any]],
        *,
        policy: dict[str, Any] | None = None,
        io: str = "fast",
        loop: str = "asyncio",
        prefix: Sequence[str] = (),
        patch: str = "",
        **more: Any,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "inspector.yaml"
        (folder / "signatures").mkdir(exist_ok=True)
        (folder / "policy.yaml").write_text(json.dumps(policy or BLOCK))
        self.metrics = free_port()
        self.authority = folder / "ca" / "authority.pem"
        settings = {
            "policy": "policy.yaml", "signatures": "signatures", "metrics": f"127.0.0.1:{self.metrics}",
            "control": str(folder / "control.sock"),
            "store": {"events": "sqlite:events.db"}, "listeners": list(listeners), **more,
        }
        settings["tls"] = {"authority": "ca", **more.get("tls", {})}
        self.config.write_text(json.dumps(settings))  # JSON is YAML
        program = f"import sys\n{patch}\nfrom inspector.app.cli import main\nsys.exit(main())"
        self.child = Child(
            "gateway", [*prefix, sys.executable, "-c", program, "run", "-c", str(self.config)], folder,
            {"INSPECTOR_IO": io, "INSPECTOR_LOOP": loop, "PYTHONPATH": str(ROOT)})
        try:
            self.child.wait_text("inspector: clients must trust")
        except BaseException:
            self.child.stop()
            raise

    def inspector(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the gateway's on its configuration, in this process (starting another takes a second)."""
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()  # JSON lines are written as bytes
        words = [*argv, "-c", str(self.config)]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(words)
        out.flush()
        said = out.buffer.getvalue().decode()
        return subprocess.CompletedProcess(words, code, said, err.getvalue())

    def rows(self, event: str | None = None) -> list[dict[str, Any]]:
        """The event log, oldest first."""
        done = self.inspector("events", "--format", "jsonl")
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        return [row for row in rows if event is None or row["event"] == event]

    def wait_row(self, event: str, seconds: float = 10, after: str = "", **fields: Any) -> dict[str, Any]:
        """Until the log has such a row. `after`: of `now`, where other tests have used this gateway."""
        deadline = time.monotonic() + seconds
        while True:
            for row in self.rows(event):
                if row["t"] > after and all(row.get(key) == value for key, value in fields.items()):
                    return row
            if time.monotonic() > deadline:
                raise AssertionError(f"no {event} {fields} in {self.rows()}")
            time.sleep(0.1)

    def stop(self) -> int:
        return self.child.stop()


def now() -> str:
    """The time as rows have it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Namespaces:
    """A client, a gateway and a server host, each a network namespace: cli - gw - srv, IPv4 and IPv6."""

    CLIENT, SERVER = "10.77.1.2", "10.77.2.2"
    CLIENT6, SERVER6 = "fd77:1::2", "fd77:2::2"

    def __init__(self) -> None:
        need("ip", "nft", "sysctl")
        if os.geteuid() != 0:
            pytest.skip("network namespaces need root")
        tag = f"{os.getpid():x}"
        self.cli, self.gw, self.srv = (f"{name}-{tag}" for name in ("cli", "gw", "srv"))
        try:
            self._make()
        except subprocess.CalledProcessError as error:
            self.remove()
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")

    def _make(self) -> None:
        for name in (self.cli, self.gw, self.srv):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("link", "add", "c0", "netns", self.cli, "type", "veth", "peer", "name", "g0", "netns", self.gw)
        ip("link", "add", "s0", "netns", self.srv, "type", "veth", "peer", "name", "g1", "netns", self.gw)
        ends = ((self.cli, "c0", "1", "2"), (self.gw, "g0", "1", "1"), (self.gw, "g1", "2", "1"),
                (self.srv, "s0", "2", "2"))
        for name, link, net, host in ends:
            ip("-n", name, "addr", "add", f"10.77.{net}.{host}/24", "dev", link)
            ip("-n", name, "addr", "add", f"fd77:{net}::{host}/64", "dev", link, "nodad")
            ip("-n", name, "link", "set", link, "up")
        for name, net in ((self.cli, "1"), (self.srv, "2")):
            ip("-n", name, "route", "add", "default", "via", f"10.77.{net}.1")
            ip("-n", name, "-6", "route", "add", "default", "via", f"fd77:{net}::1")
        run("ip", "netns", "exec", self.gw, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")

    @staticmethod
    def inside(name: str) -> list[str]:
        """The words before a command that runs in a namespace."""
        return ["ip", "netns", "exec", name]

    def redirect(self, ports: Sequence[int], to: int) -> None:
        """nftables rules on the gateway host: what comes from the client for `ports` goes to the listener."""
        rules = f"""table inet im {{
  chain pre {{
    type nat hook prerouting priority dstnat;
    iifname "g0" tcp dport {{ {", ".join(map(str, ports))} }} redirect to :{to}
  }}
}}
"""
        subprocess.run([*self.inside(self.gw), "nft", "-f", "-"], input=rules, text=True, check=True,
                       capture_output=True)

    def remove(self) -> None:
        for name in (self.cli, self.gw, self.srv):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout


def ip(*argv: str) -> None:
    run("ip", *argv)
