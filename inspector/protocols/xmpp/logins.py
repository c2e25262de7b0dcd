"""Logins: SASL, its channel binding (RFC 6120 §6, RFC 5802, RFC 5929; XEP-0388, 0440, 0484)."""

from __future__ import annotations

END_POINT = "tls-server-end-point"


def binds(mechanism: str) -> bool:
    """Whether a mechanism binds the login to its TLS connection (RFC 5802 §6; XEP-0484)."""
    return mechanism.endswith("-PLUS") or (
        mechanism.startswith("HT-") and mechanism.endswith(("-ENDP", "-EXPR", "-UNIQ"))
    )
