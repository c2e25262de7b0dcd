"""`inspector ca export`: the certificate that clients must trust."""

from __future__ import annotations

import sys
from argparse import Namespace

from inspector.app.errors import UserError


def export_command(args: Namespace) -> int:
    """Print the authority's certificate (PEM or DER), making the authority if there is none. Never its key."""
    from inspector.app import config
    from inspector.app.build import private_folder
    from inspector.drivers.mitm_tls import KEY_FILE, AuthorityError, export_authority
    from inspector.wire.located import Faults

    try:
        loaded = config.load(args.config)
    except Faults as faults:
        raise UserError(str(faults)) from None
    made = not (loaded.tls.authority / KEY_FILE).exists()
    try:
        if made and loaded.state in loaded.tls.authority.parents:
            private_folder(loaded.state)
        data = export_authority(loaded.tls.authority, args.format)
    except (AuthorityError, OSError) as error:
        raise UserError(str(error)) from None
    if made:
        print(f"inspector: a new authority was made in {loaded.tls.authority}", file=sys.stderr)
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    return 0
