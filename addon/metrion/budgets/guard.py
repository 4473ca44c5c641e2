"""The guard against runaways: what a token or an account has used in the last 60 seconds, and requests that repeat.

In: requests before they go out, and events. Out: what is too much, or ``None``. Each token and account has one small
file that all processes of a home share in memory, under its ``flock``: dollars and tokens by the second, and of the
last request a keyed hash of its body, of which nothing can be read. It is a guard and no budget: a fault in it lets
requests pass, and is logged once.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from functools import partial
from hashlib import blake2b
from pathlib import Path

from metrion.admission.runaways import Runaway
from metrion.budgets.ledger import LOCK_SECONDS, File
from metrion.budgets.page import MOST
from metrion.faults import log_fault
from metrion.model import PICODOLLARS, Asked, Caller, Event, Forward, GuardLimits, picodollars
from metrion.settings import GuardSettings, PerMinute

logger = logging.getLogger(__name__)

SECONDS = 60
_BUCKETS_AT, _BUCKET = 16, 3
"""Of each of the last seconds: which it is, picodollars, tokens."""
_HASH, _TIMES, _LAST_AT = 8, 9, 10
_KEY = "key"
_MOST_OPEN = 512


class Guard:
    """See the module. ``folder``: where its files are."""

    def __init__(self, settings: GuardSettings, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._files = dict[str, File]()
        self._key: bytes | None = None
        self._is_failing = False
        self.own: Mapping[tuple[str, str], GuardLimits] = {}
        """The limits of those that have their own, as the last decision saw them."""
        self.use(settings)

    def use(self, settings: GuardSettings) -> None:
        """Work by these limits from the next request on."""
        self._settings = settings
        identical = settings.identical_requests or 0
        self._of_tokens = _limits(settings.token, identical, settings.then)
        self._of_accounts = _limits(settings.account, 0, settings.then)
        self._without_token = _limits(settings.account, identical, settings.then)
        """What bounds an account by requests that no token identifies."""

    @property
    def is_on(self) -> bool:
        """Whether anything is guarded."""
        return bool(self.own) or self._settings.is_on

    def reads_body_of(self, caller: Caller) -> bool:
        """Whether requests of a caller may repeat only so often."""
        if not self.is_on:
            return False
        watched = self._watched(caller.token_name, caller.account)
        return any(limits.identical_requests for _, _, limits, _ in watched)

    def check(self, forward: Forward, asked: Asked | None) -> Runaway | None:
        """Say what is too much of a request that may cost something. Never raises."""
        try:
            return self._check(forward, asked)
        except Exception as error:  # noqa: BLE001 -- see the module
            self._fail(error)
            return None

    def add(self, event: Event) -> None:
        """Count what an event has used. Never raises."""
        tokens = (event.input_tokens or 0) + (event.output_tokens or 0)
        cost = picodollars(event.cost_usd) if event.cost_usd is not None and event.cost_usd > 0 else 0
        if not (tokens or cost):
            return
        try:
            for kind, name, limits, _ in self._watched(event.token_name, event.account):
                if limits.is_on:
                    self._add(self._file(kind, name), cost, tokens)
        except Exception as error:  # noqa: BLE001 -- see the module
            self._fail(error)

    def close(self) -> None:
        """Close all files."""
        while self._files:
            self._files.popitem()[1].close()

    def _check(self, forward: Forward, asked: Asked | None) -> Runaway | None:
        caller, now = forward.caller, int(self._clock())
        watched = self._watched(caller.token_name, caller.account)
        warning: Runaway | None = None
        for check in (self._rate, partial(self._repeated, body=asked.body if asked is not None else b"")):
            for kind, name, limits, is_own in watched:
                if (found := check(kind, name, limits, now)) is not None:
                    found = found._replace(then=limits.then, is_own=is_own)
                    if limits.then == "refuse":
                        return found
                    warning = warning or found
        return warning

    def _watched(self, token: str | None, account: str | None) -> list[tuple[str, str, GuardLimits, bool]]:
        """Return what bounds a caller, and whether that is its own."""
        of_account = self._without_token if token is None else self._of_accounts
        watched = []
        for kind, name, for_all in (("token", token, self._of_tokens), ("account", account, of_account)):
            if name is not None:
                own = self.own.get((kind, name))
                watched.append((kind, name, for_all if own is None else own, own is not None))
        return watched

    def _rate(self, kind: str, name: str, limits: GuardLimits, now: int) -> Runaway | None:
        if not limits.is_on:
            return None
        cells = self._file(kind, name).page.cells  # read without the lock: a sum that changes just now is no fault
        recent = [
            (cells[at], cells[at + 1], cells[at + 2])
            for at in range(_BUCKETS_AT, _BUCKETS_AT + SECONDS * _BUCKET, _BUCKET)
            if now - SECONDS < cells[at] <= now
        ]
        wait = SECONDS - (now - min((second for second, _, _ in recent), default=now))
        most = limits.usd_per_minute
        if most and sum(usd for _, usd, _ in recent) >= most * PICODOLLARS:
            return Runaway(kind, name, f"{most.normalize():f} USD", wait)
        if limits.tokens_per_minute and sum(each[2] for each in recent) >= limits.tokens_per_minute:
            return Runaway(kind, name, f"{limits.tokens_per_minute:,} tokens", wait)
        return None

    def _repeated(self, kind: str, name: str, limits: GuardLimits, now: int, *, body: bytes) -> Runaway | None:
        most = limits.identical_requests
        if not most or not body:
            return None
        file = self._file(kind, name)  # which makes the folder
        digest = int.from_bytes(blake2b(body, key=self._own_key(), digest_size=8).digest(), "little", signed=True)
        cells = file.page.cells
        file.lock(time.monotonic() + LOCK_SECONDS)
        try:
            repeats = cells[_HASH] == digest and 0 <= now - cells[_LAST_AT] < SECONDS
            if repeats and cells[_TIMES] >= most:
                return Runaway(
                    kind, name, f"{most} identical requests in a row", SECONDS - (now - cells[_LAST_AT]), True
                )
            cells[_HASH], cells[_TIMES], cells[_LAST_AT] = digest, cells[_TIMES] + 1 if repeats else 1, now
        finally:
            file.unlock()
        return None

    def _add(self, file: File, cost: int, tokens: int) -> None:
        now, cells = int(self._clock()), file.page.cells
        at = _BUCKETS_AT + now % SECONDS * _BUCKET
        file.lock(time.monotonic() + LOCK_SECONDS)
        try:
            if cells[at] != now:
                cells[at], cells[at + 1], cells[at + 2] = now, 0, 0
            cells[at + 1] = min(MOST, cells[at + 1] + cost)
            cells[at + 2] = min(MOST, cells[at + 2] + tokens)
        finally:
            file.unlock()

    def _file(self, kind: str, name: str) -> File:
        key = f"{kind}-{blake2b(name.encode('utf-8', 'replace'), digest_size=16).hexdigest()}"
        file = self._files.get(key)
        if file is not None and file.is_gone(time.monotonic()):
            self._files.pop(key).close()
            file = None
        if file is None:
            if len(self._files) >= _MOST_OPEN:
                self._files.pop(next(iter(self._files))).close()
            file = self._files[key] = File(self._folder, key)
        return file

    def _own_key(self) -> bytes:
        """Return the key of the home's hashes, which is made once."""
        if self._key is None:
            path = self._folder / _KEY
            with suppress(FileExistsError):
                draft = self._folder / f"{_KEY}.{secrets.token_hex(8)}"
                draft.touch(mode=0o600)
                draft.write_bytes(secrets.token_bytes(32))
                try:
                    os.link(draft, path)
                finally:
                    draft.unlink()
            self._key = path.read_bytes()
        return self._key

    def _fail(self, error: Exception) -> None:
        if not self._is_failing:
            self._is_failing = True
            log_fault(logger, "The guard cannot count, and lets requests pass", error)


def _limits(each: PerMinute, identical: int, then: str) -> GuardLimits:
    return GuardLimits(Decimal(str(each.usd_per_minute or 0)), each.tokens_per_minute or 0, identical, then)
