"""app.config: inspector.yaml, every key and every fault."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.app.config import (
    Clamd,
    Config,
    Destinations,
    Endpoint,
    Keep,
    LeaseAddress,
    Listener,
    load,
    needs_restart,
    parse,
    protocol_names,
    shipped,
)
from inspector.model import Limits
from inspector.wire.located import Faults, load_yaml

HERE = Path(__file__).parents[2]
EXAMPLE = HERE / "inspector.example.yaml"

INTERFACE = """
listeners:                      # default: socks5 on 127.0.0.1:1080
  - {mode: socks5, address: "127.0.0.1:1080", clients: [127.0.0.0/8], destinations: {ports: [], allow: [], deny: [loopback, link_local, private, own]}}
  - {mode: connect, address: "127.0.0.1:8118"}                        # HTTP CONNECT
  - {mode: transparent, address: "0.0.0.0:9300", clients: [10.0.0.0/8]}   # behind the firewall's redirect
  - {mode: reverse, address: "127.0.0.1:15222", upstream: "127.0.0.1:5222", lease_ports: "9400-9499", certificate: null, key: null}
tls:
  intercept: im
  names: []
  never: []
  exceptions: []
  authority: var/ca
  upstream_ca: null
  client_min: tls1.2
  upstream_min: tls1.2
