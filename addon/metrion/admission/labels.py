"""Reads the labels that a sender gives its request: a head and its token's rules in; the user's label and tags out.

A label that a token's rules do not allow refuses nothing: the event has the token's own label instead, or none.
"""

from __future__ import annotations

from collections.abc import Mapping

from metrion.admission.credentials import OWN
from metrion.admission.masking import without_tokens
from metrion.admission.patterns import matches
from metrion.model import Inbound, LabelRules

LONGEST_LABEL = 256
"""Characters of a label, and of a tag's value."""
LONGEST_TAG_NAME = 64
MOST_TAGS = 32

_USER = b"x-metrion-user"
_TAG = b"x-metrion-tag-"


def labels(inbound: Inbound, rules: LabelRules | None = None) -> tuple[str | None, Mapping[str, str] | None]:
    """Return the user's label and the tags of a request's event; ``None`` where it has none.

    Names and values are cut to what an event should hold, tags after the 32nd are left out, tag names are lower case.
    """
    user, sent = _sent(inbound)
    if rules is None:
        return user, sent or None
    tags = dict(rules.tags)
    for name, value in sent.items():
        if (not rules.fixed) if name in tags else len(tags) < MOST_TAGS:
            tags[name] = value
    return user if user is not None and _is_believed(user, rules) else rules.user, tags or None


def sends_label_not_allowed(inbound: Inbound, rules: LabelRules) -> bool:
    """Return whether a request's label is none of those that its token may send, where it may send any."""
    if rules.fixed or not rules.allowed:
        return False
    user, _ = _sent(inbound)
    return user is not None and not _is_believed(user, rules)


def _is_believed(user: str, rules: LabelRules) -> bool:
    if rules.fixed:
        return False
    return not rules.allowed or user == rules.user or any(matches(user, pattern) for pattern in rules.allowed)


def _sent(inbound: Inbound) -> tuple[str | None, dict[str, str]]:
    """Return the label and the tags in a head."""
    user: str | None = None
    tags: dict[str, str] = {}
    for name, value in inbound.headers:
        lower = name.lower()
        if not lower.startswith(OWN):
            continue
        if lower == _USER:
            user = _label(value, LONGEST_LABEL) or user
        elif lower.startswith(_TAG) and len(tags) < MOST_TAGS and (tag := _label(lower[len(_TAG) :], LONGEST_TAG_NAME)):
            tags[tag] = _label(value, LONGEST_LABEL)
    return user, tags


def _label(raw: bytes, length: int) -> str:
    raw = without_tokens(raw.strip())
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text[:length]
