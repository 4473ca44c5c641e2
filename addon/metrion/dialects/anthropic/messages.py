"""Anthropic's Messages API, whole or streamed, from Anthropic or through a cloud.

Sources: ``Usage``, ``MessageDeltaUsage`` and the stream events in the anthropic SDK;
https://docs.anthropic.com/en/docs/build-with-claude/streaming.

- ``input_tokens`` is only what no cache had a part in: billed as input is its sum with cache reads and cache writes.
- ``message_start`` opens the usage. Each ``message_delta`` is cumulative and replaces, field by field, what it reports;
  what only the start has (the lifetimes of cache writes) stays. Start and delta are never added.
- ``output_tokens`` has the thinking in it.
- ``iterations`` says what each sampling of the request is billed for. The rest of the usage leaves some of them out:
  compactions, which the model itself does, and advisors and declined attempts, which are billed under their own model.
  A model is named there where it may be another than the response's.
- OpenRouter, which speaks this format too, says in ``cost`` what it charged.
- Where a ``fallback_credit`` was redeemed, the request is billed as if the conversation had been on this model all
  along, and not by its counts. What it costs is then not known
  (https://platform.claude.com/docs/en/build-with-claude/fallback-credit).
- A request that is refused before any output is billed in some categories only, and reports its tokens all the same.
  The same holds for an attempt that was declined, whose category is in the ``fallback`` block in the content
  (https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback#how-refusals-are-billed).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from metrion.dialects.anthropic.messages_texts import TEXTS
from metrion.dialects.dialect import TOKENS, Dialect, Draft, label, mapping
from metrion.dialects.reading import shares
from metrion.dialects.reading.cache_writes import LIFETIMES, by_lifetime
from metrion.dialects.reading.charges import charged
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_values import EACH, Object, Path, to_json

_CACHE_READ, _CACHE_WRITE = "cache_read_input_tokens", "cache_creation_input_tokens"
_COUNTS = (*TOKENS, _CACHE_READ, _CACHE_WRITE)

_CREDIT = "fallback_credit"
_CREDIT_NOT_APPLIED = frozenset({"not_applied", "not_redeemed", "none"})

_REPORTED_ONCE = ("reasoning_tokens", "server_tools")
"""What the usage reports as a whole, and of no sampling. It is of the model that served."""

_MOST_MEMBERS = 100
"""A usage that is reported piece by piece may have as many members; it has about ten."""

_BILLED_REFUSALS = frozenset({"bio", "frontier_llm", "reasoning_extraction"})
"""Categories of refusals that are billed also before any output (since 24 September 2026)."""

_REFUSED, _DECLINED = "refused before any output", "declined"
"""The names under which the draft keeps, beside the provider's own usage, what of it is not billed: the response
itself, and attempts of these models that had no output."""

_MODES = frozenset({"speed", "inference_geo"})
_STANDARD_MODES = frozenset({"standard", "global", "not_available"})
"""Values of ``speed`` and ``inference_geo`` that leave the rates as they are; older models have the last."""


@dataclass(slots=True)
class MessageDraft(Draft):
    """A draft that knows what a refusal costs."""

    declined: list[str] = field(default_factory=list)
    """Models that declined, and are not billed for it if they had no output."""


def read(document: Mapping[str, Any], draft: MessageDraft) -> None:
    """Record what a message, or an event of a streamed one, says."""
    message = document.get("message")
    if not isinstance(message, dict):
        message = document  # a whole message, or an event that changes one
    draft.model = label(message.get("model"), draft.model)
    draft.generation_id = label(message.get("id"), draft.generation_id)
    _record_content(message.get("content"), draft)
    _record_content([document.get("content_block")], draft)
    refused = False
    for holder in (message, mapping(document.get("delta"))):
        draft.finish_reason = label(holder.get("stop_reason"), draft.finish_reason)
        refused = refused or _is_free_refusal(holder, has_output=draft.has_output)
    usage = message.get("usage")
    if isinstance(usage, Object) and usage:
        if draft.usage is None:
            draft.usage, draft.usage_source = usage, usage.source
        else:
            merged = _latest(draft.usage, usage)
            if len(merged) <= _MOST_MEMBERS:
                draft.usage, draft.usage_source = merged, to_json(merged)
            else:
                draft.faults.append("members of the usage are too many to be merged")
        if refused or draft.declined:
            unbilled = ((_REFUSED, refused), (_DECLINED, draft.declined))
            draft.usage = {**draft.usage, **{name: value for name, value in unbilled if value}}
            if "iterations" in draft.usage:  # the others are billed, and may be priced again from what is stored
                draft.usage_source = to_json(draft.usage)
        draft.service_tier = label(usage.get("service_tier"), draft.service_tier)
        if "iterations" in usage:
            draft.model = label(_fallback(UsageReader(usage).entries("iterations")), draft.model)


def _is_free_refusal(message: Mapping[str, Any], *, has_output: bool) -> bool:
    """Whether a message, or what ends a streamed one, refuses, and costs nothing."""
    if message.get("stop_reason") != "refusal" or has_output:
        return False
    return label(mapping(message.get("stop_details")).get("category")) not in _BILLED_REFUSALS


def _generates(block: Mapping[str, Any]) -> bool:
    """Whether a block of the content is output: the end of an attempt that was declined is none."""
    return block.get("type") != "fallback"


def _record_content(blocks: object, draft: MessageDraft) -> None:
    for block in blocks if isinstance(blocks, list) else ():
        if not isinstance(block, dict):
            continue
        draft.has_output = draft.has_output or _generates(block)
        model, trigger = label(mapping(block.get("from")).get("model")), block.get("trigger")
        if (
            model is not None
            and isinstance(trigger, dict)
            and label(trigger.get("category")) not in _BILLED_REFUSALS
            and len(draft.declined) < _MOST_MEMBERS
        ):
            draft.declined.append(model)


def usage(reader: UsageReader) -> Usage:
    """Read a ``Usage``; of its shares, those of the model that served have no name."""
    if reader.has(_CREDIT) and reader.text(_CREDIT, "status", "type") not in _CREDIT_NOT_APPLIED:
        reader.contradict(*TOKENS[:1], by=f"{_CREDIT}.status")
    iterations = _billed(reader)
    plain = _usage(
        reader,
        raw=None if iterations else reader.raw,
        provider_cost_usd=charged(reader),
        unbilled=reader.has(_REFUSED) or None,
    )
    if not iterations:
        return plain
    served = _fallback(iterations)
    own, others = list[Usage](), list[tuple[str | None, Usage]]()
    for each in iterations:
        model = _billed_under(each, served)
        sampling = replace(_usage(each), modes=plain.modes, **dict.fromkeys(_REPORTED_ONCE))
        if model is None:
            own.append(sampling)
        else:
            others.append((model, sampling))
    if plain.unbilled:
        return shares.under(None, shares.together([(None, plain), *others])) if others else plain
    counted = shares.added_up(own)
    if not (_covers(counted.input_tokens, plain.input_tokens) and _covers(counted.output_tokens, plain.output_tokens)):
        reader.warnings.append("usage.iterations does not cover the usage")
        return plain
    once: dict[str, Any] = {name: getattr(plain, name) for name in _REPORTED_ONCE}
    if counted.cache_write_1h_tokens is None:
        once["cache_write_1h_tokens"] = plain.cache_write_1h_tokens
    own[-1] = replace(own[-1], **once)
    whole = shares.under(None, shares.together([*((None, each) for each in own), *others]))
    return replace(whole, provider_cost_usd=plain.provider_cost_usd)


def _billed(reader: UsageReader) -> list[UsageReader] | None:
    """Return the samplings but for those that declined, had no output, and are not billed for it."""
    iterations, declined = reader.entries("iterations"), reader.texts(_DECLINED)
    if not iterations or not declined:
        return iterations
    return [
        each
        for each in iterations
        if each.text("type") != "message" or each.text("model") not in declined or each.count("output_tokens") != 0
    ]


def _fallback(iterations: Sequence[UsageReader] | None) -> str | None:
    """Return the model that served a response in place of the one that was asked; ``None``: that one served."""
    served = [each.text("model") for each in iterations or () if each.text("type") == "fallback_message"]
    return served[-1] if served else None


def _billed_under(iteration: UsageReader, served: str | None) -> str | None:
    """Return the model that a sampling is billed under; ``None``: the response's own."""
    model = iteration.text("model")
    asked = served is None and iteration.text("type") == "message"
    return None if asked or model == served else model


