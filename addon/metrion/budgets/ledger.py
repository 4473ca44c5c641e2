"""What of each budget is spent and held, counted together by all processes of a home.

In: what a request may cost, and later what it cost. Out: whether each of its budgets has room. Each budget has one
small file, shared in memory and changed under its own ``flock``; a request that counts for several takes their locks in
the order of their ids, and holds all of them or none. A decision is in the files before anybody knows it.

A process that is killed leaves what it held in its slot. That it is dead is seen from a file whose lock it held, and
the next count over the events frees the slot. An event is in the journal before it is counted here, and each slot says
up to which event a count has counted, so that every event counts once.

:raises OSError: a file cannot be used. What a process holds is also in its own memory, and is put right by its next
change of the same file.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from collections.abc import Sequence
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from pathlib import Path
from typing import NamedTuple

from metrion.budgets.page import MOST, PAGE_BYTES, Page
from metrion.model import Budget
from metrion.store.locks import taken

LOCK_SECONDS = 0.5
"""How long a request waits for a file that another process changes, for which that one needs microseconds."""
_KEPT_OPEN = 256
_CHECK_SECONDS = 0.25
_LOCK_POLL_SECONDS = 50e-6
_LOCK = LOCK_EX | LOCK_NB
_ALIVE = ".alive"
RECOUNT = "recount"
"""The file of a home's budgets that asks for a count."""


class Bound(NamedTuple):
    """A budget and the key of the span that counts."""

    budget: Budget
    key: int


class State(NamedTuple):
    """What a budget's file says."""

    spent: int | None
    """``None``: it is not known."""
    held: int
    frees_at: int = 0


class Short(NamedTuple):
    """A budget without room for a request."""

    budget: Budget
    state: State


class Held(NamedTuple):
    """A request for which its budgets have room, or are only to warn."""

    least: int
    """What is left of the budget that has least."""
    over: tuple[Short, ...] = ()
    """The budgets that are to warn, and have no room."""
    is_new: bool = False
    """No request before was over one of them in this span."""


class File:
    """One budget's file, open and shared in memory.

    Closing the descriptor also ends the lock.
    """

    __slots__ = ("_map", "checked_at", "descriptor", "number", "own", "page", "place")

    def __init__(self, folder: Path, number: int | str) -> None:
        self.number = number if isinstance(number, int) else 0
        self.descriptor = _opened(path_of(folder, number), folder)
        self.place = 0
        """Where the slot of this process is."""
        self.own = 0
        """What this process holds."""
        self.checked_at = time.monotonic()
        """When it was last seen to be the file of its name."""
        try:
            self.lock(self.checked_at + LOCK_SECONDS)
            missing = PAGE_BYTES - os.fstat(self.descriptor).st_size
            if missing > 0:  # written, so that a full disk is an error here and not a signal later
                os.pwrite(self.descriptor, bytes(missing), PAGE_BYTES - missing)
            self._map = mmap.mmap(self.descriptor, PAGE_BYTES)
            self.page = Page(self._map)
            self.unlock()
        except BaseException:
            os.close(self.descriptor)
            raise

    def lock(self, deadline: float) -> None:
        """Lock it; :raises TimeoutError: somebody else has it until the deadline, on the monotonic clock."""
        while True:
            try:
                flock(self.descriptor, _LOCK)
            except BlockingIOError:
                pass
            else:
                return
            if time.monotonic() > deadline:
                raise TimeoutError("another process has held a budget's file for too long")
            time.sleep(_LOCK_POLL_SECONDS)

    def unlock(self) -> None:
        """Unlock it."""
        flock(self.descriptor, LOCK_UN)

    def is_gone(self, now: float) -> bool:
        """Whether the file was removed. Looked at from time to time only: nobody but a person removes one in use."""
        if now - self.checked_at < _CHECK_SECONDS:
            return False
        self.checked_at = now
        return not os.fstat(self.descriptor).st_nlink

    def close(self) -> None:
        """Close it."""
        self.page.cells.release()
        self._map.close()
        os.close(self.descriptor)


