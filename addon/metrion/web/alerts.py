"""Handlers of the page of alerts: rules, made and changed by a form, a test of each, and what was sent.

Where a rule sends to is sealed when it is stored: a page shows it masked, and a form never has it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from metrion import alerts
from metrion.alerts import AlertRule, NewChannel, RuleTerms
from metrion.errors import ControlError
from metrion.providers import canonical_name
from metrion.settings import Settings
from metrion.web.security import Session
from metrion.web.site import Site

type Form = Mapping[str, str]

_EMPTY = {"name": "", "measure": "spend", "limit": "", "span": "", "allow_private": ""} | dict.fromkeys(
    alerts.FILTERS, ""
)
_HISTORY = 100


def _add(settings: Settings, form: Form) -> str:
    channel = _channel(form)
    if channel is None:
        raise ControlError("say where its messages go: a webhook, Slack, or an e-mail address.")
    rule = alerts.add_rule(settings, form.get("name", "").strip(), _terms(settings, form), [channel])
    return f"Rule {rule.name} is made. It is looked at while the proxy runs; Test sends a message now."


def _change(settings: Settings, form: Form) -> str:
    channel = _channel(form)
    rule = alerts.change_rule(settings, form.get("name", ""), _terms(settings, form), [channel] if channel else None)
    return f"Rule {rule.name} is changed."


def _remove(settings: Settings, form: Form) -> str:
    alerts.remove_rule(settings, form.get("name", ""))
    return f"Rule {form.get('name', '')} is removed. What it has sent stays in the history."


def _try(settings: Settings, form: Form) -> str:
    records = alerts.try_rule(settings, form.get("name", ""))
    if problems := [f"{record.shown}: {record.problem}." for record in records if record.problem is not None]:
        raise ControlError(" ".join(problems))
    return "The test was taken by " + ", ".join(record.shown for record in records) + "."


_ACTIONS: Mapping[str, Callable[[Settings, Form], str]] = {
    "add": _add,
    "change": _change,
    "remove": _remove,
    "test": _try,
}


async def show(site: Site, request: Request, session: Session) -> Response:
    """Show the rules and what they sent; make, change, remove and test one."""
    words = error = ""
    fields: Form = request.state.form if request.method == "POST" else {}
    kept: Form = {}
    if fields:
        action = _ACTIONS.get(fields.get("action", "")) if session.scope == "write" else None
        try:
            words = await run_in_threadpool(action, site.settings, fields) if action else ""
            nothing = "Nothing was done." if session.scope == "write" else "This admin token may only read."
            error = "" if action else nothing
        except ControlError as problem:
            error = str(problem)
            kept = {name: fields.get(name, "") for name in _EMPTY}
    rules, history = await run_in_threadpool(
        lambda: (alerts.rules(site.settings), alerts.history(site.settings, limit=_HISTORY))
    )
    wanted = request.query_params.get("rule", fields.get("name", "") if fields.get("action") == "change" else "")
    chosen = next((rule for rule in rules if rule.name == wanted), None)
    return site.render.page(
        "alerts.html",
        403 if fields and session.scope != "write" else 422 if error else 200,
        name="alerts",
        session=session,
        rules=[(rule, _words(rule)) for rule in rules],
        history=history,
        changed=chosen,
        fields=kept or (_fields(chosen) if chosen else _EMPTY),
        measures=alerts.MEASURES,
        providers=list(site.settings.providers),
        words=words,
        error=error,
    )


def _terms(settings: Settings, form: Form) -> RuleTerms:
    """Read what a rule watches.

    :raises ControlError: it cannot be watched.
    """
    text = form.get("limit", "").strip().removeprefix("$").removesuffix("%").strip()
    try:
        limit = Decimal(text if len(text) <= 26 else "")
    except InvalidOperation:
        raise ControlError("the limit is a number, such as 100 or 49.99.") from None
    filters = {name: value for name in alerts.FILTERS if (value := form.get(name, "").strip())}
    if "provider" in filters:
        filters["provider"] = canonical_name(filters["provider"])
        if filters["provider"] not in settings.providers:
            raise ControlError(f"there is no such provider: take one of {', '.join(settings.providers)}.")
    span = form.get("span", "").strip() or None
    private = form.get("allow_private") == "yes"
    return alerts.check_terms(form.get("measure", ""), limit, span, filters, allow_private=private)


def _channel(form: Form) -> NewChannel | None:
    """Read where messages go; ``None``: nothing was typed.

    :raises ControlError: it is no place that messages can go to.
    """
    kind, url = form.get("kind", "webhook"), form.get("url", "").strip()
    if kind == "email":
        address, server = form.get("address", "").strip(), form.get("server", "").strip()
        if not address and not server:
            return None
        return alerts.email(address, server, form.get("password", ""))
    if kind not in ("webhook", "slack"):
        raise ControlError("messages go to a webhook, to Slack, or to an e-mail address.")
    return alerts.webhook(url, kind) if url else None


def _fields(rule: AlertRule) -> dict[str, Any]:
    """Return what the form has for a rule; never where it sends to."""
    terms = rule.terms
    return {
        **_EMPTY,
        **terms.filters,
        "name": rule.name,
        "measure": terms.measure,
        "limit": f"{terms.limit.normalize():f}",
        "span": terms.span,
        "allow_private": "yes" if terms.allow_private else "",
    }


def _words(rule: AlertRule) -> str:
    terms = rule.terms
    only = "".join(f", {name} {value}" for name, value in terms.filters.items())
    return f"{alerts.MEASURES[terms.measure].what}{only}"
