"""What the providers answer: a request in, an answer in the provider's wire format out.

Pure functions over :data:`VENDORS`, a row for each provider. Shapes follow the providers' API references and recorded
answers. A request that a provider would not understand gets the provider's own error. Nothing here knows Metrion: if a
provider's host or format were wrong there, an answer that is made from the same table would hide it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from metrion.simulator.answers.anthropic import ANTHROPIC
from metrion.simulator.answers.bodies import json_answer
from metrion.simulator.answers.google import GOOGLE
from metrion.simulator.answers.mistral import MISTRAL
from metrion.simulator.answers.openai import OPENAI
from metrion.simulator.answers.replies import REPLIES
from metrion.simulator.answers.request import Request
from metrion.simulator.answers.vendor import WRONG_KEY, Vendor
from metrion.simulator.answers.xai import XAI
from metrion.simulator.delivery import Answer

__all__ = ["PROVIDERS", "REPLIES", "VENDORS", "Request", "error_answer", "provider_answer", "with_error_event"]

VENDORS: Mapping[str, Vendor] = {
    "anthropic": ANTHROPIC,
    "google": GOOGLE,
    "mistral": MISTRAL,
    "openai": OPENAI,
    "xai": XAI,
}
"""A new provider is a module and a row here."""

PROVIDERS = tuple(VENDORS)


def provider_answer(provider: str, request: Request, expected_key: str | None = None) -> Answer:
    """Return what the provider answers. Without ``expected_key`` it accepts any key, but not a missing one."""
    vendor = VENDORS[provider]
    key = vendor.find_key(request)
    if key is None or (expected_key is not None and key != expected_key):
        error = vendor.missing_key_error(request) if key is None else WRONG_KEY
        status = vendor.wrong_key_status if error == WRONG_KEY else error
        return replace(error_answer(provider, error, request.path), status=status)
    method = "GET" if request.method == "HEAD" else request.method
    _, colon, verb = request.path.rpartition(":")
    operation = vendor.operations.get((method, request.path)) or vendor.operations.get((method, colon + verb))
    if operation is None:
        return error_answer(provider, 404, request.path)
    return operation(request) or error_answer(provider, 400, request.path)


def error_answer(provider: str, status: int, path: str) -> Answer:
    """Return the provider's error with this status, with the body of its 500 where it has no such error."""
    vendor = VENDORS[provider]
    error = vendor.errors.get(status, vendor.errors[500])
    headers = [("retry-after", "1")] if status in {429, 529} else []
    if status in vendor.error_headers:
        headers.append(vendor.error_headers[status])
    return json_answer(status, vendor.wrap_error(path, error), *headers)


def with_error_event(answer: Answer, provider: str, after: int) -> Answer:
    """Return the first ``after`` events of a stream, then the provider's error event, then nothing more.

    Meant for streams without a content encoding.
    """
    return replace(answer, pieces=(*answer.pieces[:after], VENDORS[provider].error_event))
