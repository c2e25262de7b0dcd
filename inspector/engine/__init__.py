"""The session engine: inputs in, effects out.

Lives here: Session (one flow from first byte to last), World (what spans flows).
May import: model, wire.
Never: protocols, classify, policy, scan (app hands them in), I/O, clocks, chance.
"""
