"""`inspector run`: the gateway in one process, or a supervisor with several workers (`workers:`)."""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from typing import cast

from inspector.app import config, logs, process
from inspector.app.errors import UserError
from inspector.wire.located import Faults


def run_command(args: Namespace) -> int:
    """`inspector run`. Raises UserError with one sentence, or a line for each fault."""
    try:
        loaded = config.load(args.config)
    except Faults as faults:
        raise UserError(str(faults)) from None
    process.harden()
    form = args.log_format or loaded.log.format
    log = logs.Logs(cast(logs.Level, args.log_level or loaded.log.level), cast(logs.Format | None, form))
    log.start()
    try:
        with asyncio.Runner(loop_factory=process.loop_factory()) as runner:
            return runner.run(_main(args.config, loaded, log, args.log_level, args.log_format))
    except KeyboardInterrupt:
        return 130
    finally:
        log.stop()
        sys.stdout.flush()


async def _main(
    path: str | None, loaded: config.Config, log: logs.Logs, level: str | None, form: str | None,
) -> int:
    if loaded.workers > 1:
        from inspector.app.workers import Crew

        return await Crew(path, loaded, log, level, form).run()
    from inspector.app.supervisor import Supervisor

    return await Supervisor(path, loaded, log).run()
