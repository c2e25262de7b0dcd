"""TLS of the live proxy: our authority, the leaves it signs, shared contexts, and the fast pipe.

- The authority (EC P-256) is made at first run in its folder: 0700, key 0600. Leaves live at most 7 days and share one
  key that lives as long as the process.
- Contexts are shared: one for each server name, with certificate and key inside, and one for all servers. Nothing about
  them varies by connection (loading the system's certificates costs 3.5 ms); names, ALPN and verification are set on
  the connection object.
- Servers are always verified: chain by the system's certificates and `upstream_ca`, name by RFC 6125 without looking at
  the subject. For a server that fails nothing is forged.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import idna
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL

# pyOpenSSL's own binding: its public calls allocate 64 KiB for each read and raise for each "no more"
_lib: Any = SSL._lib  # type: ignore[attr-defined]
_ffi: Any = SSL._ffi  # type: ignore[attr-defined]

_READ = 64 * 1024
_BUFFER: Any = _ffi.new("char[]", _READ)
_VIEW: Any = _ffi.buffer(_BUFFER)

SSL_WANT_READ: int = _lib.SSL_ERROR_WANT_READ
SSL_ZERO_RETURN: int = _lib.SSL_ERROR_ZERO_RETURN

OPEN, ENDED, FAILED = 0, 1, 2
"""State of a pipe after decrypt: open, ended by close_notify, failed."""

VERSIONS = {"tls1.2": SSL.TLS1_2_VERSION, "tls1.3": SSL.TLS1_3_VERSION}

_DAY = datetime.timedelta(days=1)
AUTHORITY_DAYS = 3650
LEAF_BEFORE = _DAY
"""Clients' clocks may be this much behind."""
LEAF_AFTER = 6 * _DAY
_RENEW = 3 * _DAY
_CONTEXTS = 2000
"""Server names whose context is kept: about 20 KB each."""


class Pipe:
    """An established TLS connection over memory, without mitmproxy's layers: bytes in, bytes out."""

    __slots__ = ("_from_ssl", "_into_ssl", "_ssl", "connection")

    def __init__(self, connection: SSL.Connection) -> None:
        self.connection = connection
        """Kept: it owns what the others point to."""
        self._ssl: Any = connection._ssl
        self._into_ssl: Any = connection._into_ssl
        self._from_ssl: Any = connection._from_ssl

    def decrypt(self, data: bytes) -> tuple[bytes, int]:
        """(plain bytes, state) for bytes from the wire. Never raises for a peer's bytes."""
        size = len(data)
        if _lib.BIO_write(self._into_ssl, data, size) != size:
            return b"", FAILED
        ssl = self._ssl
        plain = b""
        while True:
            got = _lib.SSL_read(ssl, _BUFFER, _READ)
            if got <= 0:
                break
            plain = plain + _VIEW[:got] if plain else _VIEW[:got]
        why = _lib.SSL_get_error(ssl, got)
        if why == SSL_WANT_READ:
            return plain, OPEN
        _lib.ERR_clear_error()
        return plain, ENDED if why == SSL_ZERO_RETURN else FAILED

    def encrypt(self, data: bytes) -> bytes:
        """Bytes for the wire; b"" when the connection is past sending."""
        ssl = self._ssl
        at, size = 0, len(data)
        while at < size:
            # pyOpenSSL allows partial writes: a record at a time
            done = _lib.SSL_write(ssl, data[at:] if at else data, size - at)
            if done <= 0:
                _lib.ERR_clear_error()
                break
            at += done
        return self.pending()

    def pending(self) -> bytes:
        """What OpenSSL wants sent (answers of its own after a decrypt)."""
        got = _lib.BIO_read(self._from_ssl, _BUFFER, _READ)
        if got <= 0:
            return b""
        out: bytes = _VIEW[:got]
        while got == _READ:
            got = _lib.BIO_read(self._from_ssl, _BUFFER, _READ)
            if got > 0:
                out += _VIEW[:got]
        return out

    def close(self) -> bytes:
        """The close_notify."""
        _lib.SSL_shutdown(self._ssl)
        _lib.ERR_clear_error()
        return self.pending()


class AuthorityError(Exception):
    """The authority can not be made or read: one sentence."""


def _now() -> datetime.datetime:
    return datetime.datetime.fromtimestamp(time.time(), datetime.UTC)


