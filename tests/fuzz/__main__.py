"""Fuzzes one decoder: `python -m tests.fuzz irc -max_total_time=600`; the other arguments are libFuzzer's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["inspector.protocols", "inspector.wire"]):
    from inspector.protocols.registry import BY_NAME
    from tests.fuzz import decoder

spec = BY_NAME[sys.argv[1]]
corpus = Path("build", "fuzz", spec.name)
decoder.seeds(spec, corpus)
words = [sys.argv[0], str(corpus), "-max_len=8192", "-timeout=10", "-rss_limit_mb=2048",
         f"-artifact_prefix={corpus.parent}{os.sep}", *sys.argv[2:]]
atheris.Setup(words, lambda data: decoder.one(spec, data))
atheris.Fuzz()