class Ledger:
    """See the module. ``process`` tells this process from all others that ever were: a number below 2**64."""

    def __init__(self, folder: Path, process: int) -> None:
        self._folder = folder
        self._process = process
        self._files = dict[int, File]()
        """By the id of the budget."""
        self._alive: int | None = None

    def hold(self, bounds: Sequence[Bound], amount: int, released: Sequence[int] = (), freed: int = 0) -> Held | Short:
        """Hold ``amount`` of each budget, unless one of them has no room: then change nothing.

        Bounds are in the order of their budgets' ids. ``freed`` is let go of in the same moment, of the budgets whose
        ids are ``released``. A budget that refuses is named before one that goes on with what is cheaper.
        """
        numbers = [budget.id for budget, _ in bounds]
        files = self._lock(sorted({*numbers, *released}) if released else numbers)
        try:
            binding = [file for file in files if file.number in numbers] if released else files
            least, over, spans = MOST, [], []
            yielding: Short | None = None
            for (budget, key), file in zip(bounds, binding, strict=True):
                page = file.page
                at, held = page.turn(key), page.held
                if budget.id in released:
                    held = max(0, held - freed)
                if at is None:
                    return Short(budget, State(None, held))
                spent = page.spent(at)
                left = budget.limit - spent - held
                if left <= 0 or amount > left:
                    short = Short(budget, State(spent, held, page.frees_at))
                    if budget.then == "cheaper":
                        yielding = yielding or short
                    elif budget.then != "warn":
                        return short
                    else:
                        over.append(short)
                        spans.append((page, at))
                least = min(least, left)
            if yielding is not None:
                return yielding
            for file in files:
                file.place = file.page.slot(self._process, file.place)
                if file.number in released:
                    file.own = max(0, file.own - freed)
                if not released or file.number in numbers:
                    file.own += amount
                file.page.hold(file.place, file.own)
            is_new = [page.warn(at) for page, at in spans]
            return Held(least - amount, tuple(over), True in is_new)
        finally:
            for file in files:
                flock(file.descriptor, LOCK_UN)

    def settle(
        self, costs: Sequence[Bound], cost: int, event: int, released: Sequence[int] = (), amount: int = 0
    ) -> None:
        """Count an event for its budgets, and let go of ``amount`` of those that held it, which are the ids in order.

        ``event`` is its number among this process's events; 0: there is no event.
        """
        keys = {budget.id: key for budget, key in costs}
        files = self._lock([*keys] if not released or [*keys] == released else sorted({*keys, *released}))
        try:
            for file in files:
                page, number = file.page, file.number
                file.place = place = page.slot(self._process, file.place)
                if number in keys:
                    page.count(place, event, cost, keys[number])
                if number in released:
                    file.own = max(0, file.own - amount)
                    page.hold(place, file.own)
        finally:
            for file in files:
                flock(file.descriptor, LOCK_UN)

    def close(self) -> None:
        """Close all files, and be dead to the others."""
        while self._files:
            self._files.popitem()[1].close()
        if self._alive is not None:
            os.close(self._alive)
            self._alive = None

    def _lock(self, numbers: Sequence[int]) -> list[File]:
        """Lock the files of some budgets, in the order of their ids."""
        if self._alive is None:  # before anything in a file is its own
            self._alive = _locked_file(self._folder, self._process)
        locked: list[File] = []
        now = time.monotonic()
        deadline = now + LOCK_SECONDS
        try:
            for number in numbers:
                file = self._files.get(number) or self._open(number)
                file.lock(deadline)
                locked.append(file)
                if now - file.checked_at >= _CHECK_SECONDS and file.is_gone(now):
                    locked.pop()
                    del self._files[number]
                    file.close()
                    again = self._open(number)
                    again.own = file.own
                    again.lock(deadline)
                    locked.append(again)
        except BaseException:
            for file in locked:
                file.unlock()
            raise
        return locked

    def _open(self, number: int) -> File:
        if len(self._files) >= _KEPT_OPEN:
            for idle in [each for each in self._files.values() if not each.own][: _KEPT_OPEN // 2]:
                del self._files[idle.number]
                idle.close()
        file = self._files[number] = File(self._folder, number)
        return file


# --- files ------------------------------------------------------------------------------------------------------------


def path_of(folder: Path, number: int | str) -> str:
    """Return where a budget's file is."""
    return f"{folder}/{number}"


def _opened(path: str, folder: Path) -> int:
    """Open a budget's file; make it, with the folder, where it is missing."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)


def read(folder: Path, number: int) -> Page | None:
    """Return what a budget's file holds now; ``None``: there is none."""
    if not os.path.exists(path_of(folder, number)):  # noqa: PTH110 -- a string
        return None
    file = File(folder, number)
    try:
        file.lock(time.monotonic() + LOCK_SECONDS)
        return Page(bytearray(file.page.cells))
    finally:
        file.close()


# --- who is alive -----------------------------------------------------------------------------------------------------


def _locked_file(folder: Path, process: int) -> int:
    """Make the file by whose lock others see that a process lives."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        descriptor = os.open(f"{folder}/{process:x}{_ALIVE}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if taken(descriptor) and os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # somebody looked at it just now, and took it for that of a dead process


def is_dead(folder: Path, process: int) -> bool:
    """Return whether a process that used the budgets has ended."""
    try:
        descriptor = os.open(f"{folder}/{process:x}{_ALIVE}", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        return taken(descriptor)
    finally:
        os.close(descriptor)


def the_dead(folder: Path) -> list[int]:
    """Return the processes that have ended, and whose files are still there."""
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            name = entry.name.removesuffix(_ALIVE)
            if name != entry.name and is_dead(folder, int(name, 16)):
                found.append(int(name, 16))
    return found


def bury(folder: Path, process: int) -> None:
    """Remove the file of a process that has ended, once no slot is its any more."""
    with contextlib.suppress(OSError):
        os.unlink(f"{folder}/{process:x}{_ALIVE}")  # noqa: PTH108 -- a third of the time of Path.unlink


def ask_for_recount(folder: Path) -> None:
    """Have the events counted soon."""
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / RECOUNT).touch(mode=0o600)
