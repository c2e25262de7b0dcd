"""All protocols the gateway knows. A new protocol is one line here."""

from __future__ import annotations

from importlib import import_module

from inspector.model import Spec

MODULES = (
    "bytestream",
    "dcc",
    "http_upload",
    "irc",
    "oft",
    "oscar",
    "xmpp",
)

SPECS: tuple[Spec, ...] = tuple(import_module(f"inspector.protocols.{name}").SPEC for name in MODULES)
BY_NAME: dict[str, Spec] = {spec.name: spec for spec in SPECS}
