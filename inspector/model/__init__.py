"""The shared nouns and the ports.

Lives here: what every other room says: flows, events, findings, verdicts, frames, effects, limits.
May import: msgspec and the standard library's pure parts.
Never: anything of ours, I/O, clocks, chance.
"""

from inspector.model.clients import client_of
from inspector.model.effects import (
    Closed,
    Discard,
    Effect,
    Finish,
    Input,
    Judge,
    Judged,
    Kept,
    Killed,
    Note,
    Scan,
    Scanned,
    Secured,
    Spliced,
    Spool,
    Told,
    Troubled,
    Unspool,
    Unspooled,
    WakeAt,
    Woke,
)
from inspector.model.events import (
    CLEAR,
    FILE_CONTENT,
    CallSetup,
    ContactChange,
    Copy,
    Encryption,
    Event,
    Expect,
    File,
    FileEnd,
    FileOffer,
    FilePart,
    FileStart,
    GroupChange,
    Identity,
    Inspectable,
    Kind,
    Message,
    Opaque,
    Presence,
    SignOn,
    Text,
    Typing,
    expect_key,
)
from inspector.model.flow import DOWN, UP, Address, Chunk, Flow, Way, community_id, flow_id
from inspector.model.frames import (
    BROKEN,
    FIRST,
    LAST,
    MORE,
    WHOLE,
    Act,
    Can,
    Coding,
    Cut,
    Decoder,
    DecoderFactory,
    Edit,
    Frame,
    Match,
    Memory,
    Notice,
    Oddity,
    Part,
    PeerError,
    Recode,
    Send,
    Spec,
    StartTls,
    Tell,
    Unreleased,
    Went,
    Wordless,
)
from inspector.model.holds import STEPS, Arrived, Came, Cover, Deliver, Held, Hold, Place, Released, Unhold
from inspector.model.limits import Limits
from inspector.model.ports import (
    Classify,
    Context,
    Evidence,
    FileMode,
    FileRules,
    Guess,
    Policy,
    Rules,
    ScanFailed,
    Scanner,
)
from inspector.model.verdicts import PASSED, Action, FileReport, Finding, Hit, Severity, Span, Verdict

__all__ = [
    "BROKEN", "CLEAR", "DOWN", "FILE_CONTENT", "FIRST", "LAST", "MORE", "PASSED", "STEPS", "UP", "WHOLE", "Act",
    "Action", "Address", "Arrived", "CallSetup", "Came", "Can", "Chunk", "Classify", "Closed", "Coding",
    "ContactChange", "Context", "Copy", "Cover", "Cut", "Decoder", "DecoderFactory", "Deliver", "Discard", "Edit",
    "Effect", "Encryption", "Event", "Evidence", "Expect", "File", "FileEnd", "FileMode", "FileOffer", "FilePart",
    "FileReport", "FileRules", "FileStart", "Finding", "Finish", "Flow", "Frame", "GroupChange", "Guess", "Held", "Hit",
    "Hold", "Identity", "Input", "Inspectable", "Judge", "Judged", "Kept", "Killed", "Kind", "Limits", "Match",
    "Memory", "Message", "Note", "Notice", "Oddity", "Opaque", "Part", "PeerError", "Place", "Policy", "Presence",
    "Recode", "Released", "Rules", "Scan", "ScanFailed", "Scanned", "Scanner", "Secured", "Send", "Severity", "SignOn",
    "Span", "Spec", "Spliced", "Spool", "StartTls", "Tell", "Text", "Told", "Troubled", "Typing", "Unhold",
    "Unreleased", "Unspool", "Unspooled", "Verdict", "WakeAt", "Way", "Went", "Woke", "Wordless", "client_of",
    "community_id", "expect_key", "flow_id",
]
