"""A few figures in memory that all processes of one proxy share.

The owner of the ingester makes the scoreboard before it forks. Each worker then writes its own slot and nothing else,
so nobody waits for anybody, and a process that is killed leaves nothing locked. In: figures. Out: what ``GET /health``
reports of all workers together, and whether one more stranger may have an event. Figures are 64-bit floats, read and
written whole. Never: a name, a path or anything else out of a request.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Mapping

from metrion.metrics import Board
from metrion.metrics.definitions import LAYOUTS

STRANGERS_EVENTS_PER_MINUTE = 60
"""Events kept of requests without a valid token, so that a stranger cannot fill the store."""

_DRAINING, _INGESTER, _SEGMENTS, _SEGMENT_BYTES, _PAST_UNRECORDED, _PAST_LOST, _PAST_UNKNOWN = range(7)
_OLDEST, _INGESTER_DEATHS = range(7, 9)
_HEAD_CELLS = 9
_PID, _IN_FLIGHT, _UNRECORDED, _LOST, _WAITING, _UNKNOWN = range(6)
_STRANGERS = slice(6, 6 + STRANGERS_EVENTS_PER_MINUTE)
_SLOT_CELLS = _STRANGERS.stop
_NOT_KNOWN = -1.0
_LONG_AGO = -1e9


class Scoreboard:
    """See the module. ``slots``: how many processes may be at work at the same time."""

    def __init__(self, slots: int = 1, *, clock: Callable[[], float] = time.monotonic) -> None:
        cells = memoryview(mmap.mmap(-1, 8 * (_HEAD_CELLS + slots * _SLOT_CELLS))).cast("d")
        self._head = cells[:_HEAD_CELLS]
        self._slots = [cells[start : start + _SLOT_CELLS] for start in range(_HEAD_CELLS, len(cells), _SLOT_CELLS)]
        self._head[_SEGMENTS] = self._head[_SEGMENT_BYTES] = _NOT_KNOWN
        for cells_of_slot in self._slots:
            for index in range(_STRANGERS.start, _STRANGERS.stop):
                cells_of_slot[index] = _LONG_AGO
        self._clock = clock
        self.metrics = Board(slots, LAYOUTS)
        """What ``GET /metrics`` shows, a seat for each slot."""

    # --- by the owner ---

    def set_draining(self) -> None:
        """Record that the proxy takes no more requests."""
        self._head[_DRAINING] = 1

    def set_ingester(self, pid: int | None) -> None:
        """Record which process ingests; ``None``: none does."""
        self._head[_INGESTER] = pid or 0

    def set_ingester_deaths(self, deaths: int) -> None:
        """Record how many ingesters in a row ended soon after their start, as they do that cannot use the store."""
        self._head[_INGESTER_DEATHS] = deaths

    def set_backlog(self, segments: int, size: int, oldest: float | None = None) -> None:
        """Record how many segments, and bytes, of the journal are not in the store yet.

        ``oldest``: when the one was last written to that waits longest, in seconds since the epoch.
        """
        self._head[_SEGMENTS], self._head[_SEGMENT_BYTES] = segments, size
        self._head[_OLDEST] = oldest or 0.0

    def free_slot(self) -> int | None:
        """Return the number of a slot that no worker has."""
        return next((number for number, cells in enumerate(self._slots) if not cells[_PID]), None)

    def take(self, number: int, pid: int) -> Slot:
        """Give a slot to the worker ``pid``."""
        self._slots[number][_PID] = pid
        return Slot(self, number)

    def release(self, number: int) -> None:
        """Free the slot of a worker that has ended; what it has counted stays counted.

        Events that it still had in memory are lost.
        """
        cells = self._slots[number]
        cells[_LOST] += cells[_WAITING]
        cells[_PID] = cells[_IN_FLIGHT] = cells[_WAITING] = 0
        for past, counter in ((_PAST_UNRECORDED, _UNRECORDED), (_PAST_LOST, _LOST), (_PAST_UNKNOWN, _UNKNOWN)):
            self._head[past] += cells[counter]
            cells[counter] = 0

    # --- by anybody ---

    @property
    def lost_events(self) -> int:
        """How many events no disk took before they had to be given up."""
        return int(self._head[_PAST_LOST] + sum(cells[_LOST] for cells in self._slots))

    @property
    def waiting_events(self) -> int:
        """How many events wait in memory, because no disk takes them."""
        return int(sum(cells[_WAITING] for cells in self._slots))

    @property
    def ingester_deaths(self) -> int:
        """How many ingesters in a row ended soon after their start."""
        return int(self._head[_INGESTER_DEATHS])

    def ingest_lag(self, now: float) -> float | None:
        """Return for how long what is finished in the journal has waited for the ingester; ``None``: not known."""
        if self._head[_SEGMENTS] == _NOT_KNOWN:
            return None
        oldest = self._head[_OLDEST]
        return max(0.0, now - oldest) if oldest else 0.0

    def report(self, version: str) -> Mapping[str, object]:
        """Return what ``GET /health`` reports; a figure that is not known is ``None``."""
        head = [int(cell) for cell in self._head]
        workers = [[int(cell) for cell in cells[: _STRANGERS.start]] for cells in self._slots if cells[_PID]]
        return {
            "status": "draining" if head[_DRAINING] else "ok",
            "version": version,
            "in_flight": sum(cells[_IN_FLIGHT] for cells in workers),
            "unrecorded_refusals": head[_PAST_UNRECORDED] + sum(cells[_UNRECORDED] for cells in workers),
            "unknown_addresses": head[_PAST_UNKNOWN] + sum(cells[_UNKNOWN] for cells in workers),
            "lost_events": self.lost_events,
            "workers": [{"pid": cells[_PID], "in_flight": cells[_IN_FLIGHT]} for cells in workers],
            "ingester": {"pid": head[_INGESTER] or None, "alive": bool(head[_INGESTER])},
            "journal": {
                "segments": _known(head[_SEGMENTS]),
                "bytes": _known(head[_SEGMENT_BYTES]),
            },
        }

    def _admit_stranger(self, number: int) -> bool:
        """Whether a stranger's event may be kept; all workers' events of the last minute count.

        The slot's oldest time is given up for the new one *before* all are counted: of two workers that come at once
        both may be refused, never both admitted.
        """
        a_minute_ago = (now := self._clock()) - 60
        cells = self._slots[number]
        times = cells[_STRANGERS].tolist()
        if (oldest := min(times)) > a_minute_ago:
            return False
        cell = _STRANGERS.start + times.index(oldest)
        cells[cell] = now
        recent = sum(time > a_minute_ago for cells in self._slots for time in cells[_STRANGERS].tolist())
        if recent <= STRANGERS_EVENTS_PER_MINUTE:
            return True
        cells[cell] = oldest
        return False


class Slot:
    """A worker's own figures on the scoreboard."""

    def __init__(self, scoreboard: Scoreboard, number: int) -> None:
        self.scoreboard = scoreboard
        self._number = number
        self._cells = scoreboard._slots[number]
        self.metrics = scoreboard.metrics.seat(number)
        """The tables in which this worker counts."""

    def note_requests(self, in_flight: int) -> None:
        """Record how many requests are in flight."""
        self._cells[_IN_FLIGHT] = in_flight

    def note_events(self, lost: int, waiting: int) -> None:
        """Record how many events no disk took: those that are lost, and those that wait in memory."""
        self._cells[_LOST], self._cells[_WAITING] = lost, waiting

    def admit_stranger(self) -> bool:
        """Whether the event of a request without a valid token may be kept; if not, it is counted here."""
        if self.scoreboard._admit_stranger(self._number):
            return True
        self._cells[_UNRECORDED] += 1
        return False

    def count_unknown_address(self) -> None:
        """Count a request to an address where nothing is."""
        self._cells[_UNKNOWN] += 1


def _known(cell: int) -> int | None:
    return None if cell == _NOT_KNOWN else cell
