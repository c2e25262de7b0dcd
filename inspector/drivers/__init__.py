"""Where bytes come from and go to: the rim of the house.

Lives here: the live proxy on mitmproxy's core (`mitm*`), capture files (`pcap`, `reassembly`), metrics.
May import: engine, policy, scan, store, classify, protocols, wire, model. mitmproxy only in `mitm*`.
Never: console, app.
"""
