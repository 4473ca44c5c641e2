"""Videos, when they are asked for and when they are read back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from metrion.dialects.openai.videos import DIALECT
from tests.dialects.read import drafted, read_documents

SORA = {"id": "video_123", "object": "video", "model": "sora-2", "progress": 0, "seconds": "8", "size": "720x1280"}
XAI = {"status": "done", "video": {"url": "https://example.com/1.mp4", "duration": 6}, "model": "grok-imagine-video"}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (SORA | {"status": "queued"}, {}),
        (SORA | {"status": "failed", "error": {"code": "moderation_blocked"}}, {}),
        (SORA | {"status": "completed", "progress": 100}, {"server_tools": {"video_seconds": 8}}),
        (SORA | {"status": "completed", "seconds": "eight"}, {}),
        (XAI | {"usage": {"cost_in_usd_ticks": 500000000}}, {"provider_cost_usd": Decimal("0.05")}),
        (XAI, {}),
        ({"id": "job-abc123", "status": "completed", "usage": {"cost": 0.5, "is_byok": False}},
         {"provider_cost_usd": Decimal("0.5")}),
    ],
    ids=["asked for", "failed", "OpenAI: seconds", "no seconds", "xAI: charged", "xAI, earlier", "OpenRouter: charged"],
)  # fmt: skip
def test_usage(document: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read_documents(DIALECT, document) == expected


@pytest.mark.parametrize(
    ("document", "generation_id", "pending"),
    [
        (SORA | {"status": "queued"}, "video_123", True),
        (SORA | {"status": "in_progress"}, "video_123", True),
        (SORA | {"status": "completed"}, "video_123", False),
        (SORA | {"status": "failed"}, "video_123", False),
        ({"request_id": "d97415a1-5796-b7ec-379f-4e6819e08fdf"}, "d97415a1-5796-b7ec-379f-4e6819e08fdf", True),
        ({"id": "job-abc123", "polling_url": "/api/v1/videos/job-abc123", "status": "pending"}, "job-abc123", True),
        (XAI, None, False),
        ({"error": "bad"}, None, False),
    ],
)
def test_a_video_is_waited_for_until_it_is_done(
    document: dict[str, Any], generation_id: str | None, *, pending: bool
) -> None:
    draft = drafted(DIALECT, document)
    assert (draft.generation_id, draft.pending) == (generation_id, pending)
