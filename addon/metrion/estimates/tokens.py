"""Usage that nobody reported, estimated from what passed: an estimate input in, a usage or ``None`` out.

A stream without a usage chunk, one that was cut, and a provider that reports none leave tokens to be estimated from
the words of the request and the response. What is not known well enough stays unknown: see docs/estimates.md for how
well is well enough. What the provider did report is never replaced, only completed.

While bodies pass, the readers in :mod:`metrion.metering.tap` put them into a :class:`Sample` each. At the end
:func:`estimate_input` decides whether an estimate is wanted and collects what it needs, and :func:`estimate` makes it,
which takes milliseconds and may be done in any thread. Without the optional tokenizers there are no estimates.
Nothing here raises on what a stranger sent, and no prompt or completion is in a ``repr``, a warning or a result.

Speech that is billed by the character needs no tokens: the characters are those of the request's text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from metrion.dialects.reading.texts import Answered, Asked, Texts
from metrion.dialects.reading.usage_reader import MOST
from metrion.estimates import speech, texts
from metrion.estimates.families import O200K, Family, Input, Output, family
from metrion.estimates.sample import Kept, Sample
from metrion.estimates.tokenizers import Counter, counter, is_available
from metrion.estimates.tools import declared
from metrion.model import EndReason, Reading, Usage
from metrion.parsing.sse import EventReader


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateInput:
    """What an estimate is made of. It refers to no connection, and can go to another thread or process."""

    dialect: str
    model: str
    streamed: bool
    """The response is a stream of events."""
    cut: bool
    """It had begun, and ended before the provider said that this is all."""
    reported: Usage | None = None
    """What the provider said, before a stream was cut or, of speech, at all."""
    request: Kept | None = field(default=None, repr=False)
    response: Kept = field(default=Kept(), repr=False)


def samples(dialect: str | None) -> tuple[Sample | None, Sample | None]:
    """Return samples that keep a request and its response of this wire format; ``None`` for one that is not kept.

    A body is kept if the format can be estimated and, unless it is speech, a tokenizer is there.
    """
    if dialect in speech.BY_CHARACTER:
        return Sample(), None
    return (Sample(), Sample()) if texts.texts_of(dialect) and is_available() else (None, None)


def prepare() -> None:
    """Load the tokenizer of nearly all models now, because it holds the interpreter's lock for a fifth of a second."""
    counter(O200K)


def estimate_input(
    *,
    dialect: str | None,
    reading: Reading,
    end_reason: EndReason,
    model_requested: str | None,
    streamed: bool,
    request: Sample | None,
    response: Sample | None,
    by_character: bool = False,
) -> EstimateInput | None:
    """Collect what an estimate needs; ``None`` where no estimate is wanted or possible.

    No estimate is wanted where the usage is known, nor where it is not known whether there will be a bill: after an
    error within a stream, and while a background response is being made. Of speech one is wanted if the model is billed
    by nothing but characters (``by_character``).
    """
    model = reading.model or model_requested
    failed = reading.stream_error or reading.is_error or reading.error_type
    if dialect is None or model is None or failed or reading.pending:
        return None
    is_speech = dialect in speech.BY_CHARACTER
    if not is_speech and reading.has_final_usage(end_reason):  # as nearly always: nothing is copied then
        return None
    asked = request.taken() if request is not None else None
    if is_speech:
        if asked is None or not by_character:
            return None
        return EstimateInput(
            dialect=dialect, model=model, streamed=streamed, cut=False, reported=reading.usage, request=asked
        )
    kept = response.taken() if response is not None else None
    if texts.texts_of(dialect) is None or kept is None or not kept.passed:
        return None
    return EstimateInput(
        dialect=dialect,
        model=model,
        streamed=streamed,
        cut=reading.model is not None and reading.finish_reason is None and end_reason is not EndReason.COMPLETE,
        reported=reading.usage,
        request=asked,
        response=kept,
    )


def estimate(estimate_input: EstimateInput) -> Usage | None:
    """Return the usage, completed where a part of it was reported; ``None`` where its output cannot be estimated.

    Counts that nobody reported and that cannot be estimated, such as the input where there are images in it, stay
    ``None``.
    """
    if estimate_input.dialect in speech.BY_CHARACTER:
        request = estimate_input.request
        return speech.spoken(request, estimate_input.reported) if request is not None else None
    words = texts.texts_of(estimate_input.dialect)
    try:
        return _estimated(estimate_input, words) if words is not None else None
    except RecursionError:  # documents may be nested deeper than Python can follow
        return None


