"""What one operation of the API is, and what its function gets: a row of a table, and the values of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict

from metrion.control import ControlStore
from metrion.pricing import PriceBook
from metrion.settings import Settings
from metrion.web.reader import Reader


class Given(BaseModel):
    """What a client sends: a field that is not known is an error, and no error shows what was sent."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Shown(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(frozen=True)


class Nothing(Given):
    """No parameters."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What the operations of one home work with."""

    settings: Settings
    control: ControlStore
    reader: Reader
    prices: Callable[[], PriceBook]
    """The price files, read anew where they have changed."""


@dataclass(frozen=True, slots=True)
class Call:
    """The values of a request, checked: what they are is what their row of the table says."""

    path: Any
    query: Any
    body: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A row of :data:`metrion.api.operations.OPERATIONS`."""

    name: str
    method: str
    path: str
    """Below ``/admin/v1``, with parameters as in ``/tokens/{name}``."""
    summary: str
    run: Callable[[Desk, Call], BaseModel | None]
    """Runs in a thread. Its errors are those of the tree."""
    answer: type[BaseModel] | None = None
    """``None``: an answer without a body."""
    place: type[BaseModel] = Nothing
    """The parameters in the path."""
    query: type[BaseModel] = Nothing
    body: type[BaseModel] | None = None
    status: HTTPStatus = HTTPStatus.OK
    fails: Mapping[HTTPStatus, str] | None = None
    """What else it may answer, and why."""

    @property
    def writes(self) -> bool:
        """Whether it changes anything, and so needs an admin token of the scope ``write``."""
        return self.method != "GET"
