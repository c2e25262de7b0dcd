"""The shared nouns and the ports.

Lives here: what every other room says: flows, events, findings, verdicts, frames, effects, limits.
May import: msgspec and the standard library's pure parts.
Never: anything of ours, I/O, clocks, chance.
"""

from inspector.model.effects import (
    Closed,
    Effect,
    Finish,
    Input,
    Kept,
    Killed,
    Note,
    Scan,
    Scanned,
    Secured,
    Spliced,
    Troubled,
    WakeAt,
    Woke,
)
from inspector.model.events import (
    CLEAR,
    CallSetup,
    ContactChange,
    Copy,
    Encryption,
    Event,
    FileOffer,
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
    Cut,
    Decoder,
    DecoderFactory,
    Edit,
    Expect,
    Frame,
    Match,
    Memory,
    Notice,
    Oddity,
    Part,
    PeerError,
    Send,
    Spec,
    StartTls,
)
from inspector.model.limits import Limits
from inspector.model.ports import Classify, Context, Evidence, Guess, Policy, Rules, ScanFailed, Scanner
from inspector.model.verdicts import PASSED, Action, Finding, Hit, Severity, Span, Verdict

__all__ = [
    "BROKEN", "CLEAR", "DOWN", "FIRST", "LAST", "MORE", "PASSED", "UP", "WHOLE", "Act", "Action", "Address",
    "CallSetup", "Can", "Chunk", "Classify", "Closed", "ContactChange", "Context", "Copy", "Cut", "Decoder",
    "DecoderFactory",
    "Edit", "Effect", "Encryption", "Event", "Evidence", "Expect", "FileOffer", "Finding", "Finish", "Flow", "Frame",
    "GroupChange", "Guess", "Hit", "Identity", "Input", "Inspectable", "Kept", "Killed", "Kind", "Limits", "Match",
    "Memory",
    "Message", "Note", "Notice", "Oddity", "Opaque", "Part", "PeerError", "Policy", "Presence", "Rules", "Scan",
    "ScanFailed", "Scanned", "Scanner", "Secured", "Send", "Severity", "SignOn", "Span", "Spec", "Spliced", "StartTls",
    "Text", "Troubled", "Typing", "Verdict", "WakeAt", "Way", "Woke", "community_id", "flow_id",
]
