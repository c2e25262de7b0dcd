"""A capture that begins in the middle of a frame, and loses a segment later: reading goes on at the next frame.

A .pcapng, because the contract suite takes its conversations from .pcap and wants them whole.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, Flaps, im_text, name8, save, snac, tlv, user_info

said = Flaps(0xFFFC, 0x200)
for number, words in enumerate((
    b"granite today", b"marble * tomorrow", b"mind the cart", b"lunch at noon", b"who has the rope", b"found it",
)):
    said.up(snac(4, 6, b"500000%d\0\0\1" % number + name8("Ben") + im_text(words) + tlv(3), 0x30 + number))
    said.down(snac(4, 0x0C, b"500000%d\0\0\1" % number + name8("ben"), 0x30 + number))
last = user_info("Ben", tlv(1, b"\0\x10")) + im_text(b"see you at the inn")
said.down(snac(4, 7, b"6000001\0\0\1" + last, 0x80000101))

talk = Conversation(ports=(40220, 80), handshake=False)
(way, beginning), *rest = said.lines
talk.say([(way, beginning[21:]), *rest])
lost = [packet for packet in talk.packets if b"mind the cart" in bytes(packet)]
save(__file__, [packet for packet in talk.packets if packet not in lost])
