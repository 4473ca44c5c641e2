"""A command as the configuration has it: a list of words, or one line, in; its words out. Pure."""

from __future__ import annotations

import shlex
from contextlib import suppress


def parse_command(value: object) -> tuple[str, ...]:
    """Read a command as a list of words, or as a text that is split as a shell would, without being one."""
    with suppress(ValueError):
        words = shlex.split(value) if isinstance(value, str) else value
        if isinstance(words, list) and all(isinstance(each, str) and "\0" not in each for each in words):
            return tuple(words)
    raise ValueError("write a command and its arguments, as in [pass, show, metrion]; no shell reads it")
