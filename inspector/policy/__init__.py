"""Policy: which event may pass.

Lives here: reading a policy with every fault located, compiling it, deciding, explaining.
May import: model, wire.
Never: I/O, clocks; engine, scan, store.

    policy = compile(text, "rules/policy.yaml")         # raises wire.located.Faults
    policy.enter(context); policy.decide(event, context, way, at, findings)
"""

from inspector.policy.compiled import CompiledPolicy, Said, compile

__all__ = ["CompiledPolicy", "Said", "compile"]
