"""One module or package per protocol, and the registry.

Lives here: decoders (feed, pending, apply, ready, inject, close), probes and specs.
May import: model, wire.
Never: another protocol, classify, engine, I/O, clocks, chance.
"""
