"""Policy: which event may pass.

Lives here: reading a policy with every fault located, compiling it, deciding, explaining, its unit tests.
May import: model, wire.
Never: I/O, clocks; engine, scan, store.
"""
