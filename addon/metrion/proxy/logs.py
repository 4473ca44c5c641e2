"""Keeps credentials out of the log.

mitmproxy logs the bytes of heads that it cannot parse, and of data that it did not expect; a key may be in them.
"""

from __future__ import annotations

import logging
import re

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
