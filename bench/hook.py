"""The peer that the goals are measured against: mitmproxy relaying through an addon of one tcp_message hook.

    python -m bench.hook LISTEN_PORT UPSTREAM_PORT uvloop|asyncio lean|mitmdump [FOLDER]

"lean" has the addons without which nothing is relayed; "mitmdump" has all that mitmdump starts with, each of which is
asked at every message. The goals are taken to the lean one. With a folder TLS is opened on both legs, with the
authority that mitmproxy makes for itself there; the server's certificate is not verified (in reverse mode it would have
to be one for the address).
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from mitmproxy import master, options, tcp
from mitmproxy.addons import core, next_layer, proxyserver, tlsconfig
from mitmproxy.tools.dump import DumpMaster


class OneHook:
    """Looks at nothing: what relaying through the hook costs by itself."""

    def tcp_message(self, flow: tcp.TCPFlow) -> None:
        pass


async def main(listen: int, upstream: int, kind: str, home: str | None) -> None:
    mode = [f"reverse:{'tls' if home else 'tcp'}://127.0.0.1:{upstream}@127.0.0.1:{listen}"]
    tls: dict[str, Any] = {"ssl_insecure": True, "confdir": home} if home else {}
    runner: Any
    if kind == "lean":
        runner = master.Master(options.Options(), with_termlog=False)
        proxy = proxyserver.Proxyserver()  # type: ignore[no-untyped-call]
        runner.addons.add(core.Core(), proxy, next_layer.NextLayer(), tlsconfig.TlsConfig())
        runner.options.update(mode=mode, **tls)
    else:
        runner = DumpMaster(options.Options(mode=mode, **tls), with_termlog=False, with_dumper=False)
    runner.addons.add(OneHook())
    await runner.run()


if __name__ == "__main__":
    _, listen, upstream, loop, kind, *tls = sys.argv
    home = tls[0] if tls else None
    if loop == "uvloop":
        import uvloop

        uvloop.run(main(int(listen), int(upstream), kind, home))
    else:
        asyncio.run(main(int(listen), int(upstream), kind, home))