def host_name(name: str) -> str | None:
    """`name` as a certificate and SNI spell it (A-labels, lower case; RFC 5952 for an address), or None."""
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        pass
    name = name.rstrip(".").lower()
    try:
        plain = name if name.isascii() else idna.encode(name, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return None
    labels = plain.split(".")
    if not plain or len(plain) > 253 or any(not 0 < len(label) < 64 for label in labels):
        return None
    if not all(char.isalnum() or char in "-_." for char in plain):
        return None
    return plain


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class OwnCertificateError(AuthorityError):
    """A listener's own certificate or key is of no use: one sentence. `key`: which of the two, as configured."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


class OwnCertificate:
    """A server's own certificate and key, which a reverse listener shows to clients in place of one of ours."""

    __slots__ = ("chain", "digest", "key", "readable")

    def __init__(self, chain: Sequence[x509.Certificate], key: Any, readable: int) -> None:
        self.chain = chain
        """The certificate, and those that lead from it to its authority."""
        self.key = key
        self.digest = chain[0].fingerprint(hashes.SHA256())
        self.readable = readable
        """The mode of the key's file where others may read it; 0: nobody else may."""

    @classmethod
    def open(cls, certificate: Path, key: Path) -> OwnCertificate:
        """From PEM files. Raises OwnCertificateError."""
        try:
            chain = x509.load_pem_x509_certificates(certificate.read_bytes())
        except OSError as error:
            raise OwnCertificateError("certificate", f"{certificate} cannot be read: {_reason(error)}") from None
        except ValueError:
            raise OwnCertificateError("certificate", f"{certificate} is not a PEM file of certificates") from None
        if chain[0].not_valid_after_utc < _now():
            raise OwnCertificateError("certificate", f"{certificate}: the certificate has expired")
        try:
            mode = key.stat().st_mode & 0o777
            private = serialization.load_pem_private_key(key.read_bytes(), None)
        except OSError as error:
            raise OwnCertificateError("key", f"{key} cannot be read: {_reason(error)}") from None
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # TypeError: it is locked by a password, which nobody is there to give
            raise OwnCertificateError("key", f"{key} is not a PEM file of a key without a password") from None
        if private.public_key() != chain[0].public_key():
            raise OwnCertificateError("key", f"{key} is not the key of {certificate}")
        return cls(chain, private, mode if mode & 0o077 else 0)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


class Authority:
    """The certificate authority that clients must trust, and the leaves it signs."""

    __slots__ = ("_key", "_leaf_key", "certificate")

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self._key = key
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())

    @classmethod
    def open(cls, folder: Path) -> Authority:
        """The authority of a folder, made there if there is none. Raises AuthorityError."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / KEY_FILE
            if not path.exists():
                if (folder / CERTIFICATE_FILE).exists():
                    # A new authority would put a certificate that no client trusts in the place of theirs.
                    raise AuthorityError(
                        f"{path}: the authority's key is not there, though {CERTIFICATE_FILE} is: put the key back, or "
                        f"move {CERTIFICATE_FILE} away to begin with a new authority")
                _make(folder)
            mode = path.stat().st_mode & 0o777
            if mode & 0o077:
                raise AuthorityError(f"{path}: the authority's key is readable by others (mode {mode:o}, want 600)")
            key = serialization.load_pem_private_key(path.read_bytes(), None)
            certificate = x509.load_pem_x509_certificate((folder / CERTIFICATE_FILE).read_bytes())
        except OSError as error:
            raise AuthorityError(f"{error.filename or folder}: no authority key ({error.strerror})") from error
        except (ValueError, TypeError) as error:
            raise AuthorityError(f"{folder}: {KEY_FILE} or {CERTIFICATE_FILE} is not a valid PEM file") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise AuthorityError(f"{folder / KEY_FILE}: the authority's key must be an EC key")
        if certificate.public_key() != key.public_key():
            raise AuthorityError(f"{folder}: {KEY_FILE} and {CERTIFICATE_FILE} do not belong together")
        if certificate.not_valid_after_utc < _now():
            raise AuthorityError(f"{folder / CERTIFICATE_FILE}: the authority's certificate has expired")
        return cls(certificate, key)

    def leaf(self, name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """A certificate for one host name or address, with its key."""
        now = _now()
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if len(name) <= 64 else []
        certificate = (
            x509.CertificateBuilder()
            .issuer_name(self.certificate.subject)
            .subject_name(x509.Name(subject))
            .public_key(self._leaf_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - LEAF_BEFORE)
            .not_valid_after(min(now + LEAF_AFTER, self.certificate.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName([_general(name)]), critical=not subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(_usage(sign=True), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate, self._leaf_key

    def export(self, form: str = "pem") -> bytes:
        """The certificate that clients must trust, as "pem" or "der"; never the key."""
        return self.certificate.public_bytes(_FORMS[form])


KEY_FILE = "authority.key"
CERTIFICATE_FILE = "authority.pem"
_FORMS = {"pem": serialization.Encoding.PEM, "der": serialization.Encoding.DER}


def export_authority(folder: Path, form: str = "pem") -> bytes:
    """What `inspector ca export` prints; makes the authority if there is none. Raises AuthorityError."""
    return Authority.open(folder).export(form)


def _usage(*, sign: bool = False, authority: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=authority, crl_sign=authority, encipher_only=False, decipher_only=False)


def _make(folder: Path) -> None:
    """A new authority in `folder`. The key is written last: a folder with a key is complete."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = _now()
    serial = x509.random_serial_number()
    name = x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Inspector"),
        x509.NameAttribute(NameOID.COMMON_NAME, f"Inspector authority {serial & 0xFFFFFFFF:08x}"),
    ])
    certificate = (
        x509.CertificateBuilder()
        .issuer_name(name).subject_name(name).public_key(key.public_key()).serial_number(serial)
        .not_valid_before(now - LEAF_BEFORE).not_valid_after(now + AUTHORITY_DAYS * _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(folder / CERTIFICATE_FILE, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    _write(folder / KEY_FILE, key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()), 0o600)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Written beside and moved: never half a file, never a moment readable by others."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    new.replace(path)


def _mirror(connection: SSL.Connection, offered: list[bytes]) -> Any:
    """ALPN for the client: what the server chose, or none."""
    chosen = connection.get_app_data()
    return chosen if chosen and chosen in offered else SSL.NO_OVERLAPPING_PROTOCOLS


class Contexts:
    """The shared OpenSSL contexts of a gateway."""

    __slots__ = ("_authority", "_by_name", "_client_min", "_own", "_upstream")

    def __init__(
        self, authority: Authority, *, client_min: str = "tls1.2", upstream_min: str = "tls1.2",
        upstream_ca: Path | None = None,
    ) -> None:
        self._authority = authority
        self._client_min = VERSIONS[client_min]
        self._by_name: OrderedDict[str, tuple[SSL.Context, datetime.datetime]] = OrderedDict()
        self._own: dict[str, tuple[SSL.Context, bytes]] = {}
        self._upstream = self._context(SSL.TLS_CLIENT_METHOD, VERSIONS[upstream_min])
        self._upstream.set_verify(SSL.VERIFY_PEER)
        self._upstream.set_default_verify_paths()
        if upstream_ca is not None:
            try:
                self._upstream.load_verify_locations(str(upstream_ca))
            except SSL.Error as error:
                raise AuthorityError(f"{upstream_ca}: not a PEM file of certificates") from error

    @staticmethod
    def _context(method: int, least: int) -> SSL.Context:
        context = SSL.Context(method)
        context.set_min_proto_version(least)
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        context.set_mode(_lib.SSL_MODE_RELEASE_BUFFERS)  # 50 KB less for each idle session with TLS on both legs
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # clients resume by tickets; nothing is kept here
        return context

    def client_context(self, name: str) -> SSL.Context:
        """The context that shows a client our certificate for `name`."""
        now = _now()
        kept = self._by_name.get(name)
        if kept is not None and kept[1] > now:
            self._by_name.move_to_end(name)
            return kept[0]
        certificate, key = self._authority.leaf(name)
        context = self._showing((certificate, self._authority.certificate), key)
        self._by_name[name] = context, now + _RENEW
        self._by_name.move_to_end(name)
        if len(self._by_name) > _CONTEXTS:
            self._by_name.popitem(last=False)
        return context

    def _showing(self, chain: Sequence[x509.Certificate], key: Any) -> SSL.Context:
        """A context that shows clients a certificate with its chain."""
        context = self._context(SSL.TLS_SERVER_METHOD, self._client_min)
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        context.set_alpn_select_callback(_mirror)
        context.use_certificate(chain[0])
        context.use_privatekey(key)
        for each in chain[1:]:
            context.add_extra_chain_cert(each)
        return context

    def show(self, listener: str, own: OwnCertificate) -> None:
        """Have the clients of a listener shown that certificate."""
        self._own[listener] = self._showing(own.chain, own.key), own.digest

    def shows(self, listener: str, digest: bytes) -> bool:
        """Whether that is the certificate (SHA-256 of its DER form) that the clients of a listener are shown."""
        own = self._own.get(listener)
        return own is not None and own[1] == digest

    def to_client(self, name: str, alpn: bytes | None, listener: str | None = None) -> SSL.Connection:
        """A connection that accepts a client as `name`, offering the one `alpn` that the server chose. `listener`: one
        with a certificate of its own."""
        own = self._own.get(listener) if listener is not None else None
        connection = SSL.Connection(own[0] if own is not None else self.client_context(name))
        connection.set_app_data(alpn)
        connection.set_accept_state()
        return connection

    def to_server(self, name: str, alpn: Sequence[bytes]) -> SSL.Connection:
        """A connection to a server whose certificate must be valid for `name`."""
        connection = SSL.Connection(self._upstream)
        param = _lib.SSL_get0_param(connection._ssl)
        flags = _lib.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | getattr(_lib, "X509_CHECK_FLAG_NEVER_CHECK_SUBJECT", 0)
        _lib.X509_VERIFY_PARAM_set_hostflags(param, flags)
        try:
            packed = ipaddress.ip_address(name).packed
        except ValueError:
            host = name.encode("ascii")
            connection.set_tlsext_host_name(host)
            done = _lib.X509_VERIFY_PARAM_set1_host(param, host, len(host))
        else:
            done = _lib.X509_VERIFY_PARAM_set1_ip(param, packed, len(packed))  # RFC 6066: no SNI for addresses
        if done != 1:
            raise AuthorityError(f"OpenSSL takes no verification name {name!r}")
        if alpn:
            connection.set_alpn_protos(list(alpn))
        connection.set_connect_state()
        return connection
