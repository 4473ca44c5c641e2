"""How many requests each token has had forwarded, counted together by all processes of a home.

In: a token's quota. Out: ``None``, and the request is counted; or the limit that is used up, and nothing is counted.
Each token has one small file, which is changed in place under its own ``flock``. A decision is in the file before
anybody knows it, so a process that is killed takes no count with it, and its lock ends with it. A file holds the twelve
last calendar months, one number each, and a ring of the times of the last requests, as long as the limit in use needs.
The files that were used last stay open; a file that was replaced or removed is opened anew before anything is counted.

Counting is not authentication: a fault in it neither refuses requests nor lets anybody in. While a token's file cannot
be used, this process counts the 60 seconds of that token alone, does not limit the month, which it cannot know, says so
in the log, and tries the file again after :data:`RETRY_SECONDS`. Never: an exception, or a wait of more than
:data:`LOCK_SECONDS`, and that only for a process that was stopped at the wrong microsecond.

For each routed and admitted request, on the event loop: about 10 µs.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from metrion.admission.limits import SECOND, WINDOW, Excess, Moment, Used, judge, left_in_window, month_number
from metrion.model import Quota

logger = logging.getLogger(__name__)

LOCK_SECONDS = 0.5
"""How long a request waits for a file that another process counts in, for which that one needs microseconds."""
RETRY_SECONDS = 10.0
KEPT_DAYS = 62
"""A file that has not changed for so long holds nothing of this month, and is removed at the next start."""

_KEPT_OPEN = 128
"""How many descriptors stay open; the file of any other token is opened when it is needed."""
_LOCK_POLL_SECONDS = 50e-6

_HEAD = struct.Struct("<8s2Q")
"""Format, length of the ring, number of requests that were ever put into it: the next one's place is that modulo it."""
_MONTH = struct.Struct("<2I")
"""Number of the month, requests. A place for each of twelve: a clock that is set over a turn and back finds both."""
_TICK = struct.Struct("<Q")
_FORMAT = b"metrion1"
_MONTHS = 12
_RING_AT = 128
_RING = 128
"""The length to begin with; doubled where more requests than that are in the window."""
_SMALL = _RING_AT + _RING * _TICK.size
"""A file whose ring is of that length: read at once, and written at once, since no kill divides a write in one page."""


def last_counted(folder: Path, token: bytes) -> datetime | None:
    """Return when a request of a token was last counted, aware UTC; ``None``: never, or too long ago to know."""
    with contextlib.suppress(OSError):
        return datetime.fromtimestamp((folder / token.hex()).stat().st_mtime, UTC)
    return None


@dataclass(slots=True)
class _OwnCount:
    """What this process counts by itself while a file cannot be used."""

    retry_at: int = 0
    ticks: deque[int] = field(default_factory=deque)
    """Oldest first."""


