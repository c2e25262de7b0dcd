"""`inspector ca export`."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from inspector.app.cli import main


def config(tmp_path: Path) -> str:
    path = tmp_path / "inspector.yaml"
    path.write_text("tls: {authority: ca}\n")
    return str(path)


def test_the_certificate_is_printed_and_never_the_key(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """PEM by default; the authority is made where there is none; the same one is printed again."""
    assert main(["ca", "export", "-c", config(tmp_path)]) == 0
    first = capfdbinary.readouterr().out
    assert x509.load_pem_x509_certificate(first).subject == x509.load_pem_x509_certificate(first).issuer
    assert b"PRIVATE" not in first
    assert main(["ca", "export", "-c", config(tmp_path)]) == 0
    assert capfdbinary.readouterr().out == first


def test_a_new_authority_is_told_and_lies_in_private(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a wrong folder it is not the gateway's: whoever exports it there must see so. The state folder is 0700."""
    monkeypatch.chdir(tmp_path)
    assert main(["ca", "export"]) == 0
    assert f"a new authority was made in {tmp_path}/var/ca" in capfd.readouterr().err
    assert (tmp_path / "var").stat().st_mode & 0o777 == 0o700
    assert main(["ca", "export"]) == 0
    assert capfd.readouterr().err == ""


def test_der_is_the_same_certificate(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """For the trust stores that want it."""
    main(["ca", "export", "-c", config(tmp_path)])
    pem = x509.load_pem_x509_certificate(capfdbinary.readouterr().out)
    main(["ca", "export", "-c", config(tmp_path), "--format", "der"])
    assert x509.load_der_x509_certificate(capfdbinary.readouterr().out) == pem


def test_an_open_key_is_one_clear_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A key that others may read is not used."""
    assert main(["ca", "export", "-c", config(tmp_path)]) == 0
    (tmp_path / "ca" / "authority.key").chmod(0o644)
    capfd.readouterr()
    assert main(["ca", "export", "-c", config(tmp_path)]) == 1
    said = capfd.readouterr().err
    assert "authority.key" in said
    assert "Traceback" not in said


def test_a_broken_configuration_is_told_with_its_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every fault, no traceback."""
    path = tmp_path / "inspector.yaml"
    path.write_text("tsl: {}\nworkers: none\n")
    assert main(["ca", "export", "-c", str(path)]) != 0
    said = capfd.readouterr().err
    assert "inspector.yaml:1:1" in said
    assert "inspector.yaml:2:" in said
