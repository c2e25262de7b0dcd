"""The event log.

Lives here: SQLite, the writer with group commit, reading and rendering of events.
May import: model, wire.
Never: engine, policy, scan, drivers, mitmproxy.
"""