policy: rules/policy.yaml
signatures: signatures
store: {events: "sqlite:var/inspector.db", quarantine: var/quarantine}
archive: none
user: null
privacy: {text: full, never_inspect: []}
workers: 1
control: var/inspector.sock
metrics: "127.0.0.1:9464"
limits: {}
"""  # noqa: E501


def config(text: str) -> Config:
    return parse(text, Path("/etc/inspector/i.yaml"))


def faults(text: str) -> list[str]:
    with pytest.raises(Faults) as caught:
        parse(text, Path("i.yaml"))
    return [str(fault) for fault in caught.value.faults]


def test_the_complete_example() -> None:
    """The example in the project is valid and has every key there is."""
    read = load(EXAMPLE)
    assert read.refusals_for_run() == ()
    assert len(read.listeners) == 6 and len(read.tls.exceptions) == 1
    assert {listener.mode for listener in read.listeners} == {"socks5", "connect", "transparent", "reverse"}
    top = load_yaml(EXAMPLE.read_bytes(), "x").value
    assert set(top) == {
        "listeners", "tls", "policy", "signatures", "files", "store", "archive", "user", "privacy", "workers",
        "control", "control_group", "metrics", "limits", "edits", "log", "retention", "hold", "roles", "four_eyes",
    }


def test_what_the_example_says_is_default_is_default() -> None:
    """Scalars and sections of the example are the defaults, so that it can be trusted as documentation."""
    read, default = load(EXAMPLE), parse("", EXAMPLE)
    for key in ("files", "store", "archive", "user", "privacy", "workers", "control", "control_group", "metrics",
                "limits", "edits", "log", "state", "retention", "on_expiry", "roles", "four_eyes"):
        assert getattr(read, key) == getattr(default, key), key
    for key in ("intercept", "authority", "upstream_ca", "client_min", "upstream_min"):
        assert getattr(read.tls, key) == getattr(default.tls, key), key
    assert read.listeners[0] == default.listeners[0]


def test_the_documented_defaults_are_the_defaults() -> None:
    """The keys as the interface documents them, written out, are what an empty file means, listeners aside."""
    written, empty = config(INTERFACE), config("")
    assert needs_restart(empty, written) == ["listeners"]
    assert written.listeners[0].clients == ("127.0.0.0/8",)
    assert written.listeners[3].upstream == Endpoint("127.0.0.1", 5222)
    assert written.listeners[3].lease_ports == (9400, 9499)
    assert (written.archive, written.privacy, written.tls) == (empty.archive, empty.privacy, empty.tls)


def test_without_a_file() -> None:
    """The embedded defaults: one SOCKS listener on loopback, state below the working directory, shipped policy."""
    read = load(None)
    assert read.path is None and read.base == Path.cwd() and read.state == Path.cwd() / "var"
    assert read.listeners == (Listener("socks5", Endpoint("127.0.0.1", 1080), ("127.0.0.0/8", "::1/128")),)
    assert read.listeners[0].destinations == Destinations(frozenset(), (), ("loopback", "link_local", "private", "own"))
    assert read.metrics == Endpoint("127.0.0.1", 9464) and read.limits == Limits()
    assert read.policy.is_file() and read.signatures.is_dir()


def test_relative_paths_are_relative_to_the_file() -> None:
    """State, control socket and stores are beside the file; absolute paths stay."""
    read = config("policy: my/p.yaml\ncontrol: /run/i.sock\nstore: {events: 'sqlite:events.db'}")
    assert read.policy == Path("/etc/inspector/my/p.yaml")
    assert read.control == Path("/run/i.sock")
    assert read.store.events == "sqlite:/etc/inspector/events.db"
    assert read.store.quarantine == Path("/etc/inspector/var/quarantine")
    assert read.tls.authority == Path("/etc/inspector/var/ca")
    assert read.state == Path("/etc/inspector/var")


def test_paths_of_faults_are_as_the_user_wrote_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy beside the file is named relative to where the user stands, as he would name it."""
    (tmp_path / "conf" / "rules").mkdir(parents=True)
    (tmp_path / "conf" / "rules" / "policy.yaml").write_text("")
    (tmp_path / "conf" / "i.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert str(load("conf/i.yaml").policy) == os.path.join("conf", "rules", "policy.yaml")
    assert load("conf/i.yaml").state == tmp_path / "conf" / "var"


def test_what_is_not_beside_the_file_is_the_shipped_one(tmp_path: Path) -> None:
    """A configuration alone in a folder gets the policy and signatures that come with the program."""
    (tmp_path / "i.yaml").write_text("workers: 1")
    read = load(tmp_path / "i.yaml")
    assert read.policy == shipped("rules/policy.yaml") and read.policy.is_file()
    assert read.signatures == shipped("signatures")
    (tmp_path / "i.yaml").write_text("policy: rules/policy.yaml")
    assert load(tmp_path / "i.yaml").policy == tmp_path / "rules" / "policy.yaml"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """One sentence that names it."""
    with pytest.raises(Faults) as caught:
        load(tmp_path / "none.yaml")
    assert str(caught.value) == f"{tmp_path}/none.yaml: cannot be read: no such file or directory"


def test_all_faults_at_once() -> None:
    """Every section's faults together, in the order of the lines."""
    assert faults("""listners: []
listeners:
  - {mode: socks, address: "0.0.0.0:1080"}
  - {mode: reverse, address: "::1:80", modes: 1}
  - {mode: socks5, address: "127.0.0.1:1", upstream: "a:1", certificate: x, protocols: [ircc]}
  - {mode: socks5, address: "127.0.0.1:1"}
  - {address: "127.0.0.1:70000"}
  - 5
tls: {intercept: yes, exceptions: [{name: x y}], client_min: tls1.1, names: ["*.ok.net", "a b"]}
limits: {scan_second: 1, sessions: 1.5, probe_bytes: -1, irc_line_bytes: true}
workers: 0
metrics: "localhost:1"
edits: {foo: true, xmpp.strip_sm: 1}
log: {level: warn}
archive: some
store: {events: "postgres:x", event: 1}
user: a b
privacy: {never_inspect: x}
policy: 5
""") == [
        'i.yaml:1:1: unknown key "listners" (did you mean "listeners"?)',
        'i.yaml:3:12: mode cannot be "socks": socks5, connect, transparent, reverse (did you mean "socks5"?)',
        "i.yaml:3:28: 0.0.0.0:1080 is open to others: clients must say which networks may connect",
        "i.yaml:4:5: a reverse listener needs an upstream",
        'i.yaml:4:30: an IPv6 address stands in brackets: "[::1]:80"',
        'i.yaml:4:40: unknown key "modes" (did you mean "mode"?)',
        "i.yaml:5:54: upstream is for listeners of mode reverse",
        "i.yaml:5:74: certificate and key come together",
        "i.yaml:5:74: certificate is for listeners of mode reverse",
        'i.yaml:5:89: unknown protocol "ircc" (did you mean "irc"?); there are ' + ", ".join(sorted(protocol_names())),
        "i.yaml:7:5: a listener needs a mode: socks5, connect, transparent, reverse",
        'i.yaml:7:15: "127.0.0.1:70000" is not address and port, "127.0.0.1:1080" or "[::1]:1080"',
        'i.yaml:8:5: a listener is a mapping like {mode: socks5, address: "127.0.0.1:1080"}',
        'i.yaml:9:18: intercept cannot be "yes": im, all, none',
        "i.yaml:9:36: an exception needs a reason: why",
        "i.yaml:9:36: an exception needs an end: until, a day like 2027-01-31",
        "i.yaml:9:43: an exception needs the name of a server",
        'i.yaml:9:62: client_min cannot be "tls1.1": tls1.2, tls1.3 (did you mean "tls1.3"?)',
        'i.yaml:9:90: "a b" is not a host name',
        'i.yaml:10:10: unknown limit "scan_second" (did you mean "scan_seconds"?)',
        "i.yaml:10:36: sessions is a whole number",
        "i.yaml:10:54: probe_bytes is a number above 0",
        "i.yaml:10:74: irc_line_bytes is a number above 0",
        "i.yaml:11:10: workers is a whole number from 1 to 256",
        'i.yaml:12:10: "localhost" is not an address; a name cannot stand here',
        'i.yaml:13:9: unknown edit "foo"; there are ' + ", ".join(sorted(edits())),
        "i.yaml:13:35: xmpp.strip_sm is true or false",
        'i.yaml:14:14: level cannot be "warn": debug, info, warning, error (did you mean "warning"?)',
        'i.yaml:15:10: archive cannot be "some": none, metadata, full',
        "i.yaml:16:17: events is kept in sqlite:PATH",
        'i.yaml:16:31: unknown key "event" (did you mean "events"?)',
        "i.yaml:17:7: user is the name of a user of this system",
        "i.yaml:18:26: never_inspect is a list",
        "i.yaml:19:9: policy is a path",
    ]


def edits() -> set[str]:
    from inspector.protocols.registry import SPECS

    return {edit.name for spec in SPECS for edit in spec.edits}


LISTENER = "listeners: [{%s}]"


@pytest.mark.parametrize(("listener", "fault"), [
    ('mode: socks5, address: "0.0.0.0:1"', "0.0.0.0:1 is open to others: clients must say which networks may connect"),
    ('mode: socks5, address: "[::]:1"', "[::]:1 is open to others: clients must say which networks may connect"),
    ('mode: socks5, address: "10.0.0.1:1", clients: []', "clients is a list of networks; nobody could connect"),
    ('mode: socks5, address: "127.0.0.1:1", clients: [10.0.0.1/8]',
     '"10.0.0.1/8" is not a network (did you mean 10.0.0.0/8?)'),
    ('mode: socks5, address: "127.0.0.1"', '"127.0.0.1" is not address and port, "127.0.0.1:1080" or "[::1]:1080"'),
    ('mode: socks5, address: "[127.0.0.1]:1"', 'an IPv4 address stands without brackets: "127.0.0.1:1"'),
    ('mode: socks5, address: "[example]:1"', '"example" is not an address; a name cannot stand here'),
    ('mode: socks5, address: 1080', 'address is address and port, "127.0.0.1:1080" or "[::1]:1080"'),
    ('mode: reverse, address: "127.0.0.1:1", upstream: "127.0.0.1:1"', "the upstream is the listener itself"),
    ('mode: reverse, address: "127.0.0.1:1", upstream: "host"',
     '"host" is not address and port, "chat.example.net:5222"'),
    ('mode: reverse, address: "127.0.0.1:1", upstream: "host:0"',
     '"host:0" is not address and port, "chat.example.net:5222"'),
    ('mode: reverse, address: "127.0.0.1:1", upstream: "a b:5"', '"a b" is neither an address nor a host name'),
    ('mode: reverse, address: "127.0.0.1:1", upstream: "a:5", destinations: {}',
     "destinations has no use with reverse: the upstream is the only one"),
    ('mode: reverse, address: "127.0.0.1:1", upstream: "a:5", key: k', "certificate and key come together"),
    ('mode: reverse, address: "127.0.0.1:1", upstream: "a:5", lease_ports: "9-5"',
     '"9-5" is neither a port nor a range of ports like "9400-9499"'),
    ('mode: socks5, address: "127.0.0.1:1", lease_ports: "1-9999"', "more than 4096 ports"),
    ('mode: socks5, address: "127.0.0.1:1", lease_address: {up: "192.0.2.1"}',
     "lease_address has no use without lease_ports"),
    ('mode: socks5, address: "127.0.0.1:1", lease_ports: 5, lease_address: {down: "192.0.2.1"}',
     "down is for listeners of mode reverse: other clients come through us anyway"),
    ('mode: socks5, address: "127.0.0.1:1", lease_ports: 5, lease_address: {up: gateway}',
     '"gateway" is not an address'),
    ('mode: socks5, address: "127.0.0.1:1", lease_ports: 5, lease_address: {upp: "192.0.2.1"}',
     'unknown key "upp" (did you mean "up"?)'),
    ('mode: socks5, address: "127.0.0.1:1", lease_ports: 5, lease_address: "192.0.2.1"',
     'lease_address is a mapping like {up: "192.0.2.1"}'),
    ('mode: socks5, address: "127.0.0.1:1", destinations: {ports: [x]}',
     '"x" is neither a port nor a range of ports like "9400-9499"'),
    ('mode: socks5, address: "127.0.0.1:1", destinations: {deny: [lopback]}',
     '"lopback" is neither a network nor one of loopback, link_local, private, own (did you mean "loopback"?)'),
    ('mode: socks5, address: "127.0.0.1:1", destinations: {allow: ["-x"]}',
     '"-x" is neither a network nor a host name'),
    ('mode: socks5, address: "127.0.0.1:1", destinations: {alow: []}', 'unknown key "alow" (did you mean "allow"?)'),
])
def test_faults_of_listeners(listener: str, fault: str) -> None:
    """What would leave a listener open, useless or unreachable is refused with a reason."""
    (told,) = faults(LISTENER % listener)
    assert told.split(": ", 1)[1] == fault


def test_two_listeners_on_one_address() -> None:
    """Each address once, metrics included; port 0 is any free port and may be there more than once."""
    two = 'listeners: [{mode: socks5, address: "127.0.0.1:5"}, {mode: connect, address: "127.0.0.1:5"}]'
    assert faults(two) == ["i.yaml:1:78: the address 127.0.0.1:5 is taken by the listener of line 1"]
    assert len(config(two.replace(":5", ":0")).listeners) == 2
    assert faults('listeners: [{mode: socks5, address: "127.0.0.1:5"}]\nmetrics: "127.0.0.1:5"') == [
        "i.yaml:2:10: a listener has the address 127.0.0.1:5 already",
    ]


def test_ports_are_leased_by_one_listener() -> None:
    """Any mode may lease; two ranges that meet are a fault, one that holds ports of ours is not: those are left out."""
    two = ('listeners: [{mode: socks5, address: "127.0.0.1:5", lease_ports: "9400-9409"}, '
           '{mode: connect, address: "127.0.0.1:6", lease_ports: "%s"}]')
    assert faults(two % "9409-9411") == [
        "i.yaml:1:132: the listener of line 1 leases some of these ports"]
    read = config(two % "9410-9411" + '\nmetrics: "127.0.0.1:9405"')
    assert [listener.lease_ports for listener in read.listeners] == [(9400, 9409), (9410, 9411)]


def test_lease_addresses() -> None:
    """In one spelling, each by its way."""
    read = config('listeners: [{mode: reverse, address: "127.0.0.1:5", upstream: "a:5", lease_ports: 7000, '
                  'lease_address: {up: "2001:DB8::1", down: null}}]')
    assert read.listeners[0].lease_address == LeaseAddress("2001:db8::1", None)


@pytest.mark.parametrize(("written", "meant", "shown"), [
    ("null", None, None),
    ('"unix:/run/clamav/clamd.ctl"', Clamd(path=Path("/run/clamav/clamd.ctl")), "unix:/run/clamav/clamd.ctl"),
    ('"unix:c.ctl"', Clamd(path=Path("/etc/inspector/c.ctl")), "unix:/etc/inspector/c.ctl"),
    ('"127.0.0.1:3310"', Clamd(endpoint=Endpoint("127.0.0.1", 3310)), "127.0.0.1:3310"),
    ('"[::1]:3310"', Clamd(endpoint=Endpoint("::1", 3310)), "[::1]:3310"),
])
def test_where_clamd_is(written: str, meant: Clamd | None, shown: str | None) -> None:
    """A socket by its path, relative to the file, or host and port."""
    clamd = config(f"files: {{clamd: {written}}}").files.clamd
    assert clamd == meant
    assert shown is None or str(clamd) == shown


@pytest.mark.parametrize(("written", "fault"), [
    ("3310", 'i.yaml:1:16: clamd is "unix:/run/clamav/clamd.ctl" or "127.0.0.1:3310"'),
    ('"unix:"', 'i.yaml:1:16: clamd is "unix:/run/clamav/clamd.ctl" or "127.0.0.1:3310"'),
    ('"localhost"', 'i.yaml:1:16: clamd is "unix:/run/clamav/clamd.ctl" or "127.0.0.1:3310"'),
    ('"localhost:x"', 'i.yaml:1:16: "localhost:x" is not address and port, "chat.example.net:5222"'),
])
def test_clamd_must_be_somewhere(written: str, fault: str) -> None:
    """A fault with its place."""
    assert faults(f"files: {{clamd: {written}}}") == [fault]


def test_addresses_and_destinations() -> None:
    """IPv6 in brackets and its canonical form; ranges of ports; networks in canonical form; names in lower case."""
    (listener,) = config(LISTENER % (
        'mode: socks5, address: "[0:0::1]:1080", clients: [::1/128], '
        'destinations: {ports: [5222, "6660-6662"], allow: [10.0.0.9, Chat.Example.NET, "*.example.org"], deny: [own]}'
    )).listeners
    assert listener.address == Endpoint("::1", 1080) and str(listener.address) == "[::1]:1080"
    assert listener.destinations == Destinations(
        frozenset({5222, 6660, 6661, 6662}), ("10.0.0.9/32", "chat.example.net", "*.example.org"), ("own",),
    )


def test_tls_exceptions() -> None:
    """A name, a reason and an end, which is the end of that day; clients are networks."""
    (exception,) = config(
        "tls: {exceptions: [{name: Chat.Example.net, clients: [10.1.2.0/24], until: 2027-01-31, why: pinned}]}",
    ).tls.exceptions
    assert exception.name == "chat.example.net" and exception.clients == ("10.1.2.0/24",)
    assert exception.until == 1801440000.0  # 2027-02-01T00:00:00Z


def test_limits_by_name() -> None:
    """Bounds replace the defaults; times may be fractions."""
    read = config("limits: {scan_seconds: 2, probe_seconds: 0.5, sessions: 10}")
    assert (read.limits.scan_seconds, read.limits.probe_seconds, read.limits.sessions) == (2.0, 0.5, 10)
    assert read.limits.frame_bytes == Limits().frame_bytes


def test_who_may_do_what_and_what_needs_two() -> None:
    """Roles hold users and @groups; a role that is empty belongs to nobody, one that is not given is not configured."""
    read = config(
        "hold: {on_expiry: delete}\nroles: {review: [alice, \"@security\"], operate: []}\n"
        "four_eyes: [release, show, release]\nstore: {key: /keys/holds}")
    assert read.on_expiry == "delete" and read.four_eyes == ("release", "show")
    assert read.roles == {"review": ("alice", "@security"), "operate": ()}
    assert read.store.key == Path("/keys/holds")
    assert config("").roles == {} and config("").store.key is None


@pytest.mark.parametrize(("text", "fault"), [
    ("hold: {on_expiry: keep}", 'i.yaml:1:19: on_expiry cannot be "keep": deny, delete'),
    ("hold: {expiry: deny}", 'i.yaml:1:8: unknown key "expiry"'),
    ("roles: {reviewers: [a]}", 'i.yaml:1:9: unknown key "reviewers"'),
    ("roles: {review: alice}", "i.yaml:1:17: review is a list"),
    ("roles: {review: [a b]}", "i.yaml:1:18: a user of this system, or @ and a group"),
    ('roles: {review: ["@"]}', "i.yaml:1:18: a user of this system, or @ and a group"),
    ("four_eyes: [relase]", '"relase" needs no second person: show, release (did you mean "release"?)'),
    ("four_eyes: true", "i.yaml:1:12: four_eyes is a list"),
])
def test_faults_of_roles_and_holding(text: str, fault: str) -> None:
    """A slip in who may look would be a hole, or lock everybody out."""
    assert len(found := faults(text)) == 1 and fault in found[0]


def test_a_listeners_own_certificate(tmp_path: Path) -> None:
    """A pair that belongs together is taken; one that is not there, is broken, or does not belong together is a fault
    with its line, before anything listens."""
    from cryptography.hazmat.primitives import serialization

    from inspector.drivers.mitm_tls import Authority

    certificate, key = Authority.open(tmp_path / "ca").leaf("chat.example.net")
    (tmp_path / "c.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "k.pem").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    (tmp_path / "locked.pem").write_bytes(key.private_bytes(pem, form, serialization.BestAvailableEncryption(b"x")))
    (tmp_path / "other.pem").write_bytes((tmp_path / "ca" / "authority.key").read_bytes())
    (tmp_path / "broken.pem").write_text("nothing")

    def found(one: str, two: str) -> list[str]:
        read = parse(
            'listeners:\n  - {mode: reverse, address: "127.0.0.1:1", upstream: "a:1",\n'
            f"     certificate: {one}, key: {two}}}\n", tmp_path / "i.yaml")
        assert read.refusals_for_run() == ()
        return [str(fault).replace(f"{tmp_path}/", "") for fault in read.missing_files()]

    assert found("c.pem", "k.pem") == []
    assert found("none.pem", "k.pem") == ["i.yaml:3:19: none.pem cannot be read: no such file or directory"]
    assert found("broken.pem", "k.pem") == ["i.yaml:3:19: broken.pem is not a PEM file of certificates"]
    assert found("c.pem", "none.pem") == ["i.yaml:3:31: none.pem cannot be read: no such file or directory"]
    assert found("c.pem", "other.pem") == ["i.yaml:3:31: other.pem is not the key of c.pem"]
    for name in ("broken.pem", "locked.pem"):
        assert found("c.pem", name) == [f"i.yaml:3:31: {name} is not a PEM file of a key without a password"]


def test_groups_that_the_policy_does_not_have() -> None:
    """A slip in never_inspect would read what must not be read."""
    read = config("privacy: {never_inspect: [council, docters]}")
    assert [str(fault) for fault in read.unknown_groups(["council", "doctors"])] == [
        '/etc/inspector/i.yaml:1:36: the policy has no group "docters" (did you mean "doctors"?)',
    ]


@pytest.mark.parametrize(("text", "keys"), [
    ("policy: other.yaml\nsignatures: other", []),
    ("tls: {names: [a.net], exceptions: [{name: b.net, until: 2027-01-31, why: x}]}", []),
    ("archive: full\nprivacy: {text: none}\nlog: {level: debug}", []),
    ("limits: {scan_seconds: 2}", []),
    ('files: {clamd: "127.0.0.1:3310"}', []),
    ("limits: {file_workers: 3, file_worker_memory: 1000000}", ["limits.file_workers", "limits.file_worker_memory"]),
    ('listeners: [{mode: socks5, address: "127.0.0.1:1080", lease_ports: 5}]', ["listeners"]),
    ("limits: {yara_rules_per_shard: 2}", ["limits.yara_rules_per_shard"]),
    ("log: {format: json}", ["log.format"]),
    ("edits: {irc.drop_nul: false}", ["edits"]),
    ('listeners: [{mode: connect, address: "127.0.0.1:5"}]\nworkers: 2', ["listeners", "workers"]),
    ("tls: {intercept: all, never: [a.net], authority: x, client_min: tls1.3}",
     ["tls.intercept", "tls.never", "tls.authority", "tls.client_min"]),
    ("hold: {on_expiry: delete}\nroles: {view: [a]}\nfour_eyes: [show]", []),
    ("store: {key: k}", ["store"]),
    ("user: nobody\ncontrol: x\ncontrol_group: y\nmetrics: null\nstore: {quarantine: q}",
     ["store", "user", "control", "control_group", "metrics"]),
])
def test_needs_restart(text: str, keys: list[str]) -> None:
    """What a reload may not change is told by name."""
    assert needs_restart(config("# comment\n"), config(text)) == keys


def test_moving_a_line_is_no_change() -> None:
    """Comments, and where a listener stands in the file, are not compared."""
    text = 'listeners: [{mode: connect, address: "127.0.0.1:5"}]'
    assert needs_restart(config(text), config("# one\n# two\n" + text)) == []


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "127.0.0.1:1", "x", "tls1.2", "10.0.0.0/8", "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["listeners", "mode", "address", "clients", "destinations", "ports", "tls", "exceptions", "names", "limits",
         "sessions", "store", "events", "privacy", "edits", "log", "metrics", "workers", "policy", "user", "until"],
    ), inner, max_size=4), max_leaves=12,
))
def test_any_document_is_a_configuration_or_faults(value: object) -> None:
    """Whatever stands where, the answer is a configuration or faults; never another exception."""
    try:
        parse(json.dumps(value), Path("/x/i.yaml"))
    except Faults as caught:
        assert caught.faults


