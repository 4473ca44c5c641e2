"""What tests of wire formats share: documents in, the usage out that a dialect reads of them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from metrion.dialects.dialect import Dialect, Draft
from metrion.dialects.reading.usage_reader import UsageReader
from metrion.model import Usage
from metrion.parsing.json_stream import Scanner
from metrion.parsing.json_values import tree


def drafted(dialect: Dialect, *documents: dict[str, Any]) -> Draft:
    """What is noted of a body, or of one event after another."""
    draft = dialect.draft()
    for document in documents:
        scanner = Scanner(tree(dialect.wanted))
        scanner.feed(json.dumps(document, default=float).encode())
        dialect.read(scanner.document, draft)
    return draft


def reported(usage: Usage) -> dict[str, Any]:
    """What is not ``None``."""
    return {name: value for name in usage.__slots__ if (value := getattr(usage, name)) is not None}


def read_usage(dialect: Dialect, raw: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What is reported by a usage object alone, and what could not be read."""
    reader = UsageReader(json.loads(json.dumps(raw, default=float), parse_float=Decimal))
    return reported(dialect.usage(reader)), reader.warnings


def read_documents(dialect: Dialect, *documents: dict[str, Any]) -> dict[str, Any]:
    """What is reported by a body, or by the events of a stream."""
    draft = drafted(dialect, *documents)
    return {} if draft.usage is None else reported(dialect.usage(UsageReader(draft.usage)))
