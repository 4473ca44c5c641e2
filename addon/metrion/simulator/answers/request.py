"""A request as a provider sees it, and the place where most of them look for the key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the provider sees it: ``path`` has no query, header names are lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    number: int
    """Counts the requests of the process; makes ids distinct."""

    @property
    def id(self) -> str:
        """The id that the provider gives the request."""
        return f"req_sim{self.number:08d}"

    def json(self) -> Json:
        """Read the body as a JSON object; an empty one where it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


def bearer_key(request: Request) -> str | None:
    """Return the key of the ``Authorization`` header."""
    return request.headers.get("authorization", "").removeprefix("Bearer ").strip() or None
