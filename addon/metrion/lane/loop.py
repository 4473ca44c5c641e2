"""Makes the event loop that a worker runs on: uvloop's where it is installed, asyncio's otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from importlib import import_module
from typing import cast


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new loop; nothing runs on it yet."""
    try:
        uvloop = import_module("uvloop")
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    loop.create_task = partial(_create_task, loop, loop.create_task)  # type: ignore[method-assign]  # see there
    return loop


def _create_task[T](
    loop: asyncio.AbstractEventLoop,
    own: Callable[..., asyncio.Task[T]],
    coroutine: Coroutine[object, object, T],
    *,
    name: str | None = None,
    **options: object,
) -> asyncio.Task[T]:
    """Give a task factory, such as mitmproxy's, only the options that somebody set.

    uvloop 0.23 hands on ``eager_start`` unasked, which Python's own factory does not know before 3.13.3.
    """
    factory = cast("Callable[..., asyncio.Task[T]] | None", loop.get_task_factory())
    if factory is None:
        return own(coroutine, name=name, **options)
    task = factory(loop, coroutine, **{option: value for option, value in options.items() if value is not None})
    if name is not None:
        task.set_name(name)
    return task
