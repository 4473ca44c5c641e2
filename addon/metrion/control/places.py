"""At most so many requests at once for each provider key, all processes of a home together, and who waits for a place.

A place is a byte of the key's file, locked by the process whose request has it, so that it ends with the process. Those
who wait stand in a line of their token's, and the lines take turns. Who gives a place back hands it to one of its
own who wait, for :data:`_TURN_SECONDS` at a time; then others may take it, and its own ask again. While a file
cannot be used, each process counts by itself. Lives on one event loop; never waits.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from pathlib import Path

from metrion.faults import log_fault
from metrion.model.policies import Concurrency

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.01
"""How often a process asks for a place that another one may have given back."""
_TURN_SECONDS = 0.25


class Place:
    """A request that has a place, or waits for one."""

    __slots__ = ("_key", "_number", "_on_turn", "_who")

    def __init__(self, key: _Key, who: Hashable) -> None:
        self._key = key
        self._who = who
        self._number: int | None = None
        self._on_turn: Callable[[], None] | None = None

    @property
    def is_granted(self) -> bool:
        """Whether it has one. To be asked now and then: only one that becomes free here is announced."""
        if self._number is None:
            self._key.serve_when_due()
        return self._number is not None

    def leave(self) -> None:
        """Give it back, or wait no longer."""
        number, self._number = self._number, None
        if number is not None:
            self._key.give_back(number)
        else:
            self._key.forget(self._who, self)

    def wait(self, on_turn: Callable[[], None]) -> None:
        """Have ``on_turn`` called when a place is there."""
        self._on_turn = on_turn

    def grant(self, number: int) -> None:
        """Have a place from now on."""
        self._number = number
        if self._on_turn is not None:
            self._on_turn()


class Places:
    """See the module. ``clock``: seconds that only ever grow."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._keys: dict[str, _Key] = {}

    def is_full(self, key: str, asked: Concurrency) -> bool:
        """Whether there is neither a place nor room in the line for one more request."""
        return self._of(key, asked).is_full

    def enter(self, key: str, who: Hashable, asked: Concurrency) -> Place:
        """Have a place, or stand in the line of ``who`` for one."""
        of_key = self._of(key, asked)
        place = Place(of_key, who)
        of_key.add(who, place)
        return place

    def _of(self, key: str, asked: Concurrency) -> _Key:
        found = self._keys.get(key)
        if found is None:
            found = self._keys[key] = _Key(self._folder / key, self._clock)
        found.most, found.longest = asked.at_once, asked.queue
        return found


class _Key:
    """The places of one key, as this process sees them."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self.most = self.longest = 0
        self._clock = clock
        self._since: dict[int, float] = {}
        """The places that this process has, and since when."""
        self._lines: dict[Hashable, deque[Place]] = {}
        self._waiting = 0
        self._asked_at = 0.0
        self._file = _opened(path)

    @property
    def is_full(self) -> bool:
        if self._waiting < self.longest:
            return False
        if self._waiting or (number := self._take()) is None:
            return True
        self._let_go(number)
        return False

    def add(self, who: Hashable, place: Place) -> None:
        self._lines.setdefault(who, deque()).append(place)
        self._waiting += 1
        self.serve()

    def forget(self, who: Hashable, place: Place) -> None:
        line = self._lines.get(who)
        if line is not None and place in line:
            line.remove(place)
            self._waiting -= 1
            if not line:
                del self._lines[who]

    def serve(self) -> None:
        """Give those who wait what places there are."""
        self._asked_at = self._clock()
        while self._waiting and (number := self._take()) is not None:
            self._next().grant(number)

    def serve_when_due(self) -> None:
        """Do so, if the last time was long enough ago."""
        if self._clock() - self._asked_at >= _POLL_SECONDS:
            self.serve()

    def give_back(self, number: int) -> None:
        if self._waiting and number < self.most and self._clock() - self._since[number] < _TURN_SECONDS:
            self._next().grant(number)
        else:
            self._let_go(number)

    def _next(self) -> Place:
        """Take the first of the line whose turn it is; that line is the last from now on."""
        who, line = next(iter(self._lines.items()))
        del self._lines[who]
        place = line.popleft()
        if line:
            self._lines[who] = line
        self._waiting -= 1
        return place

    def _take(self) -> int | None:
        for number in range(self.most):
            if number not in self._since and self._lock(number):
                self._since[number] = self._clock()
                return number
        return None

    def _lock(self, number: int) -> bool:
        if self._file is None:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            return False
        return True

    def _let_go(self, number: int) -> None:
        del self._since[number]
        if self._file is not None:
            with suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)


def _opened(path: Path) -> int | None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        log_fault(logger, "Places at a provider are counted by this process alone: their file cannot be used", error)
        return None
