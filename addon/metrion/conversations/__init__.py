"""Recorded bodies of any wire format in; the conversation that they are, as text for people, out. Sans-IO and pure.

:func:`show` is for a body, :func:`show_nothing` for one that was not kept, :func:`is_conversation` says cheaply whether
a body is worth it. None of them raises, takes long over a large body, or shows what looks like a credential.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from metrion.conversations.bodies import documents
from metrion.conversations.foot import Total, added, comment, foot
from metrion.conversations.reading import conversations
from metrion.conversations.rendering import masked, rendered

__all__ = ["Total", "added", "comment", "foot", "is_conversation", "show", "show_nothing"]

_MOST_LOOKED_AT = 256 << 10
_MARKS = re.compile(
    rb'"(?:messages|contents|choices|candidates|completion|prompt|inputs|input|output|outputs|steps|requests|params'
    rb'|content|embedding|embeddings|error|delta|response|interaction|event_type|usageMetadata)"\s*:'
)
_MOST_BYTES_SHOWN = 2000

NOT_KEPT = (
    "This body was not kept: it passed through. Start mitmproxy with --set store_streamed_bodies=true to see the "
    "conversations of requests that come after that. It keeps prompts and answers in memory."
)


def is_conversation(body: bytes) -> bool:
    """Whether a body looks like an exchange with a model. It may say so of one that is none."""
    begin = body[:_MOST_LOOKED_AT]
    return begin.lstrip()[:1] in b"{[deir:" and _MARKS.search(begin) is not None


def show(body: bytes, below: Iterable[tuple[str, str]] = ()) -> str:
    """Return a body as a conversation, with ``below`` at its foot; what is none is shown as it begins."""
    if not body:
        return rendered((), below, remark="There is no body.")
    below = list(below)
    try:
        found = documents(body)
        read = conversations(found) if found is not None else []
        if found is not None and read:
            cut = f"{found.cut:,} bytes of this long body are not read; Raw has them." if found.cut else None
            return rendered(read, below, remark=cut)
    except Exception:  # noqa: BLE001 -- a body that cannot be read is shown as it begins
        return _beginning(body, below, "This could not be read as a conversation with a model.")
    return _beginning(body, below, "This is not a conversation with a model.")


def show_nothing(below: Iterable[tuple[str, str]] = ()) -> str:
    """Return what is to be said where the body was not kept."""
    return rendered((), below, remark=NOT_KEPT)


def _beginning(body: bytes, below: Iterable[tuple[str, str]], why: str) -> str:
    text = body[:_MOST_BYTES_SHOWN].decode("utf-8", "backslashreplace")
    more = f"\n# {len(body) - _MOST_BYTES_SHOWN:,} more bytes." if len(body) > _MOST_BYTES_SHOWN else ""
    begins = "\n".join(map(masked, text.splitlines()))
    return f"{rendered((), below, remark=why)}\n{begins}{more}\n"
