"""The loop runs what mitmproxy does with it, whichever it is."""

from __future__ import annotations

import asyncio
import contextvars
import importlib.util
import sys
from collections.abc import Iterator

import pytest
from mitmproxy.utils.asyncio_utils import set_eager_task_factory

from metrion.lane.loop import new_event_loop

HAS_UVLOOP = importlib.util.find_spec("uvloop") is not None


@pytest.fixture(params=["installed", "absent"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[asyncio.AbstractEventLoop]:
    if request.param == "absent":
        monkeypatch.setitem(sys.modules, "uvloop", None)
    loop = new_event_loop()
    assert type(loop).__module__.startswith("uvloop") == (HAS_UVLOOP and request.param == "installed")
    yield loop
    loop.close()


def test_tasks_of_mitmproxy_start_eagerly(loop: asyncio.AbstractEventLoop) -> None:
    order: list[str | None] = []
    variable = contextvars.ContextVar[str]("variable")
    context = contextvars.copy_context()
    context.run(variable.set, "set")

    async def note(what: str) -> str:
        order.append(what)
        return variable.get("unset")

    async def run() -> list[str]:
        with set_eager_task_factory():
            tasks = [loop.create_task(note("a"), name="eager"), loop.create_task(note("b"), context=context)]
            order.append(tasks[0].get_name())
            return await asyncio.gather(*tasks)

    assert loop.run_until_complete(run()) == ["unset", "set"]
    assert order == ["a", "b", "eager"]


def test_tasks_without_a_factory(loop: asyncio.AbstractEventLoop) -> None:
    order: list[str] = []

    async def note() -> None:
        order.append("task")

    async def run() -> None:
        task = asyncio.create_task(note(), name="lazy")
        order.append(task.get_name())
        await task

    loop.run_until_complete(run())
    assert order == ["lazy", "task"]
