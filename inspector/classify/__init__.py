"""What a flow is, by payload and behaviour.

Lives here: choosing a protocol for the first bytes of a flow from the probes of the registry's specs.
May import: model, wire.
Never: protocols (app hands the specs in), I/O, clocks.
"""
