"""The gateways that are compared, each a process of its own in front of one upstream."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench import indicator_lists, realistic_rules
from bench.processes import Process, free_port, inspector, python, wait_for_port


def certificates(folder: Path) -> tuple[str, str, str]:
    """An authority and a certificate for bench.test: paths of (authority, certificate, key)."""
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    end = datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC)

    def build(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        def name(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        return (
            x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
        )

    authority, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = (
        build("bench authority", "bench authority", authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
                key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .sign(authority, hashes.SHA256())
    )
    end_entity = (
        build("bench.test", "bench authority", leaf)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("bench.test")]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )
    paths = [folder / "authority.pem", folder / "server.pem", folder / "server.key"]
    paths[0].write_bytes(root.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(end_entity.public_bytes(serialization.Encoding.PEM))
    paths[2].write_bytes(
        leaf.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption(),
        )
    )
    return str(paths[0]), str(paths[1]), str(paths[2])


@dataclass
class Gateway:
    """Something that relays `kind` traffic between the clients and a reflector."""

    name: str
    kind: str = "xmpp"
    security: str = "plain"
    upstream: int = 0
    port: int = 0
    process: Process | None = None
    seconds_to_listen: float = 180.0
    """How long it may take to start."""

    def command(self, folder: Path) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def start(self, folder: Path, upstream: int) -> None:
        self.upstream, self.port = upstream, free_port()
        folder = self.folder(folder)
        folder.mkdir(exist_ok=True)
        self.process = Process(self.name, self.command(folder), folder / "log", self.environment())
        wait_for_port(self.port, self.process.child, f"{self.name} (see {folder / 'log'})",
                      self.seconds_to_listen)

    def folder(self, folder: Path) -> Path:
        """Where its configuration and state are."""
        return folder / "".join(letter if letter.isalnum() else "_" for letter in self.name)

    def stop(self) -> None:
        if self.process:
            self.process.stop()
            self.process = None

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid


@dataclass
class Hook(Gateway):
    """mitmproxy's own tcp_message hook."""

    loop: str = "uvloop"
    addons: str = "lean"
    tls: bool = False
    """Whether TLS is opened on both legs."""

    def command(self, folder: Path) -> list[str]:
        more = [str(folder)] if self.tls else []
        return python("-m", "bench.hook", str(self.port), str(self.upstream), self.loop, self.addons, *more)


@dataclass
class Relay(Gateway):
    """A bare relay of asyncio protocols."""

    loop: str = "uvloop"

    def command(self, folder: Path) -> list[str]:
        del folder
        return python("-m", "bench.relay", str(self.port), str(self.upstream), self.loop)


@dataclass
class HaProxy(Gateway):
    """HAProxy in tcp mode, one thread."""

    def command(self, folder: Path) -> list[str]:
        config = folder / "haproxy.cfg"
        config.write_text(
            "global\n    nbthread 1\n    maxconn 9900\ndefaults\n    mode tcp\n    timeout connect 5s\n"
            "    timeout client 1h\n    timeout server 1h\n"
            f"listen bench\n    bind 127.0.0.1:{self.port}\n    server reflector 127.0.0.1:{self.upstream}\n"
        )
        return ["haproxy", "-db", "-f", str(config)]


@dataclass
class Ours(Gateway):
    """The gateway, run as an administrator would: `inspector run -c FILE`."""

    loop: str = "uvloop"
    rules: int = 1000
    indicators: int = 0
    policy_rules: int = 50
    archive: str = "none"
    stock_io: bool = False
    authority: str | None = None
    intercept: str = "im"
    workers: int = 1
    limits: dict[str, Any] = field(default_factory=dict)

    def command(self, folder: Path) -> list[str]:
        signatures = folder / "signatures"
        signatures.mkdir(exist_ok=True)
        if self.rules:
            realistic_rules.write_pack(signatures, self.rules)
        if self.indicators:
            indicator_lists.write_pack(signatures, self.indicators)
        (folder / "policy.yaml").write_text(policy(self.policy_rules))
        config = {
            "listeners": [
                {"mode": "reverse", "address": f"127.0.0.1:{self.port}", "upstream": f"127.0.0.1:{self.upstream}"},
            ],
            "tls": {"upstream_ca": self.authority, "intercept": self.intercept},
            "policy": "policy.yaml",
            "signatures": "signatures",
            "archive": self.archive,
            "metrics": f"127.0.0.1:{free_port()}",
            "limits": self.limits,
            "workers": self.workers,
        }
        (folder / "inspector.yaml").write_text(yaml.safe_dump(config))
        return inspector("run", "-c", str(folder / "inspector.yaml"))

    def environment(self) -> dict[str, str]:
        return {"INSPECTOR_LOOP": self.loop, "INSPECTOR_IO": "stock" if self.stock_io else "protocol"}


def policy(rules: int) -> str:
    """Policy rules of the kinds that companies write; none matches the traffic of the bench."""
    kinds = [
        'when: {{finding.rule: "realistic.rule_0{n:04}", direction: outbound}}\n    then: block',
        'when: {{finding.severity: critical, peer: "*@partner{n}.example.net"}}\n    then: block',
        'when: {{finding.tag: "campaign{n}"}}\n    then: redact',
        'when: {{event: message, peer: "*@competitor{n}.example.net"}}\n    then: block',
        'when: {{event: file, file.type: executable, file.name: "*.part{n}"}}\n    then: block',
        'when: {{event: sign_on, user: "guest{n}@*"}}\n    then: cut',
    ]
    head = "enforce: true\ninside: [127.0.0.0/8, ::1/128]\n"
    if not rules:
        return head + "rules: []\n"
    lines = [f"  - name: rule {n}\n    {kinds[n % len(kinds)].format(n=n)}\n" for n in range(rules)]
    return head + "rules:\n" + "".join(lines)
