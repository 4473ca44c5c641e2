"""What all workers of a proxy remember together: what was said once, how much of late, and which providers are out.

The supervisor makes it before it forks; each worker reads and writes the same memory without a lock. Two workers that
come at the same instant may both say something, which harms nobody. In: keys, names of providers, times. Out: yes or
no. Never: a name or a text in the memory; only hashes, counts and times are.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import NamedTuple

LINES_PER_MINUTE = 6
"""So many notices in any 60 seconds, of all workers together."""
EVERYDAY_LINES_PER_MINUTE = 3
"""One that reports no failure is written only while fewer than this were, so that failures find room."""
_ENTRIES = 4096
_PROBES = 16
_LONG_AGO = -1e9
_SINCE, _FAILED, _IS_SAID, _SAID_AT = range(4)
_CELLS = 4


class Outage(NamedTuple):
    """A provider that could not be reached, now that it can."""

    seconds: float
    failed: int
    """Requests that failed meanwhile."""
    is_said: bool


class Remembered:
    """See the module. ``providers``: whose outages are remembered."""

    def __init__(self, providers: Iterable[str] = (), *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._place = {name: _CELLS * number for number, name in enumerate(providers)}
        self._keys = memoryview(mmap.mmap(-1, 8 * _ENTRIES)).cast("Q")
        figures = LINES_PER_MINUTE + _CELLS * len(self._place)
        cells = memoryview(mmap.mmap(-1, 8 * figures)).cast("d")
        self._lines, self._outages = cells[:LINES_PER_MINUTE], cells[LINES_PER_MINUTE:]
        for index in range(LINES_PER_MINUTE):
            self._lines[index] = _LONG_AGO
        for place in self._place.values():
            self._outages[place + _SAID_AT] = _LONG_AGO

    # --- what was said ---

    def knows(self, key: tuple[object, ...]) -> bool:
        """Whether this was said before."""
        return self._find(key)[1]

    def add(self, key: tuple[object, ...]) -> None:
        """Remember that this was said."""
        place, is_there = self._find(key)
        if not is_there:
            self._keys[place] = _hash(key)

    def has_room(self, *, everyday: bool) -> bool:
        """Whether one more line may be written now; if so, it counts."""
        now = self.clock()
        times = self._lines.tolist()
        recent = sum(time > now - 60 for time in times)
        if recent >= (EVERYDAY_LINES_PER_MINUTE if everyday else LINES_PER_MINUTE):
            return False
        self._lines[times.index(min(times))] = now
        return True

    # --- who is out ---

    def is_out(self, provider: str | None) -> bool:
        """Whether a provider could not be reached when it was last tried."""
        place = self._place.get(provider or "")
        return place is not None and self._outages[place + _SINCE] != 0

    def fail(self, provider: str | None) -> float:
        """Count a request that could not reach a provider; return how long ago that was last said, in seconds.

        0: this outage is said already, or its provider is not known.
        """
        place = self._place.get(provider or "")
        if place is None:
            return 0.0
        cells, now = self._outages, self.clock()
        if not cells[place + _SINCE]:
            cells[place + _SINCE] = now
            cells[place + _FAILED] = cells[place + _IS_SAID] = 0
        cells[place + _FAILED] += 1
        return 0.0 if cells[place + _IS_SAID] else now - cells[place + _SAID_AT]

    def say_out(self, provider: str) -> None:
        """Remember that a provider's outage was said."""
        place = self._place[provider]
        self._outages[place + _IS_SAID], self._outages[place + _SAID_AT] = 1, self.clock()

    def outage(self, provider: str) -> Outage:
        """Return what there is to say of a provider's outage."""
        place = self._place[provider]
        since, failed, is_said = self._outages[place : place + _SAID_AT].tolist()
        return Outage(self.clock() - since, int(failed), bool(is_said))

    def end_outage(self, provider: str) -> None:
        """Remember that a provider can be reached."""
        place = self._place[provider]
        self._outages[place + _SINCE] = 0

    def _find(self, key: tuple[object, ...]) -> tuple[int, bool]:
        """Return the place of a key, or the one that it gets, and whether it is there."""
        wanted = _hash(key)
        free = None
        for probe in range(_PROBES):
            place = (wanted + probe) % _ENTRIES
            if self._keys[place] == wanted:
                return place, True
            if not self._keys[place] and free is None:
                free = place
        return wanted % _ENTRIES if free is None else free, False


def _hash(key: tuple[object, ...]) -> int:
    return int.from_bytes(blake2b(repr(key).encode("utf-8", "replace"), digest_size=8).digest()) or 1
