"""The ASGI application of the dashboard: routes, and what turns pages into answers.

In: a home's settings. Out: a Starlette application. Pages are made in threads, so that a slow question stops nobody who
asks for a style sheet. Every path but the log-in and the static files needs a session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from metrion.control import ControlStore, acting
from metrion.errors import MetrionError
from metrion.settings import Settings
from metrion.web import alerts, changes, currencies, display, reports
from metrion.web.guard import Guard, form
from metrion.web.reader import Reader
from metrion.web.rendering import Renderer
from metrion.web.security import SESSION_SECONDS, LoginLimit, Session, Sessions, is_same
from metrion.web.site import AskSql, Handler, Site


def create_app(
    settings: Settings,
    ask_sql: AskSql,
    *,
    hosts: Iterable[str] = (),
    port: int = 8090,
    proxy_url: str = "",
    beside: Iterable[BaseRoute] = (),
) -> Starlette:
    """Make the application of a home; ``hosts`` are names beside loopback that it answers to.

    ``beside``: other applications, which look after their own log-ins.

    :raises ControlError: the control database cannot be used.
    :raises SettingsError: the file of currencies cannot be used.
    """
    control = ControlStore.open(settings)
    proxy = proxy_url or f"http://{settings.listen_host}:{settings.listen_port}"
    site = Site(
        settings=settings,
        control=control,
        reader=Reader(settings.journal_dir, settings.store_path),
        sessions=Sessions(control),
        limit=LoginLimit(),
        render=Renderer(),
        ask_sql=ask_sql,
        proxy_url=proxy,
        currencies=currencies.load(settings),
        cookie=f"metrion-{port}",
    )
    get = [
        Route(f"/{name}" if name != "overview" else "/", _private(site, reports.page(name)), name=name)
        for name in reports.PAGES
    ]
    return Starlette(
        routes=[
            *beside,
            *get,
            Route("/requests/{event_id}", _private(site, reports.single)),
            Route("/data/{page}/{block}.{format}", _private(site, reports.data)),
            Route("/sql", _private(site, changes.sql), methods=["GET", "POST"]),
            Route("/alerts", _private(site, alerts.show), methods=["GET", "POST"]),
            Route("/integrate", _private(site, changes.integrate), methods=["GET", "POST"]),
            Route("/first-request", _private(site, changes.first_request)),
            Route("/audit", _private(site, changes.audit)),
            Route("/settings", _private(site, changes.show_settings), methods=["GET", "POST"]),
            Route("/login", _login(site), methods=["GET", "POST"]),
            Route("/logout", _private(site, _logout), methods=["POST"]),
            Mount("/static", StaticFiles(directory=Path(__file__).with_name("static"))),
        ],
        middleware=[Middleware(Guard, hosts=tuple(hosts))],
        exception_handlers={404: _not_found(site), 500: _failed(site)},
    )


def _private(site: Site, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Let only those in who are logged in, and no form without its token."""

    async def answer(request: Request) -> Response:
        try:
            session = await run_in_threadpool(site.sessions.find, request.cookies.get(site.cookie))
            if session is None:
                return RedirectResponse("/login", 303)
            if request.method == "POST":
                fields = await form(request)
                if fields is None:
                    return _said(site, "This is no form of these pages, or it is larger than 256 kB.", 400)
                if not is_same(fields.get("csrf"), session.csrf):
                    return _said(
                        site, "This form is not from this page, or too old. Go back, reload and try again.", 403
                    )
                request.state.form = fields
            session = replace(session, display=display.read(request.cookies, site.cookie, site.usual, site.currencies))
            with acting(session.admin, "dashboard"):
                return await handler(site, request, session)
        except MetrionError as error:
            return _said(site, str(error), 503)

    return answer


def _login(site: Site) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        if request.method == "GET":
            return site.render.login(request, site.cookie)
        fields = await form(request)
        address = request.client.host if request.client else ""
        if fields is None or not is_same(fields.get("csrf"), request.cookies.get(f"{site.cookie}-login") or "-"):
            return site.render.login(request, site.cookie, "The page was too old. Try again.", 403)
        if (wait := site.limit.wait_seconds(address)) > 0:
            words = f"Too many tries. Wait {wait:.0f} seconds."
            refused = site.render.login(request, site.cookie, words, 429)
            refused.headers["retry-after"] = f"{wait + 1:.0f}"
            return refused
        try:
            cookie = await run_in_threadpool(site.sessions.begin, fields.get("token", "").strip())
        except MetrionError as error:
            return site.render.login(request, site.cookie, str(error), 503)
        if cookie is None:
            site.limit.failed(address)
            words = "This is no admin token, or it was revoked. A caller's token does not open the dashboard."
            return site.render.login(request, site.cookie, words, 401)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            site.cookie,
            cookie,
            max_age=int(SESSION_SECONDS),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        response.delete_cookie(f"{site.cookie}-login", httponly=True, samesite="strict")
        return response

    return answer


async def _logout(site: Site, request: Request, _: Session) -> Response:
    site.sessions.end(request.cookies.get(site.cookie))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(site.cookie, httponly=True, samesite="strict")
    return response


def _said(site: Site, words: str, status: int) -> HTMLResponse:
    return site.render.message(words, status)


def _not_found(site: Site) -> Callable[[Request, Any], Awaitable[Response]]:
    async def answer(_request: Request, _error: Any) -> Response:
        return _said(site, "There is no such page.", 404)

    return answer


def _failed(site: Site) -> Callable[[Request, Any], Awaitable[Response]]:
    async def answer(_request: Request, _error: Any) -> Response:
        return _said(site, "This page could not be made. What the dashboard prints says why.", 500)

    return answer
