"""Handlers of the pages that only show: a request in; HTML, CSV or JSON out. None changes anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from metrion.budgets.standing import Standing, standings
from metrion.model import dollars
from metrion.repricing.explanation import explained
from metrion.store.spans import sums
from metrion.web import formats
from metrion.web.blocks import Block, Page
from metrion.web.filters import Filters, month, read
from metrion.web.pages import details, overview, requests
from metrion.web.reader import View
from metrion.web.security import Session
from metrion.web.site import Handler, Site

type Made = tuple[Page, str | None]


def _limits(site: Site, view: View, filters: Filters) -> Page:
    first, end = month(datetime.now(UTC), "UTC")
    used = {
        name: (requests, spent)
        for name, requests, spent in view.rows(
            "SELECT token_name, requests_of(requests, shared), sum(cost_usd) FILTER (billed) "  # noqa: S608 -- written there
            f"FROM ({sums(['token_name'], first, end)}) GROUP BY 1"
        )
    }
    rows = []
    for token in site.control.tokens():
        if token.state != "active" or not _is_asked(filters, token=token.name, account=token.account):
            continue
        asked, spent = used.get(token.name, (0, None))
        own, plan = token.limits, site.settings.plans[token.plan]
        cap = plan.requests_per_month if own.requests_per_month is None else own.requests_per_month
        budget = own.monthly_budget_usd
        parts = [asked / cap] if cap else []
        parts += [float((spent or 0) / budget)] if budget else []
        rows.append((token.name, token.account, asked, cap or None, spent, budget, max(parts, default=None)))
    bounds = [each for each in _standings(site) if _is_asked(filters, **{each.budget.scope: each.budget.name})]
    return details.limits(view, filters, rows, [_budget(each) for each in bounds])


def _is_asked(filters: Filters, **names: str) -> bool:
    """Whether something of these names meets the filters by them."""
    return all(filters.values.get(kind, name) == name for kind, name in names.items())


def _standings(site: Site) -> list[Standing]:
    settings = site.settings
    return list(standings(settings.budgets_dir, site.control.budgets(), settings.timezone, time.time()))


def _budget(standing: Standing) -> tuple[Any, ...]:
    own = standing.budget
    amounts = (own.limit, standing.spent, standing.held, standing.left)
    turns_at = (
        None if standing.turns_at is None else datetime.fromtimestamp(standing.turns_at, UTC).replace(tzinfo=None)
    )
    used = standing.spent / own.limit if own.limit and standing.spent is not None else None
    return (
        own.scope,
        own.name,
        own.per,
        *(None if each is None else dollars(each) for each in amounts),
        turns_at,
        own.then,
        used,
    )


PAGES: Mapping[str, Callable[[Site, View, Filters, Request], Made]] = {
    "overview": lambda _s, view, filters, _r: (overview.overview(view, filters, datetime.now(UTC)), None),
    "requests": lambda _s, view, filters, request: _listed(view, filters, request),
    "sessions": lambda _s, view, filters, _r: (requests.sessions(view, filters), None),
    "latency": lambda _s, view, filters, _r: (details.latency(view, filters), None),
    "errors": lambda _s, view, filters, _r: (details.errors(view, filters), None),
    "cache": lambda _s, view, filters, _r: (details.cache(view, filters), None),
    "limits": lambda site, view, filters, _r: (_limits(site, view, filters), None),
}
"""What makes each page, by its name."""


def _listed(view: View, filters: Filters, request: Request) -> Made:
    found = requests.requests(view, filters, request.query_params.get("before"))
    return found.page, found.next


def _first(view: View) -> datetime | None:
    (found,) = view.rows("SELECT min(hour) FROM sums_by_hour")
    first: datetime | None = found[0]
    return first


def _make(
    site: Site, request: Request, session: Session, name: str
) -> tuple[Page, str | None, Filters, datetime | None]:
    now = datetime.now(UTC)
    asked = read(request.query_params, now, session.display, None)
    # Words and pictures of a page are in the currency of who asked.
    key = (name, asked.query(), asked.since, asked.until, request.query_params.get("before"), session.display)

    def made(view: View) -> tuple[Page, str | None, Filters, datetime | None]:
        first = _first(view)
        filters = read(request.query_params, now, session.display, first)
        return (*PAGES[name](site, view, filters, request), filters, first)

    return site.reader.ask(key, made)


def page(name: str) -> Handler:
    """Return the handler of a page."""

    async def answer(site: Site, request: Request, session: Session) -> Response:
        began = time.perf_counter()
        made, following, filters, first = await run_in_threadpool(_make, site, request, session, name)
        return site.render.page(
            "page.html",
            page=made,
            name=name,
            filters=filters,
            session=session,
            following=following,
            nothing=first is None,
            proxy_url=site.proxy_url,
            is_first="before" not in request.query_params,
            query=filters.query(),
            took=f"{(time.perf_counter() - began) * 1000:.0f}",
        )

    return answer


async def data(site: Site, request: Request, session: Session) -> Response:
    """Answer with one block's rows, as CSV or JSON: money in dollars, whatever the pages show."""
    name, block_id, format_ = (request.path_params[each] for each in ("page", "block", "format"))
    if name not in PAGES or format_ not in ("csv", "json"):
        return site.render.message("There is no such page.", 404)
    made, _following, _filters, _first_at = await run_in_threadpool(_make, site, request, session, name)
    block = next((each for each in made.blocks if each.id == block_id), None)
    if block is None:
        return site.render.message("There is no such table.", 404)
    columns = [column.name.strip() for column in block.columns]
    if format_ == "json":
        return Response(formats.as_json(columns, block.rows), media_type="application/json")
    headers = {"content-disposition": f'attachment; filename="{name}-{block_id}.csv"'}
    return Response(formats.as_csv(columns, block.rows), media_type="text/csv; charset=utf-8", headers=headers)


async def single(site: Site, request: Request, session: Session) -> Response:
    """Show one request: its attempts, its tokens, its cost part by part, its times, and its session."""
    try:
        event_id = UUID(request.path_params["event_id"])
    except ValueError:
        return site.render.message("This is not the id of a request.", 404)

    def find(view: View) -> tuple[dict[str, Any], Block | None, Block | None] | None:
        row = requests.one(view, event_id)
        return (row, requests.attempts(view, row), requests.siblings(view, row)) if row else None

    found = await run_in_threadpool(site.reader.ask, ("one", event_id), find)
    if not found:
        return site.render.message("There is no request of this id.", 404)
    row, attempts, siblings = found
    # The price files are read after the store is closed: the ingester need not wait for them.
    explanation = await run_in_threadpool(explained, site.settings, row)
    filters = read({}, datetime.now(UTC), session.display, None)
    return site.render.page(
        "request.html", name="requests", row=row, parts=requests.parts(row, explanation),
        prices=requests.prices(explanation), policies=[(*each, "text") for each in (row["policy"] or {}).items()],
        attempts=attempts, siblings=siblings, session=session, filters=filters,
    )  # fmt: skip