def test_what_a_listener_denies_where_nothing_is_said_depends_on_its_mode(tmp_path: Path) -> None:
    """Explicit proxies deny inside addresses; behind a redirect only our own ports are denied, and those always."""
    path = tmp_path / "inspector.yaml"
    path.write_text(
        "listeners:\n"
        '  - {mode: socks5, address: "127.0.0.1:1"}\n'
        '  - {mode: transparent, address: "127.0.0.1:2"}\n'
        '  - {mode: connect, address: "127.0.0.1:3", destinations: {deny: [private]}}\n'
        '  - {mode: reverse, address: "127.0.0.1:4", upstream: "127.0.0.1:5"}\n')
    denied = [set(listener.destinations.deny) for listener in load(path).listeners]
    assert denied == [{"loopback", "link_local", "private", "own"}, {"own"}, {"own", "private"}, set()]


def test_retention_is_bounds_above_0_or_none_and_may_be_reloaded() -> None:
    """Days and megabytes; nothing else."""
    assert config("retention: {days: 90.5, megabytes: 2000}").retention == Keep(90.5, 2000)
    assert config("retention: {days: null}").retention == config("").retention == Keep()
    assert needs_restart(config(""), config("retention: {days: 1}")) == []
    assert faults("retention: {days: 0, megabytes: yes, weeks: 3}") == [
        "i.yaml:1:19: days is a number above 0, or null", "i.yaml:1:33: megabytes is a number above 0, or null",
        'i.yaml:1:38: unknown key "weeks"',
    ]
