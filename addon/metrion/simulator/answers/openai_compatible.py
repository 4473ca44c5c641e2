"""OpenAI's formats, which others imitate: a :class:`Style` says how a provider's differ.

Chat completions, the completions that were before them, and the list of models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from metrion.simulator.answers.bodies import data_event, fragments, json_answer, sse_answer
from metrion.simulator.answers.replies import CREATED, Reply, reply_to
from metrion.simulator.answers.request import Json, Request
from metrion.simulator.delivery import Answer


@dataclass(frozen=True, slots=True)
class Style:
    """How a provider differs from the others that speak chat completions."""

    usage: Callable[[Reply], Json]
    usage_if_asked: bool
    """A stream has usage only where ``stream_options.include_usage`` asks for it."""
    null_usage: bool
    """Such a stream has ``"usage": null`` in its other chunks."""
    usage_beside_choices: bool
    """A stream has usage in its last chunk with choices, else in one of its own."""
    id_format: str
    extra: Mapping[str, Any]
    """Fields of the provider's own, on the answer and on each chunk."""
    request_id_header: str | None = None

    def headers(self, request: Request) -> list[tuple[str, str]]:
        """Return the header with the request's id, if the provider has one."""
        return [(self.request_id_header, request.id)] if self.request_id_header else []


def chat_completion(style: Style, request: Request) -> Answer | None:
    """Answer ``POST chat/completions``."""
    asked = request.json()
    model = str(asked.get("model", ""))
    if not model or not isinstance(asked.get("messages"), list):
        return None
    reply = reply_to(request, model)
    common = {
        "id": style.id_format.format(request.number),
        "created": CREATED,
        "model": reply.served_model or model,
        **style.extra,
    }
    if not asked.get("stream"):
        message = {"role": "assistant", "content": reply.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        whole = common | {"object": "chat.completion", "choices": [choice], "usage": style.usage(reply)}
        return json_answer(200, whole, *style.headers(request))
    choices: list[Json] = [
        {"delta": {"role": "assistant", "content": ""}, "finish_reason": None},
        *({"delta": {"content": fragment}, "finish_reason": None} for fragment in fragments(reply.text)),
        {"delta": {}, "finish_reason": "stop"},
    ]
    common["object"] = "chat.completion.chunk"
    indexed = ({"index": 0, **choice} for choice in choices)
    return sse_answer(_chunks(style, asked, common, indexed, style.usage(reply)), *style.headers(request))


def completion(style: Style, request: Request) -> Answer | None:
    """Answer ``POST completions``, the API that was before chat."""
    asked = request.json()
    model = str(asked.get("model", ""))
    if not model or "prompt" not in asked:
        return None
    reply = reply_to(request, model)
    usage = {name: count for name, count in style.usage(reply).items() if name.endswith("_tokens")}
    common = {
        "id": f"cmpl-sim{request.number:08d}",
        "object": "text_completion",
        "created": CREATED,
        "model": model,
    }
    choice = {"text": "", "index": 0, "logprobs": None, "finish_reason": "stop"}
    if not asked.get("stream"):
        whole = common | {"choices": [choice | {"text": reply.text}], "usage": usage}
        return json_answer(200, whole, *style.headers(request))
    choices = [choice | {"text": fragment, "finish_reason": None} for fragment in fragments(reply.text)]
    return sse_answer(_chunks(style, asked, common, [*choices, choice], usage), *style.headers(request))


def _chunks(style: Style, asked: Json, common: Json, choices: Iterable[Json], usage: Json) -> list[bytes]:
    """Return the events of a streamed completion, with usage if the request asks for it."""
    options = asked.get("stream_options")
    include_usage = not style.usage_if_asked or bool(isinstance(options, dict) and options.get("include_usage"))
    null_usage = {"usage": None} if include_usage and style.null_usage else {}
    bodies = [common | {"choices": [choice]} | null_usage for choice in choices]
    if include_usage and style.usage_beside_choices:
        bodies[-1]["usage"] = usage
    elif include_usage:
        bodies.append(common | {"choices": [], "usage": usage})
    return [*map(data_event, bodies), b"data: [DONE]\n\n"]


def models(owner: str, names: Iterable[str], _: Request) -> Answer:
    """Answer ``GET models``."""
    data = [{"id": name, "object": "model", "created": CREATED, "owned_by": owner} for name in names]
    return json_answer(200, {"object": "list", "data": data})
