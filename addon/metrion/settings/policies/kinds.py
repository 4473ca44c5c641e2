"""The kinds of policies, a row each: what of a value may contradict another policy's.

To add a kind: a field of :class:`~metrion.settings.policies.values.Asked`, which says how it is written, a row here,
and a field of :class:`~metrion.model.policies.Policies`, which :mod:`metrion.admission.policy_book` fills.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

type Claims = Mapping[tuple[str, ...], object]
"""What a value says of each thing, by the keys below that of the kind. Two policies for the same that say something
else of the same thing contradict each other."""


def _each(value: Mapping[str, object]) -> Claims:
    return {(name,): held for name, held in value.items()}


def _whole(value: object) -> Claims:
    return {(): value}


@dataclass(frozen=True, slots=True)
class Kind:
    """One row."""

    claims: Callable[[Any], Claims]


KINDS: Mapping[str, Kind] = {
    "aliases": Kind(_each),
    "model_paths": Kind(_whole),
    "defaults": Kind(_each),
    "caps": Kind(_each),
    "tell": Kind(_whole),
    "retries": Kind(_whole),
    "concurrency": Kind(_whole),
    "cache": Kind(_whole),
    "fallback": Kind(_whole),
    "batching": Kind(_whole),
}
"""By the key under which one is written."""
