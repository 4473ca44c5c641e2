"""What concerns logs where mitmproxy is the program: its own lines have no credentials, and Metrion's go where they do.

mitmproxy logs the bytes of heads that it cannot parse, and of data that it did not expect; a key may be in them. What
Metrion says of requests goes through :mod:`logging` to mitmproxy's own log. Its level is mitmproxy's: with ``-v``
(``termlog_verbosity=debug``) it says of each request what was decided.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Set as AbstractSet

from mitmproxy.addonmanager import Loader
from mitmproxy.options import Options

from metrion.logs.request_log import RequestLog

_ACCESS_LOG = "metrion_access_log"
_LEVEL = "termlog_verbosity"
"""mitmproxy's option; there is none where it has no terminal of its own."""
_UNPARSED = re.compile(
    r"^(.*?(?:Bad HTTP (?:request|response) line|Invalid header line|Client closed connection before completing request"
    r" headers|Unexpected data from server|unexpected server response|Invalid HTTP|Cannot parse HTTP))\b.*",
    re.DOTALL,
)


class UnparsedHeads(logging.Filter):
    """Cuts such a message where the bytes begin."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Override: never drops a record."""
        match = _UNPARSED.match(record.getMessage())
        if match:
            record.msg, record.args = f"{match[1]} (bytes withheld)", ()
        return True


def install_filter() -> None:
    """Put the filter on the logger that mitmproxy's connections use; once is enough."""
    target = logging.getLogger("mitmproxy.proxy.server")
    if not any(isinstance(present, UnparsedHeads) for present in target.filters):
        target.addFilter(UnparsedHeads())


def add_options(loader: Loader) -> None:
    """Add what a person may choose where mitmproxy is the program."""
    loader.add_option(_ACCESS_LOG, bool, False, "Metrion: write one line of JSON for each request to the log.")


def choose(log: RequestLog, options: Options, updated: AbstractSet[str]) -> None:
    """Let the options decide what is written about requests."""
    if not updated.isdisjoint((_ACCESS_LOG, _LEVEL)):
        log.access = bool(getattr(options, _ACCESS_LOG, False))
        log.decisions = getattr(options, _LEVEL, None) == "debug"
