"""Signed signature feeds (a later work order).

Lives here: publishing, fetching and verifying of packs.
May import: model, wire.
Never: mitmproxy, engine, drivers.
"""
