"""Every bound of the gateway: named, with its default, its reason, and whether a reload may change it."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any


def _bound(default: float, reason: str, *, reload: bool = True) -> Any:
    return field(default=default, metadata={"reason": reason, "reloadable": reload})


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds by name. Sizes in bytes, times in seconds, unless the name says otherwise."""

    # -- frames and queues
    frame_bytes: int = _bound(512 * 1024, "longest raw of one frame; above the 256 KiB that XMPP servers accept")
    part_bytes: int = _bound(64 * 1024, "longest part of a unit that is too long for one frame")
    way_bytes: int = _bound(1024 * 1024, "bytes queued one way before the driver stops reading that way")
    waiting_frames: int = _bound(4096, "frames queued one way before the driver stops reading that way")
    group_bytes: int = _bound(256 * 1024, "bytes of one message spread over several units (IRC multiline)")
    group_seconds: float = _bound(30, "a group not closed after this long is malformed")
    inject_bytes: int = _bound(64 * 1024, "own notices that may wait for a unit boundary of one session")
    # -- recognising
    probe_hold_bytes: int = _bound(4096, "undecided bytes withheld; more than any first exchange of an IM protocol")
    probe_hold_seconds: float = _bound(1.5, "undecided bytes withheld this long; server-first protocols must not hang")
    probe_bytes: int = _bound(64 * 1024, "bytes a way in which late recognition is still tried")
    probe_seconds: float = _bound(60, "time in which late recognition is still tried")
    probe_look_bytes: int = _bound(256 * 1024, "bytes that probes may look at however little came: every early read")
    probe_look_ratio: int = _bound(32, "bytes that probes may look at for each byte that came: dribblers cost no more")
    # -- judging
    scan_seconds: float = _bound(5, "no answer of a scanner within this is scanner_failed")
    quick_scan_bytes: int = _bound(4096, "texts up to this are scanned in the loop, longer ones in a thread")
    scan_queue: int = _bound(2048, "texts that wait for a thread; above it a text is overload")
    client_scans: int = _bound(512, "of them of one client address; clients take turns")
    text_bytes: int = _bound(256 * 1024, "longest text of one event that is scanned; a longer one is scanner_failed")
    sign_on_seconds: float = _bound(30, "a message sent before its sign-on waits this long, then has no user")
    # -- sessions
    idle_seconds: float = _bound(4 * 86400, "a quiet session is kept this long: chats stay open over a weekend")
    connect_seconds: float = _bound(15, "longest wait for the upstream connection")
    handshake_seconds: float = _bound(20, "longest wait for a SOCKS, CONNECT or TLS handshake")
    drain_seconds: float = _bound(20, "SIGTERM: sessions are cut politely, spread over this time")
    restart_seconds: float = _bound(60, "a rolling restart: sessions of the worker that goes are cut, spread over this")
    worker_seconds: float = _bound(60, "a worker that does not answer for so long is killed and replaced")
    sessions: int = _bound(20000, "sessions of one worker; new ones are refused first")
    client_sessions: int = _bound(10000, "sessions of one client address: an office sits behind one address")
    setups: int = _bound(4000, "connections whose set-up is not over (handshakes cost most); new ones are refused")
    client_setups: int = _bound(2000, "of them of one client address: an office that comes back after a power cut")
    refusal_seconds: float = _bound(10, "refused connections of one kind and client are told together, once in so long")
    trouble_waits: int = _bound(
        256, "connections ended for a trouble whose row is not on disk yet; above it they are ended before it is")
    client_trouble_waits: int = _bound(64, "of them of one client address")
    silent_seconds: float = _bound(600, "a connection on which neither side has said a word is kept so long")
    unit_seconds: float = _bound(300, "a unit that is not whole after so long must come faster than slow_bytes")
    stalled_seconds: float = _bound(600, "a peer for whom more waits than write_buffer_bytes must take some in so long")
    slow_bytes: int = _bound(64, "bytes a second: slower than any link; who is slower is silent, or wants to be")
    held_bytes: int = _bound(512 << 20, "memory that waits for verdicts, whole units and readers, of all sessions")
    client_held_bytes: int = _bound(256 << 20, "of it of one client address")
    close_seconds: float = _bound(5, "after a cut, what was written may still drain this long")
    write_buffer_bytes: int = _bound(256 * 1024, "bytes a peer may leave unread before its source is no longer read")
    # -- IRC
    irc_line_bytes: int = _bound(8191 + 512, "longest line: tags of both sides plus a classic line (message-tags)")
    irc_targets: int = _bound(64, "targets of one PRIVMSG or JOIN that are told apart")
    irc_batches: int = _bound(16, "batches open at a time in one way")
    irc_channels: int = _bound(512, "channels remembered as joined")
    dcc_offers: int = _bound(256, "DCC offers remembered per session")
    dcc_line_bytes: int = _bound(16384, "longest line of a DCC CHAT taken as one message; longer ones come in parts")
    dcc_leases: int = _bound(16, "ports leased for DCC offers in one session at a time: nobody outside may use them up")
    # -- XMPP
    xmpp_stanza_bytes: int = _bound(256 * 1024, "longest stanza after sign-on: what Prosody accepts (262144)")
    xmpp_server_stanza_bytes: int = _bound(
        512 * 1024, "longest stanza from the server: Prosody takes 524288 from others; less lets them end our sessions")
    xmpp_preauth_bytes: int = _bound(10000, "longest stanza before sign-on (RFC 6120 13.12: never below 10000)")
    xmpp_depth: int = _bound(64, "nesting of elements; normal traffic stays below 20")
    xmpp_attributes: int = _bound(100, "attributes of one element")
    xmpp_children: int = _bound(10000, "elements in one stanza")
    xmpp_name_bytes: int = _bound(1024, "longest element or attribute name")
    xmpp_parser_bytes: int = _bound(1 << 20, "the shared parser is renewed after this: names are interned for ever")
    xmpp_keepalive_bytes: int = _bound(4096, "white space between stanzas in one run")
    xmpp_rooms: int = _bound(256, "rooms remembered as entered: the user's own words come back from them")
    xmpp_events: int = _bound(1000, "events of one stanza (contacts, copies, files); each costs a row")
    xmpp_offers: int = _bound(256, "file offers, bytestreams and upload slots of a session that are remembered")
    xmpp_leases: int = _bound(16, "ports leased for one session's bytestreams at a time; further hosts are taken out")
    xmpp_streamhosts: int = _bound(16, "addresses of one bytestream offer that are told apart; more are taken out")
    xmpp_counts: int = _bound(256, "places where two counts of stanzas go apart that are not acknowledged (XEP-0198)")
    xmpp_domains: int = _bound(256, "pairs of domains that one server-to-server stream is for, and words owed to one")
    xmpp_resume_seconds: float = _bound(
        3600, "a managed session that nothing is heard of can be resumed within this; servers keep them for 10 minutes")
    bosh_seconds: float = _bound(
        3600, "a session of BOSH of which nothing is heard so long is forgotten; servers keep them for a minute or two")
    bosh_ahead: int = _bound(16, "numbers that a request may be ahead of the last one read; servers allow 2 to 10")
    bosh_wait_seconds: float = _bound(
        5, "a request ahead of others, or sent again before it was judged, waits this long; then it is refused")
    bosh_turns: int = _bound(32, "numbers of a session that are remembered, for requests that are sent again")
    bosh_kept_bytes: int = _bound(16 * 1024, "bytes of a session's changed bodies that can be sent again as they went")
    bosh_stanzas: int = _bound(
        4096, "stanzas of one body: 4 bytes each are read in one turn, and others wait; servers send some hundreds")
    bosh_owed_bytes: int = _bound(16 * 1024, "own stanzas that wait for a session's next body, each way")
    bosh_sessions: int = _bound(10000, "sessions of BOSH of one client address, at all servers, that are remembered")
    bosh_logins: int = _bound(256, "of them without a user; they make room for each other alone")
    # -- OSCAR
    oscar_events: int = _bound(1000, "events of one frame (contacts, presence); each costs a row; more are a fault")
    oscar_leases: int = _bound(8, "ports leased for one session's proposals at a time; further ones are refused")
    oscar_offers: int = _bound(64, "proposals of files and direct connections remembered per session")
    # -- HTTP upload
    http_head_bytes: int = _bound(32 * 1024, "longest head of a request or response; servers take 8 to 32 KiB")
    http_requests: int = _bound(16, "requests of one connection that wait for their responses")
    http_decoded_bytes: int = _bound(4 << 20, "bytes that one read may become when its content coding is undone")
    # -- compressed streams
    deflated_ratio: int = _bound(
        32, "bytes that a compressed one may become: chat becomes 3 to 10, the same stanza again and again 30")
    deflated_piece_bytes: int = _bound(
        16 * 1024, "bytes of a compressed read that are looked at in one turn: many become much, and others wait")
    deflated_burst_bytes: int = _bound(
        1 << 20, "bytes beyond that which one way may become at a time; who becomes more is a bomb")
    deflated_empty_bytes: int = _bound(16 * 1024, "compressed bytes in a row that may become nothing: empty flushes")
    # -- world
    memory_entries: int = _bound(10000, "entries of the decoders' shared memory")
    leg_entries: int = _bound(20000, "messages remembered to tell a second leg of the same message")
    leg_seconds: float = _bound(60, "a second leg of a message arrives within this")
    window_entries: int = _bound(20000, "writers in conversations whose last words are kept")
    window_messages: int = _bound(8, "last messages of a writer in a conversation that are scanned together")
    window_bytes: int = _bound(2048, "characters of them")
    window_seconds: float = _bound(600, "pieces of one thing are sent within this")
    window_piece_chars: int = _bound(64, "a longer text is no piece: it was scanned for itself")
    neighbour_accounts: int = _bound(
        200_000, "accounts signed on in other workers that one worker knows; pieces of others are put together in one")
    neighbour_bytes: int = _bound(4 << 20, "of pieces that wait for a worker that is slow; beyond it they are lost")
    neighbour_seconds: float = _bound(
        1, "who signs on in a second worker writes nothing before that knows his last words, but waits no longer")
    user_entries: int = _bound(50000, "users remembered as signed on")
    expect_seconds: float = _bound(180, "an announced side connection (DCC, bytestream) is made within this")
    offer_seconds: float = _bound(3600, "a file that was offered may be accepted so late; its connection is known then")
    # -- files
    file_tail_bytes: int = _bound(64 * 1024, "of a streamed file this much is withheld until the verdict")
    file_over_bytes: int = _bound(64 * 1024, "bytes beyond the offered size before a file is cut as a lie")
    file_seconds: float = _bound(60, "no verdict of a file within this is scanner_failed")
    file_idle_seconds: float = _bound(
        300, "a held file whose sender sends nothing, or whose reader takes nothing, for so long is given up")
    files_open: int = _bound(16, "files that one session transfers at a time, each way")
    spool_bytes: int = _bound(256 << 20, "largest file that is spooled; a larger one is streamed")
    spool_total_bytes: int = _bound(4 << 30, "bytes of all spooled files; above it new files are overload")
    spool_client_bytes: int = _bound(1 << 30, "of them of one client address: nobody takes the room of all")
    spool_files: int = _bound(2048, "files spooled at a time: each takes one or two open files of the process")
    spool_client_files: int = _bound(512, "of them of one client address")
    spool_free_bytes: int = _bound(256 << 20, "free bytes of the spool's disk below which nothing is spooled any more")
    file_scan_bytes: int = _bound(1 << 30, "largest file that is judged; a larger one is scanner_failed")
    lease_seconds: float = _bound(120, "a leased port waits this long for its one connection")
    # -- file workers
    file_queue: int = _bound(256, "files that wait for a worker; above it a file is scanner_failed")
    file_window_bytes: int = _bound(
        64 << 20, "content the file rules see in one piece; of longer content they see overlapping windows")
    file_overlap_bytes: int = _bound(1 << 20, "bytes that two windows of a long content share")
    file_workers: int = _bound(2, "processes that judge files", reload=False)
    file_worker_memory: int = _bound(1 << 30, "address space of one file worker", reload=False)
    file_worker_files: int = _bound(1000, "files after which a worker is replaced: leaks of parsers stay small")
    file_text_bytes: int = _bound(
        256 << 20, "text in one file, all that is inside it together, in which words, links and numbers are looked for")
    file_text_seconds: float = _bound(10, "time for that, of archive_seconds: the rest is for opening and file rules")
    file_text_window: int = _bound(
        128 * 1024, "characters of a file's text that are looked at together: a few milliseconds, a few MB")
    file_text_overlap: int = _bound(
        4096, "characters that two such windows share: a phrase of 200 with 15 that do not show behind each, a link")
    archive_depth: int = _bound(6, "archives inside archives that are opened")
    archive_members: int = _bound(2000, "files of all archives of one file that are looked at")
    archive_bytes: int = _bound(256 << 20, "unpacked bytes of one file, all depths together")
    archive_ratio: int = _bound(250, "unpacked to packed size of one member above 1 MiB: beyond it is a bomb")
    archive_seconds: float = _bound(20, "time for opening and scanning one file")
    # -- hold and release
    covers: int = _bound(10000, "releases whose following legs pass; the oldest is forgotten first")
    cover_seconds: float = _bound(600, "a release covers the legs of the same message that follow it so long")
    cover_file_seconds: float = _bound(86400, "a released file may be sent again so long")
    cover_sessions: int = _bound(4096, "sessions in which one release passes: the readers of a large room")
    settle_seconds: float = _bound(
        0.5, "what was released is delivered when its session has gone on so long behind it; else nobody knows")
    releases_waiting: int = _bound(256, "released items that one session is given before they are sent")
    hold_items: int = _bound(10000, "messages and files that wait for a reviewer; above it hold_full")
    hold_bytes: int = _bound(8 << 30, "bytes of them on disk; above it hold_full")
    hold_client_items: int = _bound(2500, "of them of one client address: nobody takes the room of all")
    hold_client_bytes: int = _bound(2 << 30, "bytes of them of one client address")
    hold_queue_bytes: int = _bound(64 << 20, "bytes of messages on their way to the hold store; above it hold_full")
    hold_seconds: float = _bound(
        7 * 86400, "nobody's decision within this is the one of `hold: {on_expiry}`; ended items are kept so long, too")
    four_eyes_seconds: float = _bound(900, "a second person confirms within this, where four eyes are asked for")
    # -- scanning
    yara_rules_per_shard: int = _bound(64, "message rules compiled into one object: 2.6 us a scan", reload=False)
    compile_seconds: float = _bound(300, "compiling a rule set may take this long before it is refused")
    compile_bytes: int = _bound(4 << 30, "memory of the process that compiles a rule set")
    findings: int = _bound(64, "findings of one event that are kept")
    spans: int = _bound(256, "spans of one finding that are kept")
    indicators: int = _bound(1_000_000, "indicators of all packs together")
    # -- store
    store_batch_rows: int = _bound(500, "rows of one commit")
    store_queue_rows: int = _bound(20000, "rows that wait for the writer before store_failed")
    store_queue_bytes: int = _bound(64 << 20, "characters of the texts of rows that wait for the writer")
    checkpoint_seconds: float = _bound(300, "time between two signed checkpoints of the log, while rows come")
    rules_kept: int = _bound(64, "policies, and sets of packs, that are kept to decide again (events --rejudge)")
    rules_kept_bytes: int = _bound(1 << 30, "bytes of them on disk, compressed")
    rules_kept_days: float = _bound(400, "days that they are kept after they were last in force")
    store_seconds: float = _bound(10, "no commit within this is store_failed")
    # -- disk and clock
    disk_free_bytes: int = _bound(1 << 30, "free bytes of a disk of ours below which it is told")
    disk_stop_bytes: int = _bound(128 << 20, "free bytes below which new sessions are refused: verdicts need rows")
    disk_reserve_bytes: int = _bound(16 << 20, "a file beside the event store that is given up when the disk is full")
    clock_skew_seconds: float = _bound(2, "wall clock and our own apart by this: it jumped, and that is told")
    # -- captures
    capture_flows: int = _bound(100000, "flows of a capture followed at a time; the least recent leaves first")
    capture_flow_bytes: int = _bound(256 * 1024, "bytes of one way of a flow held because of a hole")
    capture_flow_segments: int = _bound(1024, "segments of one way of a flow held because of a hole")
    capture_held_bytes: int = _bound(64 << 20, "bytes of all flows held because of holes, and as many to compare with")
    capture_recent_bytes: int = _bound(16 * 1024, "delivered bytes of one way kept to compare with what is sent again")
    capture_fragments: int = _bound(4096, "IP fragments held")
    capture_fragment_bytes: int = _bound(65535, "longest reassembled datagram")
    capture_packet_bytes: int = _bound(256 * 1024, "longest packet record believed")
    capture_hole_seconds: float = _bound(30, "a hole that is not filled in this time is a gap")
    capture_dissect_seconds: float = _bound(10, "longest look of the dissector at a packet of a foreign link type")
    capture_flow_idle_seconds: float = _bound(600, "a silent flow ends")
    capture_session_idle_seconds: float = _bound(86400, "a silent known session ends; chats stay open overnight")
    # -- control and metrics
    control_bytes: int = _bound(64 * 1024, "longest request on the control socket")

    @classmethod
    def table(cls) -> list[tuple[str, float, str, bool]]:
        """(name, default, reason, reloadable) of every bound, for the docs and `inspector check`."""
        rows: list[Field[Any]] = list(fields(cls))
        return [(f.name, f.default, f.metadata["reason"], f.metadata["reloadable"]) for f in rows]  # type: ignore[misc]
