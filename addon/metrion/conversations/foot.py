"""What an exchange cost, in words: events in; a comment of one line, or the lines at the foot of a view, out. Pure.

Never: content. What a caller chose (a label) comes without its control characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from metrion.model import Event

_GAP = " · "


@dataclass(frozen=True, slots=True)
class Total:
    """The events of one flow together; a WebSocket session has many."""

    last: Event
    count: int = 1
    cost: Decimal = Decimal(0)
    is_estimate: bool = False
    without_cost: int = 0
    """Events whose cost is not known."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    model: str | None = None


def added(total: Total | None, event: Event) -> Total:
    """Return the total with one more event in it."""
    before = total or Total(event, count=0)
    unknown = event.cost_usd is None
    return replace(
        before,
        last=event,
        model=event.model or event.model_requested or before.model,
        count=before.count + 1,
        cost=before.cost + (event.cost_usd or 0),
        is_estimate=before.is_estimate or event.cost_source == "estimated",
        without_cost=before.without_cost + unknown,
        input_tokens=_sum(before.input_tokens, event.input_tokens),
        output_tokens=_sum(before.output_tokens, event.output_tokens),
        cache_read_tokens=_sum(before.cache_read_tokens, event.cache_read_tokens),
    )


def comment(total: Total) -> str:
    """Return the one line: cost, model, tokens, user, event id."""
    event = total.last
    who = [event.user_label] if event.user_label else []
    turns = [f"{total.count} rows"] if total.count > 1 else []
    shown = [_cost(total), *([total.model] if total.model else []), *_tokens(total), *turns, *who, str(event.event_id)]
    return _GAP.join(map(_printable, shown))


def foot(total: Total) -> Iterator[tuple[str, str]]:
    """Yield the lines at the foot of a view, each with its name."""
    event = total.last
    yield "cost", _cost(total)
    if event.cost_parts and total.count == 1:
        yield "cost parts", ", ".join(f"{name} ${dollars(part)}" for name, part in event.cost_parts.items())
    yield "tokens", ", ".join(_tokens(total)) or "not reported"
    if event.reasoning_tokens and total.count == 1:
        yield "reasoning tokens", f"{event.reasoning_tokens:,}"
    requested, served = event.model_requested, event.model
    if requested and served != requested:
        yield "model", f"{requested} requested, {served or 'none'} served"
    elif total.model:
        yield "model", total.model
    if event.first_byte_ms is not None:
        yield "first byte", f"{event.first_byte_ms:,.0f} ms"
    if event.latency_ms is not None:
        yield "whole", f"{event.latency_ms:,.0f} ms"
    if event.end_reason not in (None, "complete"):
        yield "ended", " ".join(filter(None, (event.end_reason, event.error_type)))
    if event.user_label:
        yield "user", _printable(event.user_label)
    if event.session_id:
        yield "session", _printable(event.session_id)
    yield "event", str(event.event_id)


def dollars(amount: Decimal | float) -> str:
    """Write an amount with four significant digits, and never without its cents."""
    amount = Decimal(str(amount))
    places = min(max(2, 3 - amount.adjusted()), 12) if amount else 2
    return f"{amount:.{places}f}"


def _cost(total: Total) -> str:
    event, known = total.last, total.count - total.without_cost
    if event.cost_source == "subscription":
        return "subscription"
    if known:
        text = f"{'~' if total.is_estimate else ''}${dollars(total.cost)}"
        return f"{text} + {total.without_cost} without a known cost" if total.without_cost else text
    if event.cost_at_least_usd is not None and total.count == 1:
        return f"≥${dollars(event.cost_at_least_usd)}"
    return event.cost_source or "unknown"


def _tokens(total: Total) -> list[str]:
    if total.input_tokens is None and total.output_tokens is None:
        return []
    cached = f" ({total.cache_read_tokens:,} cached)" if total.cache_read_tokens else ""
    given = "?" if total.input_tokens is None else f"{total.input_tokens:,}"
    made = "?" if total.output_tokens is None else f"{total.output_tokens:,}"
    return [f"{given} in{cached}, {made} out"]


def _sum(before: int | None, more: int | None) -> int | None:
    return before if more is None else (before or 0) + more


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "�" for character in text)