def _estimated(estimate_input: EstimateInput, words: Texts) -> Usage | None:
    asked = _asked(estimate_input, words)
    answered = texts.answered(words, _documents(estimate_input))
    kind = family(estimate_input.model)
    count = counter(kind.encoding) if kind is not None else None
    spoken = None
    if kind is not None and count is not None:
        spoken = _spoken(estimate_input, asked, answered, kind, count, in_items=words.in_items)
    if estimate_input.reported is not None:
        return _completed(estimate_input, estimate_input.reported, answered, spoken)
    if spoken is None or kind is None or count is None:
        return None
    return Usage(input_tokens=_input_tokens(asked, kind.input, count), output_tokens=spoken)


def _completed(estimate_input: EstimateInput, reported: Usage, answered: Answered, spoken: int | None) -> Usage | None:
    """Return what was reported with the output that has passed by now."""
    # A running total, and not the opening of a stream, as Anthropic's.
    running = estimate_input.response.restarts > 1 or answered.counted
    if running and answered.silent:  # the latest total has all of it, thoughts included
        spoken = 0 if reported.output_tokens is not None else None
    if spoken is None or reported.shares is not None:  # of several models' usages, it is not known which one grew
        return None
    before = reported.output_tokens or 0
    output = before + spoken if running else max(before, spoken)
    if output > MOST:
        return None
    # An amount, or the details of an output, are of the part that was reported only.
    return replace(
        reported,
        output_tokens=output,
        reasoning_tokens=None,
        output_audio_tokens=None,
        output_image_tokens=None,
        output_video_tokens=None,
        provider_cost_usd=None,
    )


def _asked(estimate_input: EstimateInput, words: Texts) -> Asked | None:
    """Return what the request says; ``None`` where it was not kept as a whole, or is not JSON."""
    if estimate_input.request is None or not estimate_input.request.whole:
        return None
    document = _json(b"".join(estimate_input.request.pieces()))
    return texts.asked(words, document) if isinstance(document, dict) else None


def _spoken(
    estimate_input: EstimateInput,
    asked: Asked | None,
    answered: Answered,
    kind: Family,
    count: Counter,
    *,
    in_items: bool,
) -> int | None:
    """Return the tokens of what was said, counted or extrapolated; ``None`` where they are not known well enough."""
    told = asked.reasons if asked is not None else None
    thinks = kind.thinks if told is None else told
    hidden = (answered.reasoned or thinks is not False) and not kind.shows_thoughts
    unshown = answered.unknown or hidden or (asked is not None and asked.unshown)
    if kind.output is None or unshown or (answered.names and kind.output.call is None):
        return None
    if answered.silent:  # a stream may be cut before its first word; what is over has said something, though not here
        return 0 if estimate_input.streamed and estimate_input.cut else None
    tokens = _tokens(answered, asked or Asked(), kind.output, count)
    if in_items:
        tokens += kind.output.item
    return round(tokens * estimate_input.response.passed / estimate_input.response.kept)


def _tokens(answered: Answered, asked: Asked, figures: Output, count: Counter) -> float:
    called = {place: "".join(answered.pieces.pop(place, ())) for place in answered.names}
    said = ["".join(pieces) for pieces in answered.pieces.values()]
    tokens = figures.factor * sum(map(count, (*said, *called.values())))
    if said:
        tokens += figures.text + (figures.offered if asked.tools else 0)
    if not asked.forced:  # else the name is the caller's, not the model's
        tokens += figures.factor * sum(map(count, answered.names.values())) + (figures.call or 0) * len(called)
        tokens += figures.together if len(called) > 1 else 0
    return tokens + figures.parameter * sum(map(_arguments, called.values()))


def _arguments(text: str) -> int:
    arguments = _json(text)
    return len(arguments) if isinstance(arguments, dict) else 0


def _input_tokens(asked: Asked | None, figures: Input | None, count: Counter) -> int | None:
    if asked is None or asked.unknown or figures is None:
        return None
    tokens = asked.tokens + sum(map(count, asked.texts))
    if asked.messages:
        tokens += figures.message * asked.messages + figures.request + figures.call * asked.calls
    if asked.tools:
        tokens += count(declared(asked.tools)) + (figures.tools_system if asked.system else figures.tools)
        tokens += figures.forced if asked.forced else 0
    return tokens


def _documents(estimate_input: EstimateInput) -> Iterator[Any]:
    if not estimate_input.streamed:
        body = _json(b"".join(estimate_input.response.pieces()))
        yield from body if isinstance(body, list) else () if body is None else (body,)
        return
    events, data = EventReader(), bytearray()
    for piece in estimate_input.response.pieces():
        for part in events.feed(piece):
            data += part.data
            if part.last:
                yield _json(bytes(data))
                data.clear()


def _json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
