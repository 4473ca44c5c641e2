"""Whatever the command line can do with what is kept, the API can, but for what has its reason here."""

from __future__ import annotations

import importlib

import click
import pytest

from metrion.api.operations import OPERATIONS
from metrion.cli import COMMANDS

ASKED_AS = {
    "account create": "createAccount",
    "account list": "listAccounts",
    "account remove": "removeAccount",
    "account set": "setAccount",
    "admin create": "createAdmin",
    "admin list": "listAdmins",
    "admin revoke": "revokeAdmin",
    "alert add": "addAlert",
    "alert history": "listAlertHistory",
    "alert list": "listAlerts",
    "alert remove": "removeAlert",
    "alert test": "testAlert",
    "audit": "listAudit",
    "budget list": "listBudgets",
    "budget remove": "removeBudget",
    "budget set": "setBudget",
    "guard list": "listGuards",
    "guard remove": "removeGuard",
    "guard set": "setGuard",
    "key list": "listKeys",
    "key remove": "removeKey",
    "key rotate": "rotateKey",
    "key rotate-master": "rotateMasterKey",
    "key set": "setKey",
    "prices show": "price",
    "report": "usage",
    "show": "getEvent",
    "tail": "listEvents",
    "token create": "createToken",
    "token list": "listTokens",
    "token revoke": "revokeToken",
    "token rotate": "rotateToken",
    "token set": "setToken",
}
"""The operation that does what a command does."""
NOT_ASKED = {
    "api": "it starts the API",
    "ca": "it is about a file of this machine",
    "completion": "it is about the shell",
    "dashboard": "it starts a server",
    "demo": "it starts everything, with a home of its own",
    "doctor": "it looks at this machine",
    "health": "`GET /health` of the proxy says it",
    "prices update": "it writes a file of this machine",
    "reconcile": "it reads a file of this machine",
    "reload": "it signals processes of this machine",
    "reprice": "it reads price files of this machine, and takes minutes",
    "run": "it starts a program",
    "serve": "it starts the proxy",
    "sql": "the SQL page of the dashboard asks it, under limits of its own",
    "today": "`usage` answers it",
}
"""The commands that the API has not, and why."""
BESIDE = {
    "bringKeyBack": "`metrion key rotate --back`",
    "getAccount": "a row of `metrion account list`",
    "getAlert": "a row of `metrion alert list`",
    "getToken": "a row of `metrion token list`",
    "listPlans": "they are in metrion.yaml",
    "setAlert": "`metrion alert remove` and `add`",
}
"""The operations that are no command by themselves, and what does the same."""


def commands() -> set[str]:
    found = set[str]()
    for name, entry in COMMANDS.items():
        command = getattr(importlib.import_module(entry.module), entry.attribute)
        found |= {f"{name} {one}" for one in command.commands} if isinstance(command, click.Group) else {name}
    return found


def test_every_command_is_an_operation_or_has_its_reason() -> None:
    assert commands() == {*ASKED_AS, *NOT_ASKED}
    assert not ASKED_AS.keys() & NOT_ASKED.keys()


def test_every_operation_is_a_command_or_says_which_does_the_same() -> None:
    assert {each.name for each in OPERATIONS} == {*ASKED_AS.values(), *BESIDE}


@pytest.mark.parametrize("reason", [*NOT_ASKED.values(), *BESIDE.values()])
def test_reasons_are_given(reason: str) -> None:
    assert len(reason.split()) > 2
