"""Names of accounts and tokens: what a person typed in; out the same, or a ``ControlError``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from metrion.errors import ControlError

DEFAULT_ACCOUNT = "default"
"""The account that every home has."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


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


def suggestion(word: str, choices: Iterable[str]) -> str:
    """Return `` Did you mean 'openai'?`` when ``word`` is nearly one of ``choices``, else nothing."""
    near = difflib.get_close_matches(word.lower(), list(choices), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
