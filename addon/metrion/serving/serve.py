"""Runs a whole proxy: the port, the ingester, the authority for tunnels and the workers, until it is stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

from metrion import estimates
from metrion.errors import ServeError
from metrion.gateway.ingestion import Ingestion
from metrion.gateway.scoreboard import Scoreboard
from metrion.logs.output import FORMAT, LogOptions, configure
from metrion.logs.remembered import Remembered
from metrion.logs.request_log import RequestLog
from metrion.running.certificates import start_making_authority
from metrion.running.proxies import published
from metrion.running_proxy import words_of_holder
from metrion.serving.configuration import Configuration
from metrion.serving.listening import Listeners, Listening
from metrion.serving.reload_requests import ReloadRequests
from metrion.serving.reloading import Reloading
from metrion.serving.supervisor import Supervisor
from metrion.serving.tls import ServerTls
from metrion.settings import Settings

if TYPE_CHECKING:
    from metrion.serving.worker_context import WorkerContext


def run(
    settings: Settings,
    *,
    host: str,
    port: int,
    workers: int = 1,
    drain_seconds: float,
    on_listening: Callable[[Listening], None],
    tls: ServerTls | None = None,
    log: LogOptions | None = None,
    shared: bool = True,
) -> None:
    """Serve until a signal stops it. ``on_listening`` is called once, when all workers accept connections.

    ``shared``: each ``metrion run`` of this home may use this proxy.
    :raises ServeError: it cannot be done, workers keep dying, or events were lost.
    :raises StoreError: the ingester cannot start.
    """
    log = log or LogOptions()
    configure(log)
    os.environ[FORMAT] = log.format  # for the ingester
    reloading = Reloading(Configuration.of(settings), tls)
    remembered = Remembered(settings.providers)  # by all workers
    listeners = Listeners(host, port, workers, lambda host, port: words_of_holder(host, port, settings))
    scoreboard = Scoreboard(2 * workers)  # one that drains by itself and the one that replaces it are both at work
    ingestion = Ingestion(settings, scoreboard)
    authority = start_making_authority(settings.home)  # whom a client of a tunnel has to trust before it asks
    try:
        from metrion.serving import worker  # here, since it takes long: the ingester starts meanwhile

        estimates.prepare()  # so that all workers share its memory
        ingestion.wait_until_ready()
        if authority is not None:
            authority.wait()
        listeners.listen()
        request_log = RequestLog.of(settings.providers, log, remembered)

        def work(context: WorkerContext) -> None:
            worker.work(reloading.configuration, context, drain_seconds, tls.context if tls else None, request_log)

        listening = Listening(host, listeners.port, "https" if tls else "http")
        failures = []
        try:
            with (
                published(settings.home, listening.local_url) if shared else nullcontext(),
                ReloadRequests(settings.home) as requests,
            ):
                owned = (listeners, scoreboard, ingestion, reloading, requests)
                supervisor = Supervisor(work, *owned, workers=workers, drain_seconds=drain_seconds)
                supervisor.run(lambda: on_listening(listening))
        except ServeError as error:
            failures.append(str(error))
        if lost := scoreboard.lost_events:
            failures.append(_words_of_lost(lost, settings))
        if failures:
            raise ServeError(" ".join(failures))
    finally:
        ingestion.end()  # who waits for this process then finds everything in the store, and nobody at work in the home


def _words_of_lost(events: int, settings: Settings) -> str:
    are = "event is" if events == 1 else "events are"
    return f"{events} {are} lost: the disk of {settings.journal_dir} did not take what was kept in memory for it."
