"""Fuzzes one target: `python -m tests.fuzz irc -max_total_time=600`; the other arguments are libFuzzer's.

A target is a protocol's name (the invariant that all decoders share), or the name of a module beside this one that has
`seeds(folder)` and `one(data)`: fuzz_irc, fuzz_archives … Only what is fuzzed is instrumented: that takes a second, all
functions of the process take minutes.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import atheris  # type: ignore[import-untyped]

name = sys.argv[1]
corpus = Path("build", "fuzz", name)
seed: Callable[[Path], None]
one: Callable[[bytes], None]
with atheris.instrument_imports(include=["inspector.protocols", "inspector.wire"]):
    from inspector.protocols.registry import BY_NAME
    from tests.fuzz import decoder

    if name in BY_NAME:
        seed, one = partial(decoder.seeds, BY_NAME[name]), partial(decoder.one, BY_NAME[name])
    else:
        module = importlib.import_module(f"tests.fuzz.{name}")
        seed, one = module.seeds, module.one

seed(corpus)
words = [sys.argv[0], str(corpus), "-max_len=8192", "-timeout=10", "-rss_limit_mb=2048",
         f"-artifact_prefix={corpus.parent}{os.sep}", *sys.argv[2:]]
atheris.Setup(words, one)
atheris.Fuzz()
