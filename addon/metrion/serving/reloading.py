"""Has a running proxy take what has changed in its files: configuration, prices and certificate. All of it, or nothing.

In: the files, and the workers. Out: what there is to say, for whoever asked and for the log. Connections go on, and so
do requests, as they were decided. A worker that does not take it is replaced by one that has it from its start.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Collection

from metrion.errors import MetrionError, ServeError
from metrion.serving.configuration import Configuration
from metrion.serving.orders import packed
from metrion.serving.reload_requests import Answer
from metrion.serving.tls import ServerTls
from metrion.serving.worker_process import WorkerProcess

logger = logging.getLogger(__name__)

_SECONDS = 5.0
"""How long workers may take, all of them together."""


class Reloading:
    """See the module. Lives in the supervisor."""

    def __init__(self, configuration: Configuration, tls: ServerTls | None = None) -> None:
        self.configuration = configuration
        """What workers have that start now."""
        self._tls = tls

    def tend(self) -> None:
        """Look after the certificate, and say once what has become of it."""
        if self._tls is None:
            return
        try:
            if self._tls.refresh():
                logger.info("New connections get the new certificate of %s.", self._tls.certificate)
        except ServeError as error:
            logger.error("The certificate from before stays in use: %s", error)  # noqa: TRY400 -- says it all

    def reload(self, workers: Collection[WorkerProcess]) -> Answer:
        """Read everything again, and have the workers take it."""
        try:
            now, words = self.configuration.again()
            if self._tls is not None and self._tls.refresh(at_once=True):
                words += f" New connections get the new certificate of {self._tls.certificate}."
        except MetrionError as error:
            logger.error("Nothing was reloaded: %s", error)  # noqa: TRY400 -- says it all
            return Answer(False, str(error))
        self.configuration = now
        if late := _give(now, workers):
            words += f" {late} of {len(workers)} workers did not take it, and are replaced by others that have it."
        logger.info("Reloaded. %s", words)
        return Answer(True, words)


def _give(configuration: Configuration, workers: Collection[WorkerProcess]) -> int:
    """Give all workers a configuration; return how many did not take it."""
    order, until = packed(configuration), time.monotonic() + _SECONDS
    sent = [worker for worker in workers if worker.orders.send(order, _SECONDS)]
    taken = {worker for worker in sent if worker.orders.is_taken(until)}
    late = [worker for worker in workers if worker not in taken]
    for worker in late:
        worker.send(signal.SIGTERM)
    return len(late)
