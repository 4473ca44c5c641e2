"""Handlers of the pages where somebody types: SQL, keys and tokens. A form in; a page out that shows no old secret."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import urlencode
from zoneinfo import available_timezones

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from metrion.control import ALL_ACCOUNTS, check_provider_key
from metrion.control.audit import described
from metrion.errors import MetrionError, StoreError
from metrion.providers import base_segment
from metrion.web import answer_charts, display, formats, token_forms
from metrion.web.blocks import Block, Column
from metrion.web.display import Display
from metrion.web.reader import View
from metrion.web.security import Session
from metrion.web.site import Site

SHOWN_ROWS = 1000
_LONGEST = 200
_MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
_REMEMBERED = 365 * 86400
"""How long a browser keeps what was chosen."""
_MOST_BYTES = 8 << 20
"""Of an answer; `metrion sql` gives all of it."""
EXAMPLES: Mapping[str, str] = {
    "Spend by model": """SELECT model, count(*) AS requests, sum(cost_usd) AS cost_usd
FROM billing
WHERE billed AND started_at > now() - INTERVAL 7 DAY
GROUP BY ALL ORDER BY cost_usd DESC NULLS LAST""",
    "Who spends it": """SELECT user_label, token_name, count(*) AS requests, sum(cost_usd) AS cost_usd
FROM billing
WHERE billed AND started_at > now() - INTERVAL 7 DAY
GROUP BY ALL ORDER BY cost_usd DESC NULLS LAST LIMIT 5""",
    "Spend by day": """SELECT day, sum(cost_usd) FILTER (billed) AS cost_usd
FROM sums_by_day
WHERE day > current_date - 7
GROUP BY ALL ORDER BY day""",
    "The last requests": """SELECT started_at, token_name, model, input_tokens, output_tokens, cost_usd
FROM events ORDER BY started_at DESC LIMIT 5""",
    "What sessions cost": """SELECT session_id, min(client) AS client, count(*) AS turns, sum(cost_usd) AS cost_usd
FROM events
WHERE session_id IS NOT NULL AND started_at > now() - INTERVAL 7 DAY
GROUP BY ALL ORDER BY cost_usd DESC NULLS LAST, session_id LIMIT 5""",
    "What is read from caches": """SELECT model, sum(cache_read_tokens)::BIGINT AS cached,
    round(100 * sum(cache_read_tokens) / sum(input_tokens), 1) AS percent
FROM events
WHERE cache_read_tokens IS NOT NULL AND started_at > now() - INTERVAL 7 DAY
GROUP BY ALL ORDER BY percent DESC, model""",
    "How long answers take": """SELECT model, count(*) AS answers, quantile_cont(latency_ms, 0.5)::INT AS p50_ms,
    quantile_cont(latency_ms, 0.95)::INT AS p95_ms
FROM billing
WHERE billed AND status = 200 AND end_reason = 'complete' AND started_at > now() - INTERVAL 7 DAY
GROUP BY ALL ORDER BY p95_ms DESC""",
    "Errors by kind": """SELECT provider, status, error_type, count(*) AS requests
FROM events
WHERE status >= 400 AND started_at > now() - INTERVAL 7 DAY
GROUP BY ALL ORDER BY requests DESC, provider, status""",
    "What has no price": """SELECT provider, model, count(*) AS requests, sum(input_tokens)::BIGINT AS input_tokens
