"""OpenAI's ``/v1/organization/costs`` and ``/v1/organization/usage/…`` → a bill.

Sources: the types of OpenAI's SDK (``openai.types.admin.organization.usage_costs_response``,
``usage_completions_response``) and the reference of ``GET /organization/costs``, which has this page as its example:
``{"object": "page", "data": [{"object": "bucket", "start_time": 1730419200, "end_time": 1730505600, "results":
[{"object": "organization.costs.result", "amount": {"value": 0.06, "currency": "usd"}, "line_item": null, …}]}], …}``.

Amounts are JSON numbers in dollars. ``line_item`` is filled by ``group_by=line_item``, ``model`` by ``group_by=model``.
``input_tokens`` has cached and cache-write tokens in it. Buckets are UTC.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import date

from metrion.errors import BillError
from metrion.reconciling.bills import Bill, Line, counted
from metrion.reconciling.buckets import Buckets, continued
from metrion.reconciling.contents import Member, check_currency, shown, to_unix_moment

_COSTS = "organization.costs.result"
_USAGE = re.compile(r"organization\.usage\.(\w+)\.result")


def is_page(document: Member) -> bool:
    """Whether a document is a page of buckets as OpenAI sends them."""
    return isinstance(document.value, dict) and document.value.get("object") == "page"


def read(documents: Sequence[Member]) -> Bill:
    """Read pages, all of costs or all of usage."""
    buckets, kinds, lines = Buckets(), set[str](), list[Line]()
    left_out = Counter[str]()
    for document in documents:
        if not is_page(document):
            raise BillError(f"{document.path or 'the document'} is not a page such as the others")
        for bucket in document["data"].elements():
            results = list(bucket["results"].elements())
            start, end = (to_unix_moment(bucket[name].value, bucket[name].path) for name in ("start_time", "end_time"))
            day = buckets.add(start, end, [each.value for each in results], bucket.path)
            for result in results:
                kind = result["object"].text() or ""
                kinds.add(_COSTS if kind == _COSTS else "usage")
                line = _cost(result, day) if kind == _COSTS else _usage(result, day, kind)
                if line is None:
                    left_out[kind.removeprefix("organization.").removesuffix(".result")] += 1
                else:
                    lines.append(line)
    if not kinds:
        raise BillError("no bucket of it has a result, so it is neither of costs nor of usage. Leave it out")
    if len(kinds) > 1:
        raise BillError("it has pages of costs and of usage. Put them into files of their own")
    remarks = [f"{counted(n, 'result')} of {kind} without an amount or tokens left out" for kind, n in left_out.items()]
    if _COSTS in kinds and not any(line.item for line in lines):
        remarks.append("it names no models: group_by=line_item makes OpenAI name them; --by day compares what is there")
    last = documents[-1]
    remarks += continued(last["next_page"].text(), is_last=not last["has_more"].value)
    return Bill(
        provider="openai",
        lines=tuple(lines),
        days=buckets.days(),
        has_amounts=_COSTS in kinds,
        part_days=buckets.part_days(),
        remarks=tuple(remarks),
    )


def _cost(result: Member, day: date) -> Line | None:
    amount = result["amount"]
    if amount.value is None or amount["value"].value is None:
        return None
    check_currency(amount["currency"].value, amount["currency"].path)
    return Line(day=day, item=result["line_item"].text(), usd=amount["value"].amount())


def _usage(result: Member, day: date, kind: str) -> Line | None:
    if not _USAGE.fullmatch(kind):
        raise BillError(f"{result.path}.object is {shown(kind)}, which is neither of costs nor of usage")
    counts = result["input_tokens"].count(), result["output_tokens"].count()
    if counts == (None, None):
        return None
    return Line(day=day, model=result["model"].text(), input_tokens=counts[0], output_tokens=counts[1])
