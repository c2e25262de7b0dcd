"""All protocols the gateway knows. A new protocol is one line here."""

from __future__ import annotations

from importlib import import_module

from inspector.model import Spec
from inspector.wire.carried import filled

MODULES = (
    "bytestream",
    "dcc",
    "http_upload",
    "irc",
    "oft",
    "oscar",
    "xmpp",
    "xmpp_bosh",
    "xmpp_websocket",
)

_FOUND: dict[str, Spec] = {name: import_module(f"inspector.protocols.{name}").SPEC for name in MODULES}
SPECS: tuple[Spec, ...] = tuple(
    filled(spec, _FOUND[spec.carries]) if spec.carries is not None else spec for spec in _FOUND.values())
BY_NAME: dict[str, Spec] = {spec.name: spec for spec in SPECS}
