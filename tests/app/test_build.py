"""From a configuration to what sessions are handed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from inspector.app import build, config
from inspector.app.check import compile_policy
from inspector.model import Edit
from inspector.protocols.registry import SPECS
from inspector.wire.located import Faults

PACK = "name: p\nversion: 1.0.0\ndescription: d\nlicense: Apache-2.0\ncontent:\n  - {file: a.csv, kind: indicators}\n"
CSV = "kind,value,severity,description,reference\nphrase,project nightjar,high,d,r\n"


def files(tmp_path: Path, policy: str = "rules: []\n", more: str = "") -> config.Config:
    """A configuration with a policy and one pack."""
    (tmp_path / "policy.yaml").write_text(policy)
    pack = tmp_path / "signatures" / "p"
    pack.mkdir(parents=True, exist_ok=True)
    (pack / "pack.yaml").write_text(PACK)
    (pack / "a.csv").write_text(CSV)
    path = tmp_path / "inspector.yaml"
    path.write_text("policy: policy.yaml\nsignatures: signatures\n" + more)
    return config.load(path)


def test_rules_are_policy_and_packs_of_one_version(tmp_path: Path) -> None:
    """What judges carries its version, the policy's digest and the packs' names."""
    built = build.build_rules(files(tmp_path), 7)
    assert built.rules.version == 7
    assert built.rules.policy.digest.startswith("sha256:")
    assert built.rules.scanner.packs == ("p@1.0.0",)


def test_faults_of_policy_and_packs_come_together(tmp_path: Path) -> None:
    """All at once, each with its file and line."""
    loaded = files(tmp_path, "rules:\n  - {name: x, when: {event: message}, then: blok}\n")
    (tmp_path / "signatures" / "p" / "pack.yaml").write_text(PACK + "colour: red\n")
    with pytest.raises(Faults) as caught:
        build.build_rules(loaded, 1)
    texts = [str(fault) for fault in caught.value.faults]
    assert any("policy.yaml:2:" in text and "blok" in text and 'did you mean "block"' in text for text in texts)
    assert any("pack.yaml:7:" in text and "colour" in text for text in texts)


def test_a_policy_that_is_not_there_or_not_text_is_a_fault(tmp_path: Path) -> None:
    """No traceback for a missing or binary file."""
    loaded = files(tmp_path)
    loaded.policy.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Faults, match=r"policy\.yaml"):
        build.build_rules(loaded, 1)
    loaded.policy.unlink()
    with pytest.raises(Faults, match=r"policy.yaml.*(cannot be read|No such file)"):
        build.build_rules(loaded, 1)


@pytest.mark.parametrize("text", ["", "\n\n", "# rules:\n  # nothing\n"])
def test_an_empty_policy_is_a_fault(tmp_path: Path, text: str) -> None:
    """A file that was left empty never puts a gateway without rules in force, nor passes for checked."""
    loaded = files(tmp_path, text)
    with pytest.raises(Faults, match=r"policy.yaml: the policy is empty; .* `rules: \[\]`"):
        build.build_rules(loaded, 1)
    with pytest.raises(Faults, match="the policy is empty"):
        compile_policy(loaded.policy)


def test_a_folder_without_packs_is_worth_a_warning(tmp_path: Path) -> None:
    """It may be the wrong folder; `check` calls it a fault."""
    loaded = files(tmp_path)
    assert build.build_rules(loaded, 1).warnings == () or all(
        build.NO_PACKS not in str(w) for w in build.build_rules(loaded, 1).warnings)
    (tmp_path / "none").mkdir()
    [warning] = build.build_rules(replace(loaded, signatures=tmp_path / "none"), 1).warnings
    assert str(warning) == f"{tmp_path / 'none'}: {build.NO_PACKS}"


def test_a_policy_that_holds_is_run(tmp_path: Path) -> None:
    """The sessions of a gateway can have something held."""
    loaded = files(tmp_path, "rules:\n  - name: wait\n    when: {event: file}\n    then: hold\n")
    built = build.build_rules(loaded, 1)
    assert build.build_kit(loaded, built.rules).driver_can.hold


def test_a_group_that_the_policy_lacks_is_a_fault(tmp_path: Path) -> None:
    """privacy.never_inspect names groups of the policy."""
    loaded = files(tmp_path, more="privacy: {never_inspect: [council]}\n")
    with pytest.raises(Faults, match=r"inspector.yaml:3:\d+: .*council"):
        build.build_rules(loaded, 1)


def test_edits_have_their_defaults_and_are_switched_by_name(tmp_path: Path) -> None:
    """`edits:` switches one; what it does not name stays as the protocol has it."""
    spec = msgspec.structs.replace(
        SPECS[0], edits=(Edit("toy.one", "a", True), Edit("toy.two", "b", False), Edit("toy.three", "c", True)))
    loaded = with_edits(files(tmp_path), {"toy.two": True, "toy.three": False})
    assert build.protocol_edits(loaded, (spec,)) == {"toy.one", "toy.two"}


def with_edits(loaded: config.Config, edits: dict[str, bool]) -> config.Config:
    return replace(loaded, edits=edits)


def test_listeners_and_tls_reach_the_driver(tmp_path: Path) -> None:
    """Addresses, upstream, clients, destinations and exceptions arrive as the driver takes them; metrics is ours."""
    loaded = files(tmp_path, more=(
        "listeners:\n"
        '  - {mode: reverse, address: "[::1]:15222", upstream: "chat.example.net:5222", protocols: [xmpp]}\n'
        '  - {mode: socks5, address: "127.0.0.1:1081", destinations: {allow: ["*.example.net"], ports: [5222]}}\n'
        "tls:\n"
        "  exceptions:\n"
        "    - {name: pinned.example.net, clients: [10.1.2.0/24], until: 2031-01-31, why: pinned}\n"
        'metrics: "127.0.0.1:9999"\n'))
    settings = build.gateway_settings(loaded, stock_io=True)
    reverse, socks = settings.listeners
    assert (reverse.address, reverse.upstream) == ("[::1]:15222", ("chat.example.net", 5222))
    assert reverse.protocols == {"xmpp"}
    assert socks.destinations.ports == {5222}
    assert str(socks.clients[0]) == "127.0.0.0/8"
    assert settings.tls.exceptions[0].name == "pinned.example.net"
    assert str(settings.tls.exceptions[0].clients[0]) == "10.1.2.0/24"
    assert settings.own_ports == {9999}
    assert settings.stock_io


def test_leases_and_the_spool_reach_the_driver(tmp_path: Path) -> None:
    """Ports and addresses of side connections; files wait beside the rest of the state."""
    loaded = files(tmp_path, more=(
        "listeners:\n"
        '  - {mode: reverse, address: "[::1]:15222", upstream: "chat.example.net:5222", lease_ports: "9400-9409", '
        'lease_address: {up: "192.0.2.1", down: "::1"}}\n'
        '  - {mode: socks5, address: "127.0.0.1:1081"}\n'))
    settings = build.gateway_settings(loaded)
    reverse, socks = settings.listeners
    assert (reverse.lease_ports, reverse.lease_up, reverse.lease_down) == ((9400, 9409), "192.0.2.1", "::1")
    assert (socks.lease_ports, socks.lease_up, socks.lease_down) == (None, None, None)
    assert settings.spool == build.spool_folder(loaded) == tmp_path / "var" / "spool"


def test_state_folders_are_made_private(tmp_path: Path) -> None:
    """0700, also where the folder was there before."""
    build.private_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    build.private_folder(tmp_path / "open")
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o700
