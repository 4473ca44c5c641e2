"""The process of one turn of the alerter. Run as ``python -m metrion.alerts.turn_process HOME [CONFIG]``.

It exits with 0, or with 1 where something could not be read; then it has said what.
"""

from __future__ import annotations

import sys

from metrion import turns
from metrion.alerts.turn import turn

if __name__ == "__main__":
    sys.exit(turns.take(turn, niceness=10, failed="The rules of alerts could not all be looked at"))
