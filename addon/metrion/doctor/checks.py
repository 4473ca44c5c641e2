"""All checks, in the order in which one would set up an installation.

In: which configuration, and the environment. Out: findings, one after the other, each with its level. Checks read, and
change nothing but what every command may (opening an older database brings it up to date). They work on a home that
does not exist yet and while a proxy runs. Never: a secret in a finding, or an exception; a check that fails is a
finding.

A new check is a function from a :class:`Subject` to findings, and a row in :data:`CHECKS`; one that asks ``events`` has
its row in :data:`metrion.doctor.traffic.QUESTIONS`, which are asked where the store answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from metrion.doctor.access import accounts_tokens_and_keys
from metrion.doctor.configuration import read_configuration
from metrion.doctor.findings import Check, Finding, Level, Subject
from metrion.doctor.home import disk_space, home
from metrion.doctor.installation import estimates, versions
from metrion.doctor.journal import journal
from metrion.doctor.mistakes import addresses
from metrion.doctor.network import collector, proxy, upstreams
from metrion.doctor.policies import policies
from metrion.doctor.prices import prices
from metrion.doctor.store import store
from metrion.doctor.traffic import generations

CHECKS: tuple[Check, ...] = (
    versions,
    home,
    disk_space,
    accounts_tokens_and_keys,
    policies,
    prices,
    estimates,
    journal,
    store,
    generations,
    proxy,
    addresses,
    collector,
    upstreams,
)


def examine(config: Path | None, environ: Mapping[str, str], *, network: bool) -> Iterator[Finding]:
    """Run every check; ``network``: try to reach the providers, too."""
    settings, findings = read_configuration(config, environ)
    yield from findings
    subject = Subject(settings, network, datetime.now(UTC).replace(tzinfo=None))
    for check in CHECKS:
        try:
            yield from check(subject)
        except Exception as error:  # noqa: BLE001 -- one check that breaks must not hide what the others find
            name = check.__name__.strip("_").replace("_", " ")
            yield Finding(Level.FAIL, f"{name}: cannot be checked: {type(error).__name__}: {error}")
