"""Requests to addresses where nothing is, which have no event: the last one, as long as it is news."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from metrion.control import last_mistake
from metrion.doctor.findings import Finding, Subject, warn

_NEWS = timedelta(days=1)


def addresses(subject: Subject) -> Iterator[Finding]:
    """Report the last request whose path leads nowhere."""
    last = last_mistake(subject.settings)
    if last is not None and subject.now - last.at < _NEWS:
        yield warn(
            f"addresses: a request went where nothing is served: {last.method} {last.path} ({last.at} UTC)",
            "correct the base URL of the program that sent it; a GET of the proxy's / lists the right ones",
        )
