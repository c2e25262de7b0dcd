"""The authority, its leaves, shared contexts and the pipe."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from OpenSSL import SSL

from inspector.drivers import mitm_tls
from inspector.drivers.mitm_tls import (
    CERTIFICATE_FILE,
    ENDED,
    FAILED,
    KEY_FILE,
    OPEN,
    Authority,
    AuthorityError,
    Contexts,
    OwnCertificate,
    OwnCertificateError,
    Pipe,
    export_authority,
    host_name,
)


def test_the_authority_is_made_once_and_kept_secret(tmp_path: Path) -> None:
    """First run: folder 0700, key 0600; the next run takes the same; the export holds no key."""
    folder = tmp_path / "state" / "ca"
    first = Authority.open(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "authority.key").stat().st_mode & 0o777 == 0o600
    assert Authority.open(folder).certificate == first.certificate
    assert b"PRIVATE" not in export_authority(folder)
    der = export_authority(folder, "der")
    assert x509.load_der_x509_certificate(der) == first.certificate


def test_faults_of_the_authority_are_sentences(tmp_path: Path) -> None:
    """A key that others may read, a broken key, a foreign certificate, a folder that is none."""
    folder = tmp_path / "ca"
    Authority.open(folder)
    key = folder / "authority.key"
    key.chmod(0o644)
    with pytest.raises(AuthorityError, match="readable by others"):
        Authority.open(folder)
    key.chmod(0o600)
    Authority.open(tmp_path / "other")
    (folder / "authority.pem").write_bytes((tmp_path / "other" / "authority.pem").read_bytes())
    with pytest.raises(AuthorityError, match="do not belong together"):
        Authority.open(folder)
    key.write_text("broken")
    with pytest.raises(AuthorityError, match="not a valid PEM"):
        Authority.open(folder)
    (folder / "authority.pem").unlink()
    with pytest.raises(AuthorityError, match=r"authority\.pem|valid PEM"):
        Authority.open(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(AuthorityError, match="no authority key"):
        Authority.open(tmp_path / "file" / "ca")


def test_leaves_are_short_lived_and_share_one_key(tmp_path: Path) -> None:
    """At most 7 days, EC, for exactly the one name; the key is not the authority's."""
    authority = Authority.open(tmp_path)
    one, key = authority.leaf("chat.example.net")
    two, _ = authority.leaf("192.0.2.1")
    assert one.not_valid_after_utc - one.not_valid_before_utc <= datetime.timedelta(days=7)
    assert one.public_key() == two.public_key() == key.public_key() != authority.certificate.public_key()
    names = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["chat.example.net"]
    address = two.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [type(name) for name in address] == [x509.IPAddress]
    long = ".".join(["a" * 60] * 3)
    assert authority.leaf(long)[0].subject == x509.Name([])


