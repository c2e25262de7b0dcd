"""Changes that are made whatever the verdict, by name (XEP-0138, 0198, 0301, 0047; SASL of RFC 6120 §6)."""

from __future__ import annotations

from inspector.model import Edit

STRIP_COMPRESSION = "xmpp.strip_compression"
REFUSE_COMPRESSION = "xmpp.refuse_compression"
STRIP_SM = "xmpp.strip_sm"
REFUSE_SM = "xmpp.refuse_sm"
TRANSLATE_SM = "xmpp.translate_sm"
KEEP_PATH = "xmpp.keep_path"
STRIP_PLUS = "xmpp.strip_plus"
KEEP_BINDING = "xmpp.keep_binding"
STRIP_RTT = "xmpp.strip_rtt"
REFUSE_BLOCKS = "xmpp.refuse_blocks"
REFUSE_STREAMS = "xmpp.refuse_streams"
"""No edit to be chosen: a carrier asks for it whose sessions use several connections (BOSH)."""
EDITS = (
    Edit(
        STRIP_COMPRESSION, "XEP-0138 compression is taken out of the stream features. Off: streams compressed by zlib "
        "are read, and compressed anew",
    ),
    Edit(
        REFUSE_COMPRESSION, "<compress/> that was not offered, or asks for another method than zlib, is answered "
        "<unsupported-method/>",
    ),
    Edit(
        TRANSLATE_SM, "counts of stanzas (XEP-0198 stream management) are translated, so that they stay right when "
        "one is refused or said by us; a session that we know nothing of is not resumed",
    ),
    Edit(
        STRIP_SM, "XEP-0198 stream management is taken out of the stream features and of SASL2's inline features: "
        "instead of translating it", default=False,
    ),
    Edit(REFUSE_SM, "<enable/> and <resume/> that were not offered are answered <failed/>"),
    Edit(
        KEEP_PATH, "where a connection would not pass through us, the addresses of <see-other-host/> and of "
        "<enabled location/> are led through a leased port, or taken out where there is none",
    ),
    Edit(
        STRIP_PLUS, "channel-bound SASL mechanisms are taken out of the stream features. Off: a client that can bind "
        "and a server that can both take it for an attack, only clients that cannot bind are helped", default=False,
    ),
    Edit(
        KEEP_BINDING, "where the client is shown the server's own certificate, only kinds of channel binding that hold "
        "there (tls-server-end-point) are left in the offer",
    ),
    Edit(STRIP_RTT, "XEP-0301 real-time text is taken out: letters on their way cannot be judged before the message"),
    Edit(
        REFUSE_BLOCKS, "blocks of in-band bytestreams (XEP-0047) that readers take in more than one way are refused: "
        "of no open stream, out of order, not base64, longer than agreed, beside words, in answers",
    ),
)
