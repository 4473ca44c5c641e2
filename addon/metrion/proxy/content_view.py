"""The content view *Conversation*: a body that mitmproxy shows → the conversation in it, with its cost at the foot.

It is chosen by itself for bodies of metered flows that look like one; the other views still have the raw body. Where
mitmproxy has not kept a body, it says how to keep it. It never raises.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from mitmproxy import contentviews, flow, http
from mitmproxy.contentviews import Contentview, Metadata, SyntaxHighlight

from metrion.conversations import is_conversation, show, show_nothing
from metrion.proxy.comments import Comments
from metrion.proxy.flows import MARK

_PRIORITY = 3
"""Above mitmproxy's own views of JSON and of events."""


class ConversationContentview(Contentview):
    """See the module."""

    def __init__(self, comments: Comments) -> None:
        self._comments = comments

    @property
    def name(self) -> str:
        """What a person chooses it by."""
        return "Conversation"

    @property
    def syntax_highlight(self) -> SyntaxHighlight:
        """How it is coloured."""
        return "yaml"

    def prettify(self, data: bytes, metadata: Metadata) -> str:
        """Return the text; the cost stands below an answer."""
        shown = metadata.flow
        is_answer = isinstance(shown, http.HTTPFlow) and metadata.http_message is shown.response
        below = self._comments.below(shown) if isinstance(shown, http.HTTPFlow) and is_answer else ()
        mask = self._comments.mask(shown) if isinstance(shown, http.HTTPFlow) else None
        text = show(data, below)
        return _with_blank_lines("\n".join(map(mask, text.split("\n"))) if mask is not None else text)

    def render_priority(self, data: bytes, metadata: Metadata) -> float:
        """Say how well it fits."""
        is_metered = metadata.flow is not None and MARK in metadata.flow.metadata
        return _PRIORITY if metadata.http_message and is_metered and is_conversation(data) else -1


def _with_blank_lines(text: str) -> str:
    """Return a text whose blank lines mitmweb shows: it leaves out those that are empty."""
    return text.replace("\n\n", "\n \n")


def install(comments: Comments) -> None:
    """Add the view, and have mitmproxy explain a missing body: it asks no view about one."""
    contentviews.add(ConversationContentview(comments))
    stock = contentviews.prettify_message
    while isinstance(stock, _Explaining):
        stock = stock.stock
    contentviews.prettify_message = _Explaining(stock, comments)  # type: ignore[assignment]  # in its place


class _Explaining:
    """Calls mitmproxy's ``prettify_message``; explains where the body of a metered flow is missing."""

    def __init__(self, stock: Callable[..., contentviews.ContentviewResult], comments: Comments) -> None:
        self.stock = stock
        self._comments = comments
        functools.update_wrapper(self, stock)

    def __call__(self, message: object, shown: flow.Flow, *args: object, **options: object) -> object:
        result = self.stock(message, shown, *args, **options)
        is_missing = isinstance(message, http.Message) and message.raw_content is None
        if is_missing and isinstance(shown, http.HTTPFlow) and MARK in shown.metadata:
            result.text = _with_blank_lines(show_nothing(self._comments.below(shown)))
            result.syntax_highlight = "yaml"
        return result
