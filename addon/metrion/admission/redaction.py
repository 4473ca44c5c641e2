"""Finds credentials that a text repeats, however they are spelled: texts and credentials in; masked texts out.

A provider may put the key that it was given into any field of its answer, and a client its token into any label. Found
are the whole credential and every part of it with 16 characters or more: as it is, in another case, in base64, with
percent-encoding and with the escapes of JSON. Of a Metrion token, which no provider gets, its beginning is enough. A
credential of fewer than 8 characters is no secret, and would mask ordinary words. Never: an exception, or a change to a
text that repeats nothing.

Nearly every text repeats nothing, and is looked at once: eight bytes at a time are compared with every eight bytes in a
row that a key has. These are remembered for the keys of the latest requests, since to cut them takes longer than to
compare.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote

from metrion.admission.credentials import TOKEN_PREFIX, credentials, has_prefix, most_decodings, notable
from metrion.admission.masking import mask
from metrion.model import Forward, Inbound, Refusal

_MASK = "***"
_SHORTEST = 8
_PART = 12
"""A part of a credential that is as long is masked, once the text is known to have a part of 16."""
_BLOCK = 8
_SURELY_WITH_BLOCK = 2 * _BLOCK - 1
"""A part that is as long has a whole block in it, wherever the blocks of the text begin."""
_LONGEST = 4 << 10
"""A longer text that repeats a credential is masked whole: to look closer would take too long."""
_LONGEST_SECRET = 2 << 10
"""Of a longer credential, only the beginning is looked for."""

_TOKEN_PREFIX = TOKEN_PREFIX.decode()
_TOKEN = re.compile(rf"{_TOKEN_PREFIX}[\w-]+", re.ASCII)
_WORD = re.compile(r"[^\s\"'<>(),;{}\[\]]+")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"')
"""A string in JSON."""
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_IN_BASE64 = 3
"""The characters in base64 depend on where in a group of three bytes a text begins."""


def redactor_of(inbound: Inbound, decision: Forward | Refusal | None = None) -> Redactor:
    """Return what masks the credentials that came with a request, and the key that went out for it."""
    if isinstance(decision, Forward):
        return Redactor(decision.credentials)
    identities, placed = credentials(inbound, notable(inbound.headers))
    return Redactor((*identities, *placed))


class _Traces(NamedTuple):
    """What shows in a text, in lower case, that it may repeat a key."""

    blocks: frozenset[int]
    """Every eight bytes in a row of all its spellings."""
    whole: tuple[bytes, ...]
    """Spellings that are too short to be found by a block."""


_MOST_REMEMBERED = 32
_REMEMBERED: dict[bytes, _Traces] = {}
"""By digest."""


class Redactor:
    """Masks what repeats one of these credentials."""

    __slots__ = ("_secrets", "_traces")

    def __init__(self, credentials: Iterable[bytes]) -> None:
        self._secrets = [each[:_LONGEST_SECRET] for each in dict.fromkeys(credentials) if len(each) >= _SHORTEST]
        self._traces = [_traces(secret) for secret in self._secrets if not has_prefix(secret)]

    def repeats(self, text: str) -> bool:
        """Whether a text may repeat a credential. It may say so of one that does not, but it misses none."""
        if self._has_trace(text):
            return True
        return ("%" in text or "\\" in text) and any(map(self._has_trace, _decodings(text)))

    def text(self, text: str) -> str:
        """Return a text with everything masked in it that repeats a credential."""
        if not self.repeats(text):
            return text
        if len(text) > _LONGEST:
            return _MASK
        if "%" in text or "\\" in text:
            text = _WORD.sub(self._word, text)
        return self._without_parts(_TOKEN.sub(lambda token: mask(token[0]), text))

    def json(self, text: str) -> str:
        """Return a JSON text with its strings masked, and all else as it is."""
        if not self.repeats(text):
            return text
        if len(text) > _LONGEST:
            return f'"{_MASK}"'
        return _STRING.sub(self._string, text)

    def _has_trace(self, text: str) -> bool:
        raw = text.encode("utf-8", "replace").lower()
        if any(raw.find(trace) >= 0 for trace in _TOKEN_TRACES):
            return True
        words = memoryview(raw)[: len(raw) & -_BLOCK].cast("Q")
        return any(
            not traces.blocks.isdisjoint(words) or any(whole in raw for whole in traces.whole)
            for traces in self._traces
        )

    def _without_parts(self, text: str) -> str:
        for secret in self._secrets:
            text = _without_parts(text, text.lower(), secret.decode("utf-8", "replace").lower())
            for spelling in _base64_spellings(secret):
                text = _without_parts(text, text, spelling)
        return text

    def _word(self, word: re.Match[str]) -> str:
        return _MASK if any(self._has_part(decoded) for decoded in _decodings(word[0])) else word[0]

    def _has_part(self, text: str) -> bool:
        return _TOKEN_PREFIX in text or self._without_parts(text) != text

    def _string(self, string: re.Match[str]) -> str:
        try:
            text = json.loads(string[0])
        except ValueError:
            text = string[0][1:-1]
        masked = self.text(text)
        return string[0] if masked == text else json.dumps(masked)


def _without_parts(text: str, folded: str, secret: str) -> str:
    """Mask every part of ``secret``. ``folded``: the text as it is compared, character by character."""
    shortest = min(_PART, len(secret))
    if len(folded) != len(text):  # a few letters have more of them in lower case
        parts = (secret[at : at + shortest] for at in range(len(secret) - shortest + 1))
        return _MASK if any(part in folded for part in parts) else text
    kept: list[str] = []
    at = begin = 0
    while at <= len(text) - shortest:
        end = at + shortest
        if folded[at:end] not in secret:
            at += 1
            continue
        while end < len(text) and folded[at : end + 1] in secret:
            end += 1
        kept += (text[begin:at], _MASK)
        at = begin = end
    return "".join((*kept, text[begin:])) if begin else text


def _traces(secret: bytes) -> _Traces:
    digest = hashlib.sha256(secret).digest()
    if (known := _REMEMBERED.get(digest)) is None:
        spellings = [secret.lower(), *(each.lower().encode() for each in _base64_spellings(secret))]
        blocks = frozenset(
            int.from_bytes(spelling[at : at + _BLOCK], sys.byteorder)
            for spelling in spellings
            for at in range(len(spelling) - _BLOCK + 1)
        )
        whole = tuple(each for each in spellings if _SHORTEST <= len(each) < _SURELY_WITH_BLOCK)
        if len(_REMEMBERED) >= _MOST_REMEMBERED:
            _REMEMBERED.clear()
        known = _REMEMBERED[digest] = _Traces(blocks, whole)
    return known


def _base64_spellings(secret: bytes) -> Iterator[str]:
    """Yield what is in the base64 of any text that has ``secret`` in it."""
    for before in range(_IN_BASE64):
        encoded = b64encode(b"\0" * before + secret).rstrip(b"=").decode()
        # The first and the last character may be of its neighbours, too.
        inner = encoded[before + 1 if before else 0 : -1]
        yield inner
        if (for_urls := inner.replace("+", "-").replace("/", "_")) != inner:
            yield for_urls


def _decodings(text: str) -> Iterator[str]:
    """Yield what a text stands for, decoded again and again."""
    for _ in range(most_decodings(len(text))):
        decoded = unquote(_ESCAPE.sub(_unescaped, text)) if "\\" in text else unquote(text)
        if decoded == text:
            return
        yield decoded
        text = decoded


def _unescaped(escape: re.Match[str]) -> str:
    digits = escape[1] or escape[2]
    return chr(int(digits, 16)) if digits else escape[3]


_TOKEN_TRACES = (TOKEN_PREFIX, *(each.lower().encode() for each in _base64_spellings(TOKEN_PREFIX)))
"""What shows that a text may have a Metrion token in it."""
