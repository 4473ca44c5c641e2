"""What all connections share, and the control endpoint to it: registered answers, records of requests, held answers.

The control endpoint is under ``/__simulator__/``, all JSON:

* ``PUT answers/ID`` with ``{"status", "headers": [[name, value]…], "pieces": [base64…], "chunked"}`` registers an
  answer.
* ``GET requests?count=N&finished=1&timeout=S`` waits for N requests (finished ones), returns those it waited for and
  forgets the finished ones. The list may be shorter when the time is over.
* ``DELETE requests`` forgets all of them, those under way too.
* ``POST release?count=N&timeout=S`` waits until N answers are held, lets all held ones go on, returns their number.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any
from urllib.parse import parse_qsl

from metrion.simulator.answers import Request, error_answer, provider_answer, with_error_event
from metrion.simulator.answers.bodies import json_answer
from metrion.simulator.delivery import Answer, Selection
from metrion.simulator.received import Received

CONTROL_PREFIX = "/__simulator__/"
_KEPT_REQUESTS = 10_000


class Simulator:
    """The state of the process. It belongs to one event loop."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self.keys = keys
        self.answers: dict[str, Answer] = {}
        self.received: list[Received] = []
        self.numbers = count(1)
        self.connections = count(1)
        self.held: set[asyncio.Future[None]] = set()
        self._waiting: set[asyncio.Future[None]] = set()

    def record(self, received: Received) -> None:
        """Keep a record; the oldest goes when there are too many."""
        self.received.append(received)
        if len(self.received) > _KEPT_REQUESTS:
            del self.received[: _KEPT_REQUESTS // 10]
        self.changed()

    def changed(self) -> None:
        """Wake those that wait for a condition, so that they check it again."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Return when the condition holds or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    waiting = asyncio.get_running_loop().create_future()
                    self._waiting.add(waiting)
                    try:
                        await waiting
                    finally:
                        self._waiting.discard(waiting)

    async def hold(self) -> None:
        """Wait until the control endpoint releases all answers on hold."""
        held = asyncio.get_running_loop().create_future()
        self.held.add(held)
        self.changed()
        try:
            await held
        finally:
            self.held.discard(held)

    def answer(self, provider: str, request: Request, selection: Selection) -> Answer:
        """Choose the answer that a request gets.

        :raises LookupError: the request names an answer that is not registered.
        """
        if selection.answer is not None:
            if selection.answer not in self.answers:
                raise LookupError(f"no answer is registered as {selection.answer!r}")
            answer = self.answers[selection.answer]
        elif selection.error is not None:
            return error_answer(provider, selection.error, request.path)
        else:
            answer = provider_answer(provider, request, self.keys.get(provider))
        if selection.error_event is not None:
            answer = with_error_event(answer, provider, selection.error_event)
        return answer

    async def control(self, request: Request) -> Answer:
        """Answer a request to the control endpoint."""
        asked = dict(parse_qsl(request.query))
        wanted, seconds = int(asked.get("count", "0")), float(asked.get("timeout", "10"))
        match request.method, request.path.removeprefix(CONTROL_PREFIX).split("/"):
            case "PUT", ["answers", name]:
                self._register(name, json.loads(request.body))
                return json_answer(200, {"id": name})
            case "GET", ["requests"]:
                only_finished = asked.get("finished", "1") == "1"
                taken = await self._take_requests(wanted, seconds, only_finished=only_finished)
                return json_answer(200, [received.as_json() for received in taken])
            case "DELETE", ["requests"]:
                self.received = []
                return json_answer(200, {})
            case "POST", ["release"]:
                return json_answer(200, {"released": await self._release(wanted, seconds)})
            case _:
                return json_answer(404, {"error": f"no such control: {request.method} {request.path}"})

    def _register(self, name: str, given: dict[str, Any]) -> None:
        self.answers[name] = Answer(
            given["status"],
            tuple((header, value) for header, value in given["headers"]),
            tuple(map(base64.b64decode, given["pieces"])),
            given["chunked"],
        )

    async def _take_requests(self, wanted: int, seconds: float, *, only_finished: bool) -> list[Received]:
        """Wait for so many requests, return those that are there, and forget the finished ones."""

        def matching() -> list[Received]:
            return [received for received in self.received if received.finished or not only_finished]

        await self.wait_until(lambda: len(matching()) >= wanted, seconds)
        found = matching()
        self.received = [received for received in self.received if not received.finished]
        return found

    async def _release(self, wanted: int, seconds: float) -> int:
        """Wait until so many answers are held, let all go on, and return how many they were."""
        await self.wait_until(lambda: len(self.held) >= wanted, seconds)
        released = list(self.held)
        self.held.clear()
        for held in released:
            held.set_result(None)
        return len(released)
