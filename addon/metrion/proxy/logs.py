"""Keeps credentials out of the log and out of what flows say of a failure.

mitmproxy quotes the bytes of heads that it cannot parse, and of data that it did not expect; a key may be in them.
"""

from __future__ import annotations

import logging
import re
import traceback

_WITHHELD = "(bytes withheld)"
_UNPARSED = re.compile(
    r"^(.*?(?:Bad HTTP (?:request|response) line|Invalid header line|Client closed connection before completing request"
    r" headers|Unexpected data from server|unexpected server response|Invalid HTTP|Cannot parse|HTTP/2 protocol error"
    r"|HTTP/2 connection closed|Lowercased|Received (?:invalid|unknown|unexpected|multiple)))\b.*",
    re.DOTALL,
)
_QUOTES_NOTHING = re.compile(r"HTTP/1 protocol error: |Certificate verify failed: |stream reset by |(?:.*\[)?Errno ")
"""How the failures begin whose words are the machine's or our own."""
_QUOTE = re.compile(r"[:(\[{<]|(?<!\w)b?['\"]")
"""Where a quotation may begin."""


class UnparsedHeads(logging.Filter):
    """Cuts such a message where the bytes begin, and reports of a crash what it was and where, not in which words."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Override: never drops a record."""
        message = record.getMessage()
        if match := _UNPARSED.match(message):
            record.msg, record.args = f"{match[1]} {_WITHHELD}", ()
        elif isinstance(record.exc_info, tuple) and (error := record.exc_info[1]) is not None:
            what, at = re.split(r"[:\n]", message, maxsplit=1)[0], traceback.extract_tb(error.__traceback__)[-1]
            record.msg, record.args = f"{what}: {type(error).__name__} at {at.filename}:{at.lineno}", ()
            record.exc_info = None
        return True


def install_filter() -> None:
    """Put the filter on the loggers that mitmproxy's connections use; once is enough."""
    for name in ("mitmproxy.proxy.server", "mitmproxy.addons.clientplayback"):
        target = logging.getLogger(name)
        if not any(isinstance(present, UnparsedHeads) for present in target.filters):
            target.addFilter(UnparsedHeads())


def without_quotes(failure: str) -> str:
    """Return what a flow may say of a failure, without what mitmproxy quotes of the bytes that led to it."""
    quote = None if _QUOTES_NOTHING.match(failure) else _QUOTE.search(failure)
    return failure if quote is None else f"{failure[: quote.start()].rstrip()} {_WITHHELD}"
