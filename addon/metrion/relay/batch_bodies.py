"""Embeddings of several requests in one: their bodies → one body; its answer → an answer for each. Bytes; no I/O.

What is not an input is equal in all of them. Each vector goes into its request's answer digit by digit as it came.
The usage of the whole is shared by the lengths of the inputs, by largest remainder: the shares are whole counts where
the whole is one, and add up to it exactly.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from msgspec import DecodeError, Raw
from msgspec.json import Decoder, encode

from metrion.parsing.json_members import UnreadableError, read_body, spliced

FORMAT = "openai_embeddings"
"""The wire format in which embeddings are gathered and split."""
MOST_BYTES = 64 << 10
"""Of a body that is gathered."""
_FINEST, _LARGEST = -12, 9
"""Powers of ten: what an amount of money can be cut into, at least, and how large it is at most."""

_MEMBERS = Decoder(dict[str, Raw])
_ELEMENTS = Decoder(list[dict[str, Raw]])
_INDEX = Decoder(int)


class UnsplittableError(ValueError):
    """An answer is not one for these inputs. The message is fit to be shown."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a request wants embedded."""

    texts: bytes
    """The inputs as they are in the body, with commas between them."""
    count: int
    length: int
    """In characters, or in tokens."""
    are_tokens: bool
    others: bytes
    """All other members of the body, in an order of their own."""
    place: tuple[int, int]
    """Where the inputs are in the body."""


def read_inputs(body: bytes, most: int) -> Inputs | str:
    """Return what a body wants embedded, or why it is not gathered. ``most``: how many inputs are."""
    if len(body) > MOST_BYTES:
        return "the body is too long"
    try:
        _, asked = read_body(body)
    except UnreadableError as error:
        return f"the body {error}"
    if "input" not in asked.places:
        return "it has no input"
    _, start, end = asked.places["input"]
    text = body[start:end]
    value = json.loads(text)
    measured = _measured(value)
    if measured is None:
        return "its input has another form"
    count, length, are_tokens = measured
    if count > most:
        return "it has too many inputs"
    is_one = isinstance(value, str) or isinstance(value[0], int)
    members = sorted((name, body[at:until]) for name, (_, at, until) in asked.places.items() if name != "input")
    others = b"".join(b"%d %b %d %b" % (len(name), name.encode(), len(held), held) for name, held in members)
    return Inputs(text if is_one else text[1:-1].strip(), count, length, are_tokens, others, (start, end))


def combined(body: bytes, first: Inputs, others: Sequence[Inputs]) -> bytes:
    """Return a body with the inputs of others behind its own."""
    texts = b"[" + b",".join((first.texts, *(each.texts for each in others))) + b"]"
    return spliced(body, [(*first.place, texts)])


def split(answer: bytes, requests: Sequence[Inputs]) -> list[bytes]:
    """Return the answer to each of the requests whose inputs, one behind the other, this one answers.

    :raises UnsplittableError: it does not.
    """
    try:
        whole = _MEMBERS.decode(answer)
        vectors = _ordered(_ELEMENTS.decode(whole["data"]))
    except (DecodeError, KeyError, UnicodeDecodeError):
        raise UnsplittableError("the answer cannot be read") from None
    if len(vectors) != sum(each.count for each in requests):
        raise UnsplittableError("the answer has another number of vectors")
    if "meta" in whole:
        raise UnsplittableError("the answer has another form")
    usages = _usages(whole.get("usage"), [each.length for each in requests])
    answers, at = [], 0
    for request, usage in zip(requests, usages, strict=True):
        own = [{**vector, "index": number} for number, vector in enumerate(vectors[at : at + request.count])]
        at += request.count
        answers.append(encode(whole | {"data": own} | ({"usage": Raw(usage.encode())} if usage is not None else {})))
    return answers


def shares(whole: int, weights: Sequence[int]) -> list[int]:
    """Return parts of a count in proportion to weights, by largest remainder. They add up to it."""
    total = sum(weights)
    if not total:
        weights, total = [1] * len(weights), len(weights)
    parts = [divmod(whole * weight, total) for weight in weights]
    left = whole - sum(part for part, _ in parts)
    larger = sorted(range(len(parts)), key=lambda place: parts[place][1], reverse=True)[:left]
    given = set(larger)
    return [part + (place in given) for place, (part, _) in enumerate(parts)]


def _measured(value: Any) -> tuple[int, int, bool] | None:
    """Return how many inputs a value has, their length, and whether they are tokens; ``None``: it is no input."""
    if isinstance(value, str):
        return (1, len(value), False) if value else None
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(each, str) and each for each in value):
        return len(value), sum(map(len, value)), False
    if _are_tokens(value):
        return 1, len(value), True
    if all(isinstance(each, list) and each and _are_tokens(each) for each in value):
        return len(value), sum(map(len, value)), True
    return None


def _are_tokens(value: Sequence[Any]) -> bool:
    return all(type(each) is int for each in value)


def _ordered(vectors: Sequence[dict[str, Raw]]) -> list[dict[str, Raw]]:
    """Return vectors by their index, which is each once."""
    by_index = {_INDEX.decode(vector["index"]): vector for vector in vectors}
    if not all("embedding" in vector for vector in vectors) or by_index.keys() != set(range(len(vectors))):
        raise UnsplittableError("the answer does not say which vector is whose")
    return [by_index[index] for index in range(len(vectors))]


def _usages(text: Raw | None, lengths: Sequence[int]) -> Sequence[str | None]:
    """Return shares of a usage, as JSON.

    The largest count is shared by the lengths, and each other by the shares of that one: so no part of it has a larger
    share than it has.
    """
    if text is None:
        return [None] * len(lengths)
    try:
        usage = json.loads(bytes(text), parse_float=Decimal, parse_constant=Decimal)
        counts = _counts(usage)
        return _parts(usage, shares(max(counts, default=0), lengths) if any(counts) else lengths)
    except (ValueError, ArithmeticError, RecursionError):
        raise UnsplittableError("the usage cannot be shared") from None


def _counts(value: Any) -> Sequence[int]:
    if isinstance(value, dict):
        return [count for held in value.values() for count in _counts(held)]
    if type(value) is not int:
        return []
    if value < 0:
        raise ValueError("a count below 0")
    return [value]


def _parts(value: Any, weights: Sequence[int]) -> list[str]:
    """Return shares of a value, as JSON. What is no number is the same in all."""
    if isinstance(value, dict):
        members = [(json.dumps(name), _parts(held, weights)) for name, held in value.items()]
        return [
            "{" + ",".join(f"{name}:{parts[place]}" for name, parts in members) + "}" for place in range(len(weights))
        ]
    if type(value) is int:
        return list(map(str, shares(value, weights)))
    if isinstance(value, Decimal):
        finest = min(_FINEST, int(value.as_tuple().exponent))
        units = int(value.scaleb(-finest)) if value.adjusted() <= _LARGEST else 0
        if Decimal(units).scaleb(finest) != value:
            raise ValueError("an amount with too many digits")
        return [f"{Decimal(part).scaleb(finest):f}" for part in shares(units, weights)]
    return [json.dumps(value)] * len(weights)
