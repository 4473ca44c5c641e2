"""The entry ``otlp`` of the configuration: where a collector is, and what is sent to it. Never repeats a value."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from metrion.settings.frozen import Frozen
from metrion.settings.values import OtlpSettings

_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
_FORM = "write http(s)://host[:port][/path], as in http://localhost:4318"


def _parse_endpoint(value: object) -> str | None:
    """Read the collector's base URL; it may hold a password, which belongs into a header."""
    if value is None:
        return None
    if not isinstance(value, str) or _UNPRINTABLE.search(value):
        raise ValueError(_FORM)
    try:
        url = urlsplit(value)
        is_usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        raise ValueError(_FORM) from None
    if not is_usable:
        raise ValueError(_FORM)
    if "@" in url.netloc or "?" in value or "#" in value:
        raise ValueError("leave user, password, query and fragment out of it; what identifies you goes into `headers`")
    return value.rstrip("/")


def _parse_headers(value: object) -> dict[str, str]:
    """Read header fields by name."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("write a mapping, as in {authorization: Bearer …}")  # noqa: TRY004 -- pydantic words only a ValueError as an error of this key
    for name, text in value.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError("the name of a header is letters, digits and hyphens")
        if not isinstance(text, str) or not _VALUE.fullmatch(text):
            raise ValueError(f"the value of {name} is printable ASCII text in quotes")
    return dict(value)


class OtlpEntry(Frozen):
    """``otlp`` as written."""

    endpoint: Annotated[str | None, BeforeValidator(_parse_endpoint)] = None
    headers: Annotated[dict[str, str], BeforeValidator(_parse_headers)] = Field(default={}, repr=False)

    @property
    def settings(self) -> OtlpSettings:
        """What the rest of Metrion reads."""
        return OtlpSettings(endpoint=self.endpoint, headers=self.headers)
