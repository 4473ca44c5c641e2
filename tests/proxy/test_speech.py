"""Speech, whose characters only the request tells, through a running proxy."""

from __future__ import annotations

import http.client
import json
import uuid
from decimal import Decimal
from typing import Any

import pytest

from metrion.simulator.delivery import Delivery
from tests.processes import Proxy
from tests.simulated import Simulator

SOUND = [b"ID3" + bytes(range(256)) * 16] * 8
PATH = "/openai/v1/audio/speech"
TEXT = "Ruby is a programming language. ❤️"
CHARACTERS = 34


def asked(model: str, **more: Any) -> bytes:
    return json.dumps({"model": model, "voice": "alloy", "input": TEXT} | more, ensure_ascii=False).encode()


def row(
    proxy: Proxy,
    simulator: Simulator,
    body: bytes,
    *,
    delivery: Delivery | None = None,
    heard: int | None = None,
    **answer: Any,
) -> dict[str, Any]:
    """Ask for speech, hear all of it or a part, and return the event."""
    given: dict[str, Any] = {"pieces": SOUND, "headers": [("content-type", "audio/mpeg")], "chunked": True} | answer
    name = simulator.register_answer(uuid.uuid4().hex, **given)
    label = uuid.uuid4().hex
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    connection.request(
        "POST",
        PATH,
        body,
        {"authorization": f"Bearer {proxy.token}", "x-metrion-user": label, "content-type": "application/json"}
        | simulator.select(name, delivery),
    )
    response = connection.getresponse()
    try:
        sound = response.read(heard)
    except (http.client.IncompleteRead, ConnectionResetError):
        assert delivery is not None
    else:
        assert sound == b"".join(given["pieces"])[:heard]
    response.close()
    connection.close()
    return proxy.event(label)


def known(event: dict[str, Any]) -> tuple[Any, ...]:
    cost = event["cost_usd"]
    return (
        event["usage_source"],
        event["cost_source"],
        event["unreported_tools"],
        None if cost is None else Decimal(cost),
    )


NOT_KNOWN = ("none", "unknown", None, None)
COUNTED = ("estimated", "estimated", {"input_character": CHARACTERS}, Decimal("0.00051"))
FAILED = {
    "status": 400,
    "headers": [("content-type", "application/json")],
    "pieces": [b'{"error": {"message": "too long", "type": "invalid_request_error"}}'],
    "chunked": False,
}
TOLD = b'data: {"type":"speech.audio.done","usage":{"input_tokens":14,"output_tokens":101,"total_tokens":115}}\n\n'


@pytest.mark.parametrize(
    ("body", "how", "expected"),
    [
        pytest.param(asked("tts-1"), {}, COUNTED, id="in chunks"),
        pytest.param(asked("tts-1"), {"chunked": False}, COUNTED, id="with a length"),
        pytest.param(
            asked("tts-1-hd"), {}, (*COUNTED[:3], Decimal("0.00102")), id="in a better quality, at a higher price"
        ),
        pytest.param(asked("gpt-4o-mini-tts"), {}, NOT_KNOWN, id="billed by tokens"),
        pytest.param(asked("nobody-knows"), {}, NOT_KNOWN, id="without a price"),
        pytest.param(asked("tts-1", input=["a"]), {}, NOT_KNOWN, id="without a text"),
        pytest.param(asked("tts-1")[:-1], {}, NOT_KNOWN, id="a broken request"),
        pytest.param(asked("tts-1"), FAILED, ("none", "not_billed", None, Decimal(0)), id="refused by the provider"),
        pytest.param(asked("tts-1"), {"delivery": Delivery(cut=5000)}, COUNTED, id="cut off"),
        pytest.param(asked("tts-1"), {"delivery": Delivery(hold=5000), "heard": 5000}, COUNTED, id="the client left"),
        pytest.param(
            asked("gpt-4o-mini-tts", stream_format="sse"),
            {"headers": [("content-type", "text/event-stream")], "pieces": [TOLD]},
            ("reported", "computed", None, Decimal("0.0012204")),
            id="a stream that tells its usage",
        ),
    ],
)
def test_what_a_row_says_of_speech(
    body: bytes, how: dict[str, Any], expected: tuple[Any, ...], serve: Proxy, simulator: Simulator
) -> None:
    assert known(row(serve, simulator, body, **how)) == expected
