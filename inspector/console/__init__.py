"""The compliance web page (a later work order).

Lives here: what a reviewer sees.
May import: store, model, wire.
Never: mitmproxy, drivers.
"""
