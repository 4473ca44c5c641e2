"""When a batch was done, in every format of batches."""

from datetime import datetime
from typing import Any

import pytest

from metrion.dialects import DIALECTS
from tests.dialects.read import drafted

NOON = datetime(2026, 11, 1, 12)  # noqa: DTZ001 -- naive UTC, as events have it
SECONDS = 1793534400
GOOGLE = {"name": "batches/b", "metadata": {"state": "BATCH_STATE_SUCCEEDED", "endTime": "2026-11-01T12:00:00Z"}}


@pytest.mark.parametrize(
    ("dialect", "document", "expected"),
    [
        ("openai_batches", {"object": "batch", "status": "completed", "completed_at": SECONDS}, NOON),
        ("openai_batches", {"object": "batch", "status": "cancelled", "cancelled_at": SECONDS}, NOON),
        ("openai_batches", {"object": "batch", "status": "expired", "completed_at": None, "expired_at": SECONDS}, NOON),
        ("openai_batches", {"object": "batch", "status": "in_progress", "completed_at": None}, None),
        ("mistral_batches", {"status": "SUCCESS", "completed_at": SECONDS}, NOON),
        ("mistral_batches", {"status": "RUNNING", "completed_at": None}, None),
        ("anthropic_batches", {"type": "message_batch", "processing_status": "ended",
                               "ended_at": "2026-11-01T12:00:00+00:00"}, NOON),
        ("anthropic_batches", {"type": "message_batch", "processing_status": "in_progress", "ended_at": None}, None),
        ("gemini_batches", GOOGLE, NOON),
        ("gemini_batches", {"name": "batches/b", "metadata": {"state": "BATCH_STATE_RUNNING"}}, None),
    ],
)  # fmt: skip
def test_done_at(dialect: str, document: dict[str, Any], expected: datetime | None) -> None:
    assert drafted(DIALECTS[dialect], document).done_at == expected