def _covers(billed: int | None, plain: int | None) -> bool:
    return billed is not None and billed >= (plain or 0)


def _usage(reader: UsageReader, **reported_once: Any) -> Usage:
    uncached, output_tokens, cache_read, written = reader.counts(_COUNTS)
    cache_write, cache_write_1h = _cache_writes(reader, written)
    return Usage(
        input_tokens=_input_tokens(reader, uncached, cache_read, cache_write),
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        cache_write_1h_tokens=cache_write_1h,
        output_tokens=output_tokens,
        reasoning_tokens=reader.count("output_tokens_details", "thinking_tokens"),
        server_tools=reader.calls("server_tool_use"),
        modes=_modes(reader) if reader.has_any(_MODES) else None,
        **reported_once,
    )


def _cache_writes(reader: UsageReader, written: int | None) -> tuple[int | None, int | None]:
    """Return all that was written to caches, and the part that lives an hour."""
    if written is None and reader.has(_CACHE_WRITE):
        return None, None
    return by_lifetime(reader, written, reader.counts(LIFETIMES, "cache_creation"), "cache_creation", LIFETIMES[0])


def _input_tokens(
    reader: UsageReader, uncached: int | None, cache_read: int | None, cache_write: int | None
) -> int | None:
    """Return the sum, or ``None`` where a part of it is there and cannot be read."""
    unreadable = (cache_read is None and reader.has(_CACHE_READ)) or (cache_write is None and reader.has(_CACHE_WRITE))
    return None if uncached is None or unreadable else uncached + (cache_read or 0) + (cache_write or 0)


