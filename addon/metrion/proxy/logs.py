"""What concerns logs where mitmproxy is the program: its own lines have no credentials, and Metrion's go where they do.

mitmproxy quotes the bytes of heads that it cannot parse, and of data that it did not expect, in its log and in what a
flow says of a failure; a key may be in them. What Metrion says of requests goes through :mod:`logging` to mitmproxy's
own log. Its level is mitmproxy's: with ``-v`` (``termlog_verbosity=debug``) it says of each request what was decided.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from mitmproxy.addonmanager import Loader
from mitmproxy.options import Options
from mitmproxy.proxy.mode_servers import ServerInstance
from mitmproxy.proxy.mode_specs import ProxyMode

from metrion.addresses import is_loopback
from metrion.logs.request_log import RequestLog

logger = logging.getLogger(__name__)

_ACCESS_LOG = "metrion_access_log"
_LEVEL = "termlog_verbosity"
"""mitmproxy's option; there is none where it has no terminal of its own."""

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


def add_options(loader: Loader) -> None:
    """Add what a person may choose where mitmproxy is the program."""
    loader.add_option(_ACCESS_LOG, bool, False, "Metrion: write one line of JSON for each request to the log.")


def choose(log: RequestLog, options: Options, updated: AbstractSet[str]) -> None:
    """Let the options decide what is written about requests."""
    if not updated.isdisjoint((_ACCESS_LOG, _LEVEL)):
        log.access = bool(getattr(options, _ACCESS_LOG, False))
        log.decisions = getattr(options, _LEVEL, None) == "debug"


def warn_of_plain_http(servers: Iterable[ServerInstance[ProxyMode]]) -> None:
    """Say so where others on the network can read what clients send. mitmproxy listens everywhere unless told."""
    hosts = {
        str(address[0])
        for server in servers
        if server.mode.transport_protocol == "tcp"
        for address in server.listen_addrs
    }
    if not all(map(is_loopback, hosts)):
        logger.warning(
            "Others on the network can reach this proxy, and read the tokens, keys and prompts that clients send to it "
            "on plain HTTP. Give mitmproxy --listen-host 127.0.0.1, or see that nobody else is on that network."
        )


def without_quotes(failure: str) -> str:
    """Return what a flow may say of a failure, without what mitmproxy quotes of the bytes that led to it."""
    quote = None if _QUOTES_NOTHING.match(failure) else _QUOTE.search(failure)
    return failure if quote is None else f"{failure[: quote.start()].rstrip()} {_WITHHELD}"
