"""The process of one turn of the alerter. Run as ``python -m metrion.alerts.turn_process HOME [CONFIG]``.

It exits with 0, or with 1 where something could not be read; then it has said what. However it goes, it ends after two
minutes: a store or a server that hangs leaves nothing behind.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

from metrion.alerts.turn import turn
from metrion.errors import MetrionError
from metrion.logs.output import configure_ingester
from metrion.settings import load_settings

_MOST_SECONDS = 120

logger = logging.getLogger("metrion.alerts")


def main() -> int:
    """Take one turn; return the exit status."""
    signal.alarm(_MOST_SECONDS)  # unhandled, it ends the process
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C goes to the whole group: an end without a traceback
    configure_ingester()
    os.umask(0o077)
    os.nice(10)  # traffic goes first
    home, *config = sys.argv[1:3]
    try:
        turn(load_settings(Path(config[0]) if config else None, {**os.environ, "METRION_HOME": home}))
    except MetrionError as error:
        logger.error("The rules of alerts could not all be looked at: %s", error)  # noqa: TRY400 -- says it all
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
