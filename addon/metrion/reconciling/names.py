"""How a bill names a model → the model as it was metered, by the rule that prices go by, or nothing.

A pure function of names. A model is the same with or without a date, ``-latest`` or a vendor, and with ``.``, ``-`` and
``@`` exchanged (:func:`metrion.pricing.model_names.bare_name`). A bill also spells it in words (``Claude Sonnet 4.5``),
and among others (``Generate content input token count gemini 2.5 flash short input text``): all other words must be
ones that say what kind of tokens is billed. What can be read in two ways is not matched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from metrion.pricing.model_names import bare_name

_KINDS = frozenset(
    {
        "audio", "batch", "cache", "cached", "caching", "content", "count", "flex", "for", "generate",
        "generatecontent", "image", "input", "long", "output", "predictions", "priority", "read", "short", "text",
        "thinking", "token", "tokens", "usage", "video", "write",
    }
)  # fmt: skip
_BETWEEN = re.compile(r"[\s_,()|]+")
_MOST_WORDS = 30


class Names:
    """The names that one provider's models are known by."""

    def __init__(self, provider: str, metered: Iterable[str], priced: Iterable[str]) -> None:
        self._provider = provider
        self._labels = self._keyed(metered)
        self.metered = frozenset(self._labels)
        """The keys of the models that were metered."""
        self._labels = self._keyed(priced) | self._labels
        self._by_words: dict[tuple[str, ...], set[str]] = {}
        for key in self._labels:
            self._by_words.setdefault(tuple(sorted(key.split("-"))), set()).add(key)

    def key(self, name: str) -> str:
        """Return what all spellings of a model have in common."""
        return bare_name("-".join(name.split()), self._provider)

    def _keyed(self, names: Iterable[str]) -> dict[str, str]:
        keyed: dict[str, str] = {}
        for name in sorted(names, key=lambda name: (len(name), name)):
            keyed.setdefault(self.key(name), name)
        return keyed

    def label(self, key: str) -> str:
        """Return the shortest name under which a model was metered, else that of the price files, else its key."""
        return self._labels.get(key, key)

    def find(self, text: str) -> str | None:
        """Return the key of the one known model that a text of a bill names."""
        if (whole := self.key(text)) in self._labels:
            return whole
        words = [word for word in _BETWEEN.split(text.lower()) if word.strip("-")]
        if len(words) > _MOST_WORDS:
            return None
        runs = list(_runs(words))
        if found := {key for run in runs if (key := self.key(run)) in self._labels}:
            return found.pop() if len(found) == 1 else None
        reordered = {key for run in runs for key in self._by_words.get(tuple(sorted(self.key(run).split("-"))), ())}
        return reordered.pop() if len(reordered) == 1 else None


def _runs(words: list[str]) -> Iterator[str]:
    """Yield every run of words around which there are only kinds of tokens."""
    plain = [number for number, word in enumerate(words) if word not in _KINDS]
    first, last = (plain[0], plain[-1]) if plain else (len(words), 0)
    for start in range(min(first, len(words) - 1) + 1):
        for end in range(last, len(words)):
            if start <= end:
                yield "-".join(words[start : end + 1])
