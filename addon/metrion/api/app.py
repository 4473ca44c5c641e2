"""The ASGI application of the API: who may ask, what a request must be like, and what is answered.

In: a home's settings. Out: a Starlette application, to be mounted at :data:`PATH`. Operations run in threads. Every
answer has ``cache-control: no-store``, and every error is ``application/problem+json``. Never: a cookie, a value that
was sent in an error, or a secret in an answer but the one that was just made.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from metrion.api.document import PROBLEM, Mistake, Problem, document
from metrion.api.operation import Call, Desk, Operation
from metrion.api.operations import OPERATIONS
from metrion.control import AdminRecord, ControlStore, acting
from metrion.errors import (
    ControlError,
    ControlUnavailableError,
    MetrionError,
    StoreError,
    UnknownNameError,
    VaultError,
)
from metrion.pricing import PriceBook
from metrion.settings import Settings
from metrion.web.guard import Guard
from metrion.web.reader import Reader
from metrion.web.security import LoginLimit

PATH = "/admin/v1"
_MOST_BYTES = 256 * 1024

logger = logging.getLogger(__name__)

_STATUSES: Mapping[type[MetrionError], HTTPStatus] = {
    UnknownNameError: HTTPStatus.NOT_FOUND,
    ControlUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    VaultError: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreError: HTTPStatus.SERVICE_UNAVAILABLE,
    ControlError: HTTPStatus.CONFLICT,
    MetrionError: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""What an error is as a status: the first row that fits."""


def create_app(settings: Settings, *, hosts: Iterable[str] = ()) -> Starlette:
    """Make the application of a home on its own; ``hosts`` are names beside loopback that it answers to.

    :raises ControlError: the control database cannot be used.
    """
    from starlette.middleware import Middleware

    return Starlette(
        routes=[mount(settings)],
        middleware=[Middleware(Guard, hosts=tuple(hosts))],
        exception_handlers={HTTPException: _refused},
    )


def mount(settings: Settings) -> Mount:
    """Return the API at :data:`PATH`, for an application that guards its hosts.

    :raises ControlError: the control database cannot be used.
    """
    desk = Desk(
        settings, ControlStore.open(settings), Reader(settings.journal_dir, settings.store_path), _Prices(settings)
    )
    limit = LoginLimit()
    by_path: dict[str, dict[str, Operation]] = defaultdict(dict)
    for operation in OPERATIONS:
        by_path[operation.path][operation.method] = operation
    made = json.dumps(document(), ensure_ascii=False).encode()
    app = Starlette(
        routes=[
            Route("/openapi.json", lambda _: Response(made, media_type="application/json")),
            *(Route(path, _answering(desk, limit, rows), methods=[*rows]) for path, rows in by_path.items()),
        ],
        exception_handlers={HTTPException: _refused, 500: _failed},
    )
    return Mount(PATH, app)


class _Prices:
    """The price book, read again when a file has changed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._read: tuple[object, PriceBook] | None = None

    def __call__(self) -> PriceBook:
        settings = self._settings
        stamps = tuple((path, path.stat().st_mtime_ns) for path in settings.pricing if path.exists())
        with self._lock:
            if self._read is None or self._read[0] != stamps:
                book = PriceBook.load(settings.pricing, without_allowance=settings.without_allowance)
                self._read = (stamps, book)
            return self._read[1]


def _answering(desk: Desk, limit: LoginLimit, rows: Mapping[str, Operation]) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        operation = rows["GET" if request.method == "HEAD" else request.method]
        try:
            admin = await _admin(desk, limit, request)
            if operation.writes and admin.scope != "write":
                return problem(HTTPStatus.FORBIDDEN, "This admin token may only read.")
            call = Call(
                _checked(operation.place, "path", request.path_params),
                _checked(operation.query, "query", _parameters(request, operation.query)),
                await _body(request, operation),
            )
            with acting(admin.name, "api"):
                answered = await run_in_threadpool(operation.run, desk, call)
        except _InvalidError as error:
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "Some values cannot be used.", errors=error.mistakes)
        except MetrionError as error:
            return problem(next(status for kind, status in _STATUSES.items() if isinstance(error, kind)), str(error))
        if answered is None:
            return Response(status_code=operation.status)
        return Response(answered.model_dump_json(), operation.status, media_type="application/json")

    return answer


async def _admin(desk: Desk, limit: LoginLimit, request: Request) -> AdminRecord:
    """Return whose admin token came with a request."""
    address = request.client.host if request.client else ""
    if (wait := limit.wait_seconds(address)) > 0:
        words = f"Too many admin tokens did not hold. Wait {wait:.0f} seconds."
        raise HTTPException(429, words, headers={"retry-after": f"{wait + 1:.0f}"})
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise HTTPException(
            401, "Send an admin token: `Authorization: Bearer sk-mta-…`.", headers={"www-authenticate": "Bearer"}
        )
    admin = await run_in_threadpool(desk.control.find_admin, secret.strip())
    if admin is None:
        limit.failed(address)
        words = "This is no admin token, or it was revoked. A caller's token is none."
        raise HTTPException(401, words, headers={"www-authenticate": 'Bearer error="invalid_token"'})
    return admin


# --- what a request must be like


class _InvalidError(Exception):
    """Some values of a request cannot be used."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__()
        self.mistakes = mistakes


def _parameters(request: Request, model: type[BaseModel]) -> dict[str, Any]:
    """Return the parameters of the query: a list where there may be several, the value itself where there is one."""
    found: dict[str, Any] = {}
    for name in request.query_params:
        values = request.query_params.getlist(name)
        field = model.model_fields.get(name)
        many = field is not None and "list" in str(field.annotation)
        if not many and len(values) > 1:
            raise _InvalidError([Mistake(where=f"query.{name}", detail="it stands here several times")])
        found[name] = values if many else values[0]
    return found


def _checked(model: type[BaseModel], place: str, values: Mapping[str, Any]) -> BaseModel:
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise _InvalidError(_mistakes(place, error)) from None


async def _body(request: Request, operation: Operation) -> BaseModel | None:
    if operation.body is None:
        return None
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "The body of this request is JSON: send `Content-Type: application/json`.")
    text = b""
    async for chunk in request.stream():
        text += chunk
        if len(text) > _MOST_BYTES:
            raise HTTPException(413, f"The body has more than {_MOST_BYTES // 1024} KB.")
    try:
        return operation.body.model_validate_json(text, strict=True)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise HTTPException(400, "The body is not JSON.") from None
        raise _InvalidError(_mistakes("body", error)) from None


def _mistakes(place: str, error: ValidationError) -> list[Mistake]:
    return [
        Mistake(where=".".join((place, *(str(part)[:64] for part in each["loc"]))), detail=each["msg"])
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    ]


# --- what is answered when something is wrong


def problem(
    status: HTTPStatus, detail: str, *, errors: Iterable[Mistake] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer as RFC 9457 has it."""
    told = Problem(title=status.phrase, status=status, detail=detail, errors=list(errors))
    content = told.model_dump(exclude={"errors"} if not told.errors else set())
    return JSONResponse(content, status, dict(headers or {}), media_type=PROBLEM)


async def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    said = {404: "There is nothing at this path.", 405: "This path has no such method: `allow` says which it has."}
    detail = said.get(status, error.detail) if error.detail == status.phrase else error.detail
    return problem(status, detail, headers=error.headers)


async def _failed(_: Request, error: Exception) -> Response:
    logger.error("A request to the API failed.", exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "This could not be answered. The log says why.")
