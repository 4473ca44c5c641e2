"""Names of accounts and tokens, labels, tags, keys: what a person typed in; out what is kept, or a ``ControlError``."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

from metrion.admission.labels import LONGEST_LABEL, LONGEST_TAG_NAME
from metrion.errors import ControlError

DEFAULT_ACCOUNT = "default"
"""The account that every home has."""
ALL_ACCOUNTS = "*"
"""Whom a shared provider key belongs to. No account can have this name."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_TAG_NAME = re.compile(rf"[a-z0-9._-]{{1,{LONGEST_TAG_NAME}}}")
_SECRET = re.compile(r"(?<![A-Za-z0-9])(?:sk-|xai-|AIza)[A-Za-z0-9_-]{16,}")
_LONGEST_KEY = 8192
_UNPRINTED = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's categories of control characters, halves of characters, and separators of lines."""
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Marks that change the direction of the text behind them, on a whole line of a terminal."""


def check_name(name: str) -> str:
    """Return ``name`` if an account or a token may be called so.

    :raises ControlError: it may not; a name that may be a pasted secret is not repeated.
    """
    if name.startswith("sk-"):
        raise ControlError("this looks like a token or a key, not like a name: give a name such as `laptop`.")
    if not _NAME.fullmatch(name):
        said = repr(name) if len(name) <= 64 else "this name"
        raise ControlError(
            f"{said} cannot be used: a name is 1 to 64 letters, digits and `._-@`, and begins with a letter or a digit."
        )
    return name


def check_label(label: str) -> str:
    """Return ``label``, without blanks around it, if it may be a user's label, a pattern of one, or a tag's value.

    :raises ControlError: it may not; one that may be a secret is not repeated.
    """
    label = label.strip()
    if len(label) > LONGEST_LABEL:
        raise ControlError(f"it has {len(label):,} characters: write at most {LONGEST_LABEL}.")
    if any(unicodedata.category(each) in _UNPRINTED for each in label) or _TURNING.search(label):
        raise ControlError("it has control characters or bytes that are not UTF-8: leave them out.")
    if _SECRET.search(label):
        raise ControlError("this looks like a token or a key, which no row should show.")
    return label


def check_tag_name(name: str) -> str:
    """Return the name of a tag as events have it, in lower case.

    :raises ControlError: no header could carry it.
    """
    lower = name.strip().lower()
    if _SECRET.search(name) or not _TAG_NAME.fullmatch(lower):
        raise ControlError(f"the name of a tag is 1 to {LONGEST_TAG_NAME} letters, digits and `._-`.")
    return lower


def check_provider_key(key: str) -> str:
    """Return ``key`` if it may be a provider's key: one word of printable ASCII, and none of our own tokens.

    :raises ControlError: it cannot be one. It is not repeated.
    """
    is_word = key.isascii() and key.isprintable() and " " not in key
    if not 0 < len(key) <= _LONGEST_KEY or not is_word or key.startswith(("sk-metrion-", "sk-mta-")):
        raise ControlError("this is no key of a provider: paste it as the provider shows it, on one line.")
    return key


def suggestion(word: str, choices: Iterable[str]) -> str:
    """Return `` Did you mean 'openai'?`` when ``word`` is nearly one of ``choices``, else nothing."""
    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.5)
    return f" Did you mean {by_lower[near[0]]!r}?" if near else ""
