"""What is told and not read: TOC, and OSCAR inside HTTP."""

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, save

SID = "0123456789abcdef0123456789abcdef"
toc = Conversation(ports=(40230, 9898)).say((
    ("up", b"FLAPON\r\n\r\n"),
    ("down", b"\x2a\1\0\1\0\4\0\0\0\1"),
    ("up", b"\x2a\1\0\1\0\x0b\0\0\0\1\0\1\0\3amy"),
    ("up", b"\x2a\2\0\2\0\x25toc_signon login.example 9898 amy 0x\0"),
)).close()
record = struct.pack(">HHHII", 22, 0x0443, 5, 0, 1) + b"\x2a\1\0\1\0\4\0\0\0\1"
http = Conversation(ports=(40231, 80), at=toc.at + 1).say((
    ("up", f"POST /data?sid={SID}&seq=1 HTTP/1.1\r\nHost: 10.0.0.7\r\nContent-Length: {len(record)}\r\n\r\n".encode()
     + record),
    ("down", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
)).close()
save(__file__, toc.packets + http.packets)