class Counters:
    """The counts in ``folder``, which is made when it is needed.

    A process that forks does so before its first :meth:`take`: a lock is shared by all that inherit its descriptor.
    ``clock`` gives nanoseconds, the same in all processes of the machine and never set back; ``today`` aware UTC.
    """

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], int] = time.monotonic_ns,
        today: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._today = today
        self._open = dict[bytes, int]()
        """Descriptors by token; the one that was used last is the last."""
        self._own = dict[bytes, _OwnCount]()
        self._remove_old_files()

    def take(self, quota: Quota) -> Excess | None:
        """Count a request that is to be forwarded now, unless a limit is used up: then return that. Never raises."""
        own = self._own.get(quota.token)
        if own is None or self._clock() >= own.retry_at:
            try:
                excess = self._take(quota)
            except Exception as error:  # noqa: BLE001 -- see the module: no fault in counting may stop a request
                if own is None:
                    own = self._own[quota.token] = _OwnCount()
                    logger.warning(
                        "%s: requests cannot be counted together with other processes (%s); each process counts "
                        "alone, without the monthly limit, until they can.",
                        self._path(quota.token),
                        error,
                    )
                own.retry_at = self._clock() + int(RETRY_SECONDS * SECOND)
            else:
                self._own.pop(quota.token, None)
                return excess
        return self._take_alone(quota, own)

    def _path(self, token: bytes) -> str:
        return f"{self._folder}/{token.hex()}"

    def close(self) -> None:
        """Close all files; a later call of :meth:`take` opens them again."""
        while self._open:
            os.close(self._open.popitem()[1])

    # --- together

    def _take(self, quota: Quota) -> Excess | None:
        descriptor = self._locked(quota.token)
        try:
            excess = self._count(descriptor, quota)
        except BaseException:
            os.close(descriptor)  # and the lock ends
            raise
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        self._open[quota.token] = descriptor
        if len(self._open) > _KEPT_OPEN:
            os.close(self._open.pop(next(iter(self._open))))
        return excess

    def _locked(self, token: bytes) -> int:
        """Return a token's file, locked, still under its name, and no longer among the open ones."""
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            descriptor = self._open.pop(token, None) or self._opened(token)
            try:
                _lock(descriptor, deadline)
                if os.fstat(descriptor).st_nlink:  # else it was replaced, or removed with all its counts
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _opened(self, token: bytes) -> int:
        path, flags = self._path(token), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            return os.open(path, flags, 0o600)

    def _count(self, descriptor: int, quota: Quota) -> Excess | None:
        # The clocks are read under the lock, so that the times in the file are in order, whoever wrote them.
        moment = Moment(self._clock(), self._today())
        data = bytearray(os.pread(descriptor, _SMALL, 0))
        if not data.startswith(_FORMAT) or len(data) < _RING_AT:  # new, or damaged by a power cut
            data = bytearray(_RING_AT)
            _HEAD.pack_into(data, 0, _FORMAT, _RING, 0)
        _, length, total = _HEAD.unpack_from(data)
        number = month_number(moment.now)
        month_at = _HEAD.size + number % _MONTHS * _MONTH.size
        counted_number, counted = _MONTH.unpack_from(data, month_at)
        this_month = counted if counted_number == number else 0

        def tick(back: int) -> int | None:
            """Return the time of the request that is so many places back."""
            if back > total:
                return None
            at = _RING_AT + (total - back) % length * _TICK.size
            if at + _TICK.size > len(data):
                found = os.pread(descriptor, _TICK.size, at)
                return int.from_bytes(found, "little") if len(found) == _TICK.size else None
            when: int = _TICK.unpack_from(data, at)[0]
            return when

        limit = quota.requests_per_minute
        if limit is None:
            used, is_full = Used(this_month, None, None), False
        else:
            oldest = tick(min(limit, length))
            is_recent = left_in_window(oldest, moment.tick) > 0
            is_full = is_recent and limit > length
            used = Used(this_month, None, None) if is_full or not is_recent else Used(this_month, oldest, tick(1))
        excess = judge(quota, used, moment)
        if excess is not None:
            return excess

        _MONTH.pack_into(data, month_at, number, this_month + 1)
        if is_full:
            ring = os.pread(descriptor, length * _TICK.size, _RING_AT)
            _replace(self._path(quota.token), data[:_RING_AT], total, _doubled(ring, length, total), moment.tick)
        else:
            _write(descriptor, data, None if limit is None else moment.tick)
        return None

    # --- alone

    def _take_alone(self, quota: Quota, own: _OwnCount) -> Excess | None:
        moment = Moment(self._clock(), self._today())
        ticks, limit = own.ticks, quota.requests_per_minute
        while ticks and moment.tick - ticks[0] >= WINDOW:
            ticks.popleft()
        nth_last = ticks[-limit] if limit is not None and len(ticks) >= limit else None
        excess = judge(quota, Used(0, nth_last, ticks[-1] if ticks else None), moment)
        if excess is None:
            ticks.append(moment.tick)
        return excess

    # --- housekeeping

    def _remove_old_files(self) -> None:
        oldest = time.time() - KEPT_DAYS * 86_400
        with contextlib.suppress(OSError):  # the folder is not there yet, or another process removes them too
            for entry in os.scandir(self._folder):
                if entry.stat().st_mtime < oldest:
                    _remove_if_older(entry.path, oldest)


def _write(descriptor: int, data: bytearray, tick: int | None) -> None:
    """Put one more request into a file that begins with ``data``, in its ring too if it has a ``tick``."""
    if tick is None:
        os.pwrite(descriptor, data[:_RING_AT], 0)
        return
    _, length, total = _HEAD.unpack_from(data)
    at = _RING_AT + total % length * _TICK.size
    end = at + _TICK.size
    _HEAD.pack_into(data, 0, _FORMAT, length, total + 1)
    if end <= _SMALL:
        if len(data) < end:
            data += bytes(end - len(data))
        _TICK.pack_into(data, at, tick)
        os.pwrite(descriptor, data, 0)
    else:
        # First the time, then the head that makes it count: killed in between, nothing has happened.
        os.pwrite(descriptor, _TICK.pack(tick), at)
        os.pwrite(descriptor, data[:_RING_AT], 0)


def _doubled(ring: bytes, length: int, total: int) -> bytearray:
    """Return a full ring twice as long: each of its two laps comes into the half where its places are now."""
    lap, turn = total // length % 2, total % length
    longer = bytearray(2 * length * _TICK.size)
    for half, first, last in ((lap, 0, turn), (1 - lap, turn, length)):
        piece = ring[first * _TICK.size : last * _TICK.size]
        at = (half * length + first) * _TICK.size
        longer[at : at + len(piece)] = piece
    return longer


def _replace(path: str, head: bytearray, total: int, ring: bytearray, tick: int) -> None:
    """Put a file with another ring, and one more request in it, in the place of the locked one."""
    length = len(ring) // _TICK.size
    _TICK.pack_into(ring, total % length * _TICK.size, tick)
    _HEAD.pack_into(head, 0, _FORMAT, length, total + 1)
    draft = Path(f"{path}.longer")
    draft.touch(mode=0o600)
    draft.write_bytes(head + ring)
    draft.replace(path)


def _lock(descriptor: int, deadline: float) -> None:
    while not _is_locked(descriptor):
        if time.monotonic() > deadline:
            raise TimeoutError(f"another process has held it for {LOCK_SECONDS} s")
        time.sleep(_LOCK_POLL_SECONDS)


def _is_locked(descriptor: int) -> bool:
    """Try to lock an open file for oneself."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_if_older(path: str, oldest: float) -> None:
    """Remove a file that nobody counts in at this moment, and did not a moment ago."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if _is_locked(descriptor) and os.fstat(descriptor).st_mtime < oldest:
            Path(path).unlink()
    finally:
        os.close(descriptor)
