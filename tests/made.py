"""Parameters that are made when their test runs: every test process would hold those of many bytes from its start.

pytest.param(Made(lambda: b"x" * 20_000_000), …)   # the test is given the bytes
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Made:
    """What ``conftest`` replaces by what this makes."""

    make: Callable[[], object]