def _modes(reader: UsageReader) -> tuple[str, ...] | None:
    modes = [mode for name in ("speed", "inference_geo") if (mode := reader.text(name))]
    return tuple(mode for mode in modes if mode not in _STANDARD_MODES) if modes else None


def _latest(known: Mapping[str, Any], news: Mapping[str, Any]) -> dict[str, Any]:
    """Return both merged: of each member the latest value that is not null."""
    merged = dict(known)
    for name, value in news.items():
        before = merged.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[name] = _latest(before, value)
        elif value is not None:
            merged[name] = value
        else:
            merged.setdefault(name, None)
    return merged


_BLOCK: tuple[Path, ...] = (("type",), ("from", "model"), ("trigger", "category"))
MESSAGE: tuple[Path, ...] = (
    ("model",),
    ("id",),
    ("stop_reason",),
    ("stop_details", "category"),
    ("usage",),
    *(("content", EACH, *path) for path in _BLOCK),
)

DIALECT = Dialect(
    name="anthropic_messages",
    wanted=(
        ("type",),
        *MESSAGE,
        *(("message", *path) for path in MESSAGE),
        *(("content_block", *path) for path in _BLOCK),
        ("delta", "stop_reason"),
        ("delta", "stop_details", "category"),
    ),
    marks=(b"message_", b"content_block_start"),
    output=re.compile(rb"content_block_(?:start|delta)"),
    draft=MessageDraft,
    read=read,
    usage=usage,
    end_types=frozenset({"message_stop"}),
    needs=TOKENS,
    texts=TEXTS,
)
