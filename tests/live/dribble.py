"""A relay that cuts a stream to pieces: one byte a segment, either way. Clients and servers need not know of it."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

from tests.ports import free_port


class Dribble:
    """Listens on `port` of 127.0.0.1 and relays to `target` there.

    `up`, `down`: whether what clients (servers) say goes on one byte a segment. Ended with the `with` block: all
    sockets are closed and every thread is waited for.
    """

    def __init__(self, target: int, *, up: bool = True, down: bool = False) -> None:
        self.target = target
        self.up, self.down = up, down
        self.port = free_port()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Dribble:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        for sock in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(10)
        for sock in (self._listener, *self._sockets):
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                server = socket.create_connection(("127.0.0.1", self.target), 10)
            except OSError:
                return
            self._sockets.append(server)
            server.settimeout(None)
            for source, sink, cut in ((client, server, self.up), (server, client, self.down)):
                sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
                thread = threading.Thread(target=_relay, args=(source, sink, cut))
                self._threads.append(thread)
                thread.start()


def _relay(source: socket.socket, sink: socket.socket, cut: bool) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if cut:
                for at in range(len(data)):
                    sink.sendall(data[at:at + 1])
            else:
                sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