def test_contexts_are_shared_and_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One context a name until its leaf is half way; the least recently used leaves first."""
    contexts = Contexts(Authority.open(tmp_path))
    first = contexts.client_context("a.test")
    assert contexts.client_context("a.test") is first
    now = mitm_tls._now
    monkeypatch.setattr(mitm_tls, "_now", lambda: now() + datetime.timedelta(days=4))
    assert contexts.client_context("a.test") is not first
    monkeypatch.setattr(mitm_tls, "_CONTEXTS", 2)
    kept = contexts.client_context("b.test")
    contexts.client_context("c.test")
    assert contexts.client_context("b.test") is kept
    contexts.client_context("d.test")
    contexts.client_context("a.test")
    assert contexts.client_context("b.test") is not kept


def test_upstream_ca_that_is_none(tmp_path: Path) -> None:
    """A file without certificates is a sentence at start."""
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(AuthorityError, match=r"empty\.pem: not a PEM file"):
        Contexts(Authority.open(tmp_path / "ca"), upstream_ca=tmp_path / "empty.pem")


def own_files(folder: Path, name: str = "chat.test") -> tuple[Path, Path]:
    """Files with a certificate, its authority's, and its key."""
    authority = Authority.open(folder / "ca")
    certificate, key = authority.leaf(name)
    pem = serialization.Encoding.PEM
    (folder / "own.pem").write_bytes(certificate.public_bytes(pem) + authority.certificate.public_bytes(pem))
    (folder / "own.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    (folder / "own.key").chmod(0o600)
    return folder / "own.pem", folder / "own.key"


def test_a_listeners_own_certificate_is_what_its_clients_see(tmp_path: Path) -> None:
    """Its clients are shown it with its chain, so that what is bound to the server's certificate (RFC 5929
    tls-server-end-point) is the same on both legs; clients of other listeners get a leaf of ours."""
    certificate, key = own_files(tmp_path)
    own = OwnCertificate.open(certificate, key)
    assert own.readable == 0
    contexts = Contexts(Authority.open(tmp_path / "gateway"), upstream_ca=tmp_path / "ca" / "authority.pem")
    contexts.show("127.0.0.1:5222", own)
    client, server = contexts.to_server("chat.test", [b"xmpp-client"]), contexts.to_client(
        "chat.test", b"xmpp-client", "127.0.0.1:5222")
    shake(client, server)
    seen = client.get_peer_certificate(as_cryptography=True)
    assert seen == own.chain[0]
    assert contexts.shows("127.0.0.1:5222", seen.fingerprint(hashes.SHA256()))
    assert client.get_alpn_proto_negotiated() == b"xmpp-client"
    assert len(client.get_peer_cert_chain(as_cryptography=True) or []) == 2
    other = contexts.to_client("chat.test", None, "127.0.0.1:5223")
    assert other.get_context() is contexts.client_context("chat.test")
    assert not contexts.shows("127.0.0.1:5223", own.digest)
    assert not contexts.shows("127.0.0.1:5222", b"another")


def test_faults_of_a_listeners_own_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that others may read is told, not refused; an expired certificate is no use."""
    certificate, key = own_files(tmp_path)
    key.chmod(0o644)
    assert OwnCertificate.open(certificate, key).readable == 0o644
    now = mitm_tls._now
    monkeypatch.setattr(mitm_tls, "_now", lambda: now() + datetime.timedelta(days=30))
    with pytest.raises(OwnCertificateError, match="has expired") as caught:
        OwnCertificate.open(certificate, key)
    assert caught.value.key == "certificate"


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Chat.Example.NET.", "chat.example.net"), ("bücher.example", "xn--bcher-kva.example"),
        ("localhost", "localhost"),
        ("2001:DB8::0:1", "2001:db8::1"), ("[::1]", "::1"), ("10.0.0.1", "10.0.0.1"),
        ("", None), ("a b", None), ("a..b", None), ("a" * 64 + ".test", None), ("\0", None), ("a/b", None),
    ],
)
def test_host_names(name: str, plain: str | None) -> None:
    """A-labels in lower case, addresses in RFC 5952 form, None for what can stand in no certificate."""
    assert host_name(name) == plain


def shake(one: SSL.Connection, two: SSL.Connection) -> None:
    """Both handshakes, over memory."""
    for _ in range(6):
        for here, there in ((one, two), (two, one)):
            try:
                here.do_handshake()
            except SSL.WantReadError:
                pass
            try:
                there.bio_write(here.bio_read(65535))
            except SSL.WantReadError:
                pass


@pytest.fixture
def pipes(tmp_path: Path) -> tuple[Pipe, Pipe]:
    """A client's and a server's pipe, connected."""
    contexts = Contexts(Authority.open(tmp_path), upstream_ca=tmp_path / "authority.pem")
    client, server = contexts.to_server("a.test", [b"irc"]), contexts.to_client("a.test", b"irc")
    shake(client, server)
    assert client.get_alpn_proto_negotiated() == b"irc"
    return Pipe(client), Pipe(server)


def test_pipe_carries_any_size(pipes: tuple[Pipe, Pipe]) -> None:
    """Bytes of many records come through whole, also when they arrive a byte at a time."""
    client, server = pipes
    for size in (1, 16384, 16385, 1_000_000):
        data = bytes(i & 255 for i in range(size))
        assert server.decrypt(client.encrypt(data)) == (data, OPEN)
    wire = client.encrypt(b"slowly")
    parts = [server.decrypt(wire[i:i + 1]) for i in range(len(wire))]
    assert b"".join(plain for plain, _ in parts) == b"slowly"


def test_pipe_ends(pipes: tuple[Pipe, Pipe]) -> None:
    """close_notify is an end after the last bytes; a broken record is a failure, and no bytes of it are given."""
    client, server = pipes
    assert server.decrypt(client.encrypt(b"last") + client.close()) == (b"last", ENDED)
    wire = bytearray(server.encrypt(b"broken"))
    wire[-1] ^= 1
    assert client.decrypt(bytes(wire)) == (b"", FAILED)
    assert isinstance(client.encrypt(b"more"), bytes)


def test_a_client_without_our_authority_fails(tmp_path: Path) -> None:
    """The standard library's client, as a second implementation, accepts a leaf only with the authority."""
    authority = Authority.open(tmp_path)
    contexts = Contexts(authority)
    for trusted in (True, False):
        context = ssl.create_default_context(
            cadata=authority.export().decode() if trusted else None)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname="a.test")
        server = contexts.to_client("a.test", None)
        failed = False
        for _ in range(6):
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError:
                failed = True
                break
            data = outgoing.read()
            if data:
                server.bio_write(data)
            try:
                server.do_handshake()
            except SSL.WantReadError:
                pass
            try:
                incoming.write(server.bio_read(65535))
            except SSL.WantReadError:
                pass
        assert failed is not trusted


def test_a_certificate_without_its_key_is_not_replaced(tmp_path: Path) -> None:
    """Clients trust that certificate: losing the key must not make a new authority behind everybody's back."""
    Authority.open(tmp_path)
    before = (tmp_path / CERTIFICATE_FILE).read_bytes()
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(AuthorityError, match="key is not there"):
        Authority.open(tmp_path)
    assert (tmp_path / CERTIFICATE_FILE).read_bytes() == before
