"""Text → number of tokens, without a network. In goes an encoding's name, out a function, or ``None`` without them.

The encodings are those of the optional package ``bpe-openai`` (``pip install 'metrion[estimates]'``).
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
from collections.abc import Callable
from functools import cache
from types import ModuleType

SLICE = 1 << 13
"""Characters that are counted at once: the package holds the interpreter's lock meanwhile, a millisecond at most."""

type Counter = Callable[[str], int]


@cache
def is_available() -> bool:
    """Whether there are encodings."""
    return _spec() is not None


@cache
def counter(encoding: str) -> Counter | None:
    """Return what counts the tokens of a text. The first time it takes a tenth of a second, and 30 to 70 MB."""
    bindings = _bindings()
    if bindings is None:
        return None
    count: Counter = bindings.tokenizer_for_encoding(encoding).count

    def count_in_slices(text: str) -> int:
        if len(text) <= SLICE:
            return count(_clean(text))
        return sum(count(_clean(piece)) for piece in _slices(text))

    return count_in_slices


def _slices(text: str) -> list[str]:
    """Cut before spaces, where tokens begin anyway; in a text without any, anywhere."""
    slices, start = [], 0
    while len(text) - start > SLICE:
        space = text.rfind(" ", start + SLICE // 2, start + SLICE)
        end = space if space > 0 else start + SLICE
        slices.append(text[start:end])
        start = end
    return [*slices, text[start:]]


def _clean(text: str) -> str:
    """Replace what is no text: halves of surrogate pairs, which JSON can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _spec() -> importlib.machinery.ModuleSpec | None:
    package = importlib.util.find_spec("bpe_openai")
    if package is None or package.submodule_search_locations is None:
        return None
    return importlib.machinery.PathFinder.find_spec("bpe_openai._bindings", package.submodule_search_locations)


@cache
def _bindings() -> ModuleType | None:
    """Load the compiled half of the package alone.

    The other half parses all vocabularies into dictionaries on import, which takes a second of the interpreter's lock,
    and so of the proxy's event loop, and another 100 MB.
    """
    spec = _spec()
    if spec is None or spec.loader is None:
        return None
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError:  # built for another machine
        return None
    return module
