"""What of ``metrion token`` is about budgets: an option, and the control store for a command that may set one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, closing
from typing import Any

import click

from metrion.control import ControlStore
from metrion.settings import Settings

UNPRICED = click.option(
    "--unpriced",
    type=click.Choice(("allow", "refuse")),
    help="Whether it may use models without a price where a budget binds it.  [default: refuse]",
)


def open_for(settings: Settings, given: Mapping[str, Any]) -> AbstractContextManager[ControlStore]:
    """Open the control store; where the options give a budget, so that it is counted."""
    if given["monthly_budget"] is None:
        return closing(ControlStore.open(settings))
    from metrion.budgets.changing import open_control

    return open_control(settings)