FROM events
WHERE cost_source = 'unpriced'
GROUP BY ALL ORDER BY requests DESC, model""",
    "The columns of events": "DESCRIBE events",
}
"""Those of docs/sql.md, and the columns."""


async def sql(site: Site, request: Request, session: Session) -> Response:
    """Answer a query within the bounds of ``metrion sql``: as a table, with a chart, or as a file."""
    fields = request.state.form if request.method == "POST" else {}
    query = fields.get("query", next(iter(EXAMPLES.values())))
    kind = request.query_params.get("chart", "")
    values: dict[str, Any] = {"columns": [], "rows": [], "words": "", "cut": False, "chart": None, "hint": ""}
    if request.method == "POST":
        try:
            format_ = "parquet" if fields.get("as") == "parquet" else "csv"
            kept, cut = await run_in_threadpool(_answer, site, query, format_)
            if fields.get("as") == format_ and not cut:
                headers = {"content-disposition": f'attachment; filename="query.{format_}"'}
                return Response(kept, media_type=_MEDIA_TYPES[format_], headers=headers)
            rows = csv.reader(io.StringIO(kept.decode("utf-8", "replace")))
            values["columns"] = next(rows, [])
            values["rows"] = list(islice(rows, SHOWN_ROWS))
            values["cut"] = cut or next(rows, None) is not None
            if kind in answer_charts.DRAWN:
                drawn = answer_charts.draw(values["columns"], values["rows"], kind)
                values["hint" if isinstance(drawn, str) else "chart"] = drawn
        except MetrionError as error:
            values["words"] = str(error)
    return site.render.page(
        "sql.html", 422 if values["words"] else 200, name="sql", session=session, query=query, examples=EXAMPLES,
        asked=request.method == "POST", filters=None, **values,
    )  # fmt: skip


def _answer(site: Site, query: str, format_: str) -> tuple[bytes, bool]:
    """Return the answer, and whether there is more of it than is kept: whole lines of it, then."""
    kept = b""
    pieces = site.ask_sql(query, format_)
    for piece in pieces:
        kept += piece
        if len(kept) > _MOST_BYTES:
            getattr(pieces, "close", lambda: None)()
            if format_ == "parquet":
                raise StoreError(f"the answer as Parquet is larger than {_MOST_BYTES >> 20} MB. Ask for less.")
            return kept[: kept.rfind(b"\n") + 1], True
    return kept, False


def _token(site: Site, fields: Mapping[str, str]) -> dict[str, Any]:
    made = token_forms.make(site.settings, site.control, fields)
    if made.wrong:
        return {"error": _NOTHING_DONE, "wrong": made.wrong}
    return {"secret": made.secret, "made": made.name, "words": f"Token {made.name} is made. It is shown this once."}


def _change(site: Site, fields: Mapping[str, str]) -> dict[str, Any]:
    changed = token_forms.change(site.settings, site.control, fields)
    if changed.wrong:
        return {"error": _NOTHING_DONE, "wrong": changed.wrong}
    return {"words": f"Token {changed.name} is changed, from its next request on."}


_NOTHING_DONE = "Nothing was done. What is wrong stands beside the fields."


def _revoke(site: Site, fields: Mapping[str, str]) -> dict[str, Any]:
    site.control.revoke_token(fields.get("name", ""))
    return {"words": f"Token {fields.get('name', '')} is revoked."}


def _set_key(site: Site, fields: Mapping[str, str]) -> dict[str, Any]:
    provider, key = fields.get("provider", ""), fields.get("key", "").strip()
    if provider not in site.settings.providers:
        raise MetrionError("there is no such provider.")
    site.control.set_key(provider, check_provider_key(key), fields.get("account", "default"))
    return {"words": f"The key of {provider} is stored."}


def _remove_key(site: Site, fields: Mapping[str, str]) -> dict[str, Any]:
    site.control.remove_key(fields.get("provider", ""), fields.get("account", "default"))
    return {"words": f"The key of {fields.get('provider', '')} is removed."}


_ACTIONS: Mapping[str, Callable[[Site, Mapping[str, str]], dict[str, Any]]] = {
    "token": _token,
    "change": _change,
    "revoke": _revoke,
    "set-key": _set_key,
    "remove-key": _remove_key,
}


async def integrate(site: Site, request: Request, session: Session) -> Response:
    """Show how to call the proxy; make, change and revoke tokens, set and remove keys."""
    done: dict[str, Any] = {}
    status = 200
    fields: Mapping[str, str] = request.state.form if request.method == "POST" else {}
    if request.method == "POST":
        action = _ACTIONS.get(fields.get("action", ""))
        if session.scope != "write":
            action, status = None, 403
        try:
            done = (
                await run_in_threadpool(action, site, fields)
                if action
                else {"error": "Nothing was done." if session.scope == "write" else "This admin token may only read."}
            )
        except MetrionError as error:
            done, status = {"error": str(error)}, 422
        status = 422 if done.get("wrong") else status
    wanted = fields.get("name", "") if fields.get("action") == "change" else request.query_params.get("token", "")
    state = await run_in_threadpool(_state, site, session, wanted)
    if done.get("wrong"):
        state |= {"filled": token_forms.typed(fields), "typed_name": fields.get("name", "")}
    return site.render.page(
        "integrate.html", status, name="integrate", session=session, proxy_url=site.proxy_url,
        done={"secret": "", "made": "", "words": "", "error": "", "wrong": {}} | done,
        snippets=snippets(site.proxy_url), fields=token_forms.FIELDS, **state,
    )  # fmt: skip


def _state(site: Site, session: Session, wanted: str) -> dict[str, Any]:
    """Return what the page shows; ``wanted`` is the token that is to be changed."""
    keys = site.control.keys()
    providers = []
    for name, provider in site.settings.providers.items():
        own = [key for key in keys if key.provider == name and key.account in (ALL_ACCOUNTS, "default") and key.in_use]
        url = f"{site.proxy_url}/{base_segment(name)}"
        providers.append({"name": name, "url": url, "key": own[-1] if own else None, "needs": provider.needs_key})
    tokens = [each for each in site.control.tokens() if each.state != "revoked"]
    changed = next((each for each in tokens if each.name == wanted), None)
    return {
        "providers": providers,
        "tokens": [(each, token_forms.summary(each, session.display)) for each in tokens],
        "accounts": site.control.accounts(),
        "changed": changed,
        "filled": token_forms.filled(token_forms.terms_of(changed) if changed else None),
        "typed_name": "",
    }


async def first_request(site: Site, request: Request, _: Session) -> Response:
    """Say whether a token that was just made has been used."""
    name = request.query_params.get("token", "")

    def find(view: View) -> list[tuple[Any, ...]]:
        since = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)
        return view.rows(
            "SELECT event_id, provider, coalesce(model, model_requested), status FROM events "
            "WHERE started_at > $since AND token_name = $name ORDER BY started_at LIMIT 1",
            {"since": since, "name": name},
        )

    rows = await run_in_threadpool(site.reader.ask, ("first", name), find)
    if not rows:
        return JSONResponse(None)
    event_id, provider, model, status = rows[0]
    return JSONResponse({"event_id": str(event_id), "provider": provider, "model": model, "status": status})


async def show_settings(site: Site, request: Request, session: Session) -> Response:
    """Show what is configured, which is changed in a file; and let a browser choose how it has figures shown."""
    asked = {"timezone": session.display.timezone, "currency": session.display.currency.code}
    wrong = dict.fromkeys(asked, "")
    if request.method == "POST":
        asked = {name: request.state.form.get(name, "").strip() for name in asked}
        if not display.is_zone(asked["timezone"]):
            wrong["timezone"] = "There is no such time zone. Write a name such as Europe/Berlin, or UTC."
        if asked["currency"] not in site.currencies:
            wrong["currency"] = "There is no rate of this currency."
        if not any(wrong.values()):
            return _with_cookies(site, request, Display(asked["timezone"], site.currencies[asked["currency"]]))
    accounts, admins = await run_in_threadpool(lambda: (site.control.accounts(), site.control.admins()))
    return site.render.page(
        "settings.html", 422 if any(wrong.values()) else 200, name="settings", session=session, settings=site.settings,
        accounts=accounts, admins=admins, asked=asked, wrong=wrong, currencies=site.currencies,
        zones=sorted(available_timezones()),
    )  # fmt: skip


def _with_cookies(site: Site, request: Request, chosen: Display) -> Response:
    response = RedirectResponse("/settings", 303)
    for name, value in display.written(chosen, site.cookie).items():
        response.set_cookie(
            name, value, max_age=_REMEMBERED, httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )
    return response


_AUDIT_COLUMNS = [
    Column("at", "Time", "moment"),
    Column("who", "Who"),
    Column("way", "By"),
    Column("what", "What"),
    Column("subject", "Of"),
    Column("details", "Details"),
]
_AUDIT_ROWS = 100


async def audit(site: Site, request: Request, session: Session) -> Response:
    """Show who changed what, the latest first; as a page, CSV or JSON."""
    asked = request.query_params
    who, what, before = (asked.get(name, "").strip()[:_LONGEST] or None for name in ("who", "what", "before"))
    at = int(before) if before and before.isascii() and before.isdigit() and len(before) < 19 else None
    found = await run_in_threadpool(lambda: site.control.audit(who=who, what=what, before=at, limit=_AUDIT_ROWS + 1))
    rows = [
        (each.at.replace(tzinfo=None), each.who, each.way, each.what, each.subject, described(each))
        for each in found[:_AUDIT_ROWS]
    ]
    names = [column.name for column in _AUDIT_COLUMNS]
    if asked.get("as") == "csv":
        headers = {"content-disposition": 'attachment; filename="audit.csv"'}
        return Response(formats.as_csv(names, rows), media_type="text/csv; charset=utf-8", headers=headers)
    if asked.get("as") == "json":
        return Response(formats.as_json(names, rows), media_type="application/json")
    block = Block(
        "audit", "Changes", _AUDIT_COLUMNS, rows, wide=True, open=True,
        empty="No change is recorded that meets this.",
    )  # fmt: skip
    kept = {name: value for name, value in (("who", who), ("what", what)) if value}
    return site.render.page(
        "audit.html", name="audit", session=session, block=block, kept=kept, query=urlencode(kept),
        following=found[_AUDIT_ROWS - 1].id if len(found) > _AUDIT_ROWS else None, is_first=at is None,
    )  # fmt: skip


def snippets(url: str) -> list[tuple[str, str]]:
    """Return what to copy for each SDK and client: its name, and the lines."""
    token = "sk-metrion-…"  # noqa: S105 -- what stands for one
    return [
        ("Claude Code", f"export ANTHROPIC_BASE_URL={url}/anthropic\nexport ANTHROPIC_AUTH_TOKEN={token}\nclaude"),
        (
            "Codex",
            f'# ~/.codex/config.toml\nmodel_provider = "metrion"\n\n[model_providers.metrion]\nname = "Metrion"\n'
            f'base_url = "{url}/openai/v1"\nenv_key = "PROXY_TOKEN"  # export PROXY_TOKEN={token}\n'
            'wire_api = "responses"',
        ),
        (
            "OpenAI SDK (Python)",
            f'from openai import OpenAI\n\nclient = OpenAI(base_url="{url}/openai", api_key="{token}")',
        ),
        (
            "Anthropic SDK (Python)",
            f'from anthropic import Anthropic\n\nclient = Anthropic(base_url="{url}/anthropic", api_key="{token}")',
        ),
        (
            "Gemini SDK (Python)",
            f'from google import genai\n\nclient = genai.Client(\n    api_key="{token}",\n'
            f'    http_options={{"base_url": "{url}/gemini"}},\n)',
        ),
        (
            "Mistral SDK (Python)",
            f'from mistralai import Mistral\n\nclient = Mistral(server_url="{url}/mistral", api_key="{token}")',
        ),
        (
            "Grok, with the OpenAI SDK",
            f'from openai import OpenAI\n\nclient = OpenAI(base_url="{url}/grok", api_key="{token}")',
        ),
        (
            "curl",
            f"curl {url}/openai/v1/chat/completions \\\n  -H 'Authorization: Bearer {token}' \\\n"
            "  -H 'Content-Type: application/json' \\\n"
            '  -d \'{"model": "gpt-5", "messages": [{"role": "user", "content": "Hello"}]}\'',
        ),
    ]
