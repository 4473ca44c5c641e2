"""Anthropic's ``/v1/organizations/cost_report`` and ``/v1/organizations/usage_report/messages`` → a bill.

Sources: the references "Get Cost Report" and "Get Messages Usage Report" of Anthropic's Admin API
(https://platform.claude.com/docs/en/api/admin/cost_report). The example of the first is ``{"data": [{"starting_at":
"2025-08-01T00:00:00Z", "ending_at": "2025-08-02T00:00:00Z", "results": [{"amount": "123.78912", "currency": "USD",
"cost_type": "tokens", "description": "Claude Sonnet 4 Usage - Input Tokens", "model": "claude-sonnet-4-20250514",
"token_type": "uncached_input_tokens", …}]}], "has_more": true, "next_page": "…"}``.

Amounts are decimal strings *in cents*: "123.45" in USD is $1.23. ``model`` and ``description`` are filled by
``group_by[]=description``, and ``model`` is null for what is not billed by the token. Of a usage, input is the sum of
``uncached_input_tokens``, ``cache_read_input_tokens`` and the members of ``cache_creation``. Buckets are UTC. Priority
Tier is in no cost report.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from metrion.errors import BillError
from metrion.reconciling.bills import EXACT, Bill, Line
from metrion.reconciling.buckets import Buckets, continued
from metrion.reconciling.contents import Member, check_currency, to_moment


def is_page(document: Member) -> bool:
    """Whether a document is a page of buckets as Anthropic sends them."""
    value = document.value
    if not (isinstance(value, dict) and isinstance(value.get("data"), list) and "has_more" in value):
        return False
    return all(isinstance(each, dict) and {"starting_at", "results"} <= each.keys() for each in value["data"])


def read(documents: Sequence[Member]) -> Bill:
    """Read pages, all of costs or all of usage."""
    buckets, lines = Buckets(), list[Line]()
    kinds = set[bool]()
    for document in documents:
        if not is_page(document):
            raise BillError(f"{document.path or 'the document'} is not a page such as the others")
        for bucket in document["data"].elements():
            results = list(bucket["results"].elements())
            start, end = (to_moment(bucket[name].value, bucket[name].path) for name in ("starting_at", "ending_at"))
            day = buckets.add(start, end, [each.value for each in results], bucket.path)
            for result in results:
                is_cost = result["amount"].value is not None
                kinds.add(is_cost)
                lines.append(_cost(result, day) if is_cost else _usage(result, day))
    if not kinds:
        raise BillError("no bucket of it has a result, so it is neither of costs nor of usage. Leave it out")
    if len(kinds) > 1:
        raise BillError("it has results with an amount and without one. Put costs and usage into files of their own")
    remarks: list[str] = []
    if kinds == {True} and not any(line.model or line.item for line in lines):
        remarks.append(
            "it names no models: group_by[]=description makes Anthropic name them; --by day compares what is there"
        )
    last = documents[-1]
    remarks += continued(last["next_page"].text(), is_last=not last["has_more"].value)
    return Bill(
        provider="anthropic",
        lines=tuple(lines),
        days=buckets.days(),
        has_amounts=kinds == {True},
        part_days=buckets.part_days(),
        remarks=tuple(remarks),
    )


def _cost(result: Member, day: date) -> Line:
    check_currency(result["currency"].value, result["currency"].path)
    if not isinstance(result["amount"].value, str):
        raise BillError(f"{result.path}.amount is not a text; Anthropic sends cents as a decimal string")
    cents = result["amount"].amount()
    return Line(day=day, model=result["model"].text(), item=result["description"].text(), usd=cents.scaleb(-2, EXACT))


def _usage(result: Member, day: date) -> Line:
    written = result["cache_creation"].value
    counts = [result[name].count() for name in ("uncached_input_tokens", "cache_read_input_tokens")]
    counts += [Member(count, f"{result.path}.cache_creation.{name}").count() for name, count in _members(written)]
    output = result["output_tokens"].count()
    reported = [count for count in counts if count is not None]
    if not reported and output is None:
        raise BillError(f"{result.path} has neither an amount nor tokens")
    return Line(
        day=day,
        model=result["model"].text(),
        input_tokens=sum(reported) if reported else None,
        output_tokens=output,
    )


def _members(value: object) -> list[tuple[str, object]]:
    return list(value.items()) if isinstance(value, dict) else []
