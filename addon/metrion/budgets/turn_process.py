"""The process of one count of the budgets. Run as ``python -m metrion.budgets.turn_process HOME [CONFIG]``.

It exits with 0, or with 1 where something could not be read; then it has said what. However it goes, it ends after two
minutes.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import closing
from pathlib import Path

from metrion.budgets.recount import recount, tidy
from metrion.control import ControlStore
from metrion.errors import MetrionError
from metrion.logs.output import configure_ingester
from metrion.settings import load_settings

_MOST_SECONDS = 120

logger = logging.getLogger("metrion.budgets")


def main() -> int:
    """Count once; return the exit status."""
    signal.alarm(_MOST_SECONDS)  # unhandled, it ends the process
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C goes to the whole group: an end without a traceback
    configure_ingester()
    os.umask(0o077)
    os.nice(5)  # traffic goes first
    home, *config = sys.argv[1:3]
    try:
        settings = load_settings(Path(config[0]) if config else None, {**os.environ, "METRION_HOME": home})
        with closing(ControlStore.open(settings)) as control:
            budgets = control.budgets()
        if recount(settings, budgets):
            tidy(settings.budgets_dir, budgets)
    except MetrionError as error:
        logger.error("Budgets could not be counted: %s", error)  # noqa: TRY400 -- says it all
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
