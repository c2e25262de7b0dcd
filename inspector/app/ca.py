"""`inspector ca export`: the certificate that clients must trust."""

from __future__ import annotations

import sys
from argparse import Namespace

from inspector.app.errors import UserError


def export_command(args: Namespace) -> int:
    """Print the authority's certificate (PEM or DER), making the authority if there is none. Never its key."""
    from inspector.app import config
    from inspector.drivers.mitm_tls import AuthorityError, export_authority
    from inspector.wire.located import Faults

    try:
        loaded = config.load(args.config)
    except Faults as faults:
        raise UserError(str(faults)) from None
    try:
        data = export_authority(loaded.tls.authority, args.format)
    except AuthorityError as error:
        raise UserError(str(error)) from None
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    return 0
