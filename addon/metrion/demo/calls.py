"""The calls of `metrion demo`, made with the providers' own Python SDKs: a :class:`Call` in, an :class:`Outcome` out.

The SDKs are the extra ``demo``; the first call imports them. If the API answers with an error, that is an outcome; if
the connection fails, the SDK's own exception is raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from metrion.simulator.delivery import SELECTION_HEADER, Selection, format_selection

if TYPE_CHECKING:
    from anthropic import Anthropic
    from anthropic.types import MessageParam
    from openai import OpenAI
    from openai.types.chat import ChatCompletionMessageParam

SDKS = ("anthropic", "openai")
"""The modules that must be installed."""

_WRONG_TOKEN = "sk-metrion-" + "0" * 40
_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call, and whether it should succeed."""

    user: str
    """The user's label, sent as ``x-metrion-user``."""
    segment: str
    """The provider in the base URL."""
    model: str
    question: str
    streamed: bool = False
    provider_error: int | None = None
    """The simulator answers with the provider's error of this status."""
    wrong_token: bool = False

    @property
    def should_fail(self) -> bool:
        """Whether an error is the right outcome."""
        return self.wrong_token or self.provider_error is not None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the SDK returned or raised."""

    text: str
    """The answer, or the name and status of the SDK's exception."""
    failed: bool = False


CALLS = (
    Call("ann", "openai", "gpt-4o", "Tell this customer where the order is.", streamed=True),
    Call("ann", "anthropic", "claude-sonnet-4-6", "Which clause of this contract is a risk?", streamed=True),
    Call("ben", "anthropic", "claude-haiku-4-5-20251001", "Is this invoice consistent?"),
    Call("ben", "mistral", "mistral-small-latest", "Quand mon colis arrive-t-il ?"),
    Call("cho", "grok", "grok-3-mini", "What do these 40 tickets have in common?", streamed=True),
    Call("cho", "gemini", "gemini-2.5-flash", "What is in this photo?"),
    Call("cho", "anthropic", "claude-sonnet-4-6", "And in the next contract?", provider_error=529),
    Call("eve", "openai", "gpt-4o", "Let me in.", wrong_token=True),
)


def make(call: Call, url: str, token: str) -> Outcome:
    """Make a call through the proxy at ``url``."""
    ask = _ask_anthropic if call.segment == "anthropic" else _ask_openai
    return ask(call, f"{url}/{call.segment}", _WRONG_TOKEN if call.wrong_token else token, _headers(call))


def _headers(call: Call) -> Mapping[str, str]:
    headers = {"x-metrion-user": call.user}
    if call.provider_error is not None:
        headers[SELECTION_HEADER] = format_selection(Selection(error=call.provider_error))
    return headers


def _ask_openai(call: Call, base_url: str, token: str, headers: Mapping[str, str]) -> Outcome:
    from openai import APIStatusError

    create = _openai(base_url, token).chat.completions.create
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": call.question}]
    try:
        if not call.streamed:
            whole = create(model=call.model, messages=messages, extra_headers=headers)
            return Outcome(text=whole.choices[0].message.content or "")
        stream = create(
            model=call.model,
            messages=messages,
            stream=True,
            stream_options={"include_usage": True},
            extra_headers=headers,
        )
        return Outcome(text="".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices))
    except APIStatusError as error:
        return _failure(error, error.status_code)


def _ask_anthropic(call: Call, base_url: str, token: str, headers: Mapping[str, str]) -> Outcome:
    from anthropic import APIStatusError

    api = _anthropic(base_url, token).messages
    messages: list[MessageParam] = [{"role": "user", "content": call.question}]
    try:
        if not call.streamed:
            whole = api.create(model=call.model, max_tokens=500, messages=messages, extra_headers=headers)
            return Outcome(text="".join(block.text for block in whole.content if block.type == "text"))
        with api.stream(model=call.model, max_tokens=500, messages=messages, extra_headers=headers) as stream:
            return Outcome(text=stream.get_final_text())
    except APIStatusError as error:
        return _failure(error, error.status_code)


def _failure(error: Exception, status: int) -> Outcome:
    return Outcome(text=f"{type(error).__name__}, status {status}", failed=True)


_NO_PROXY = {"all://127.0.0.1": None}
"""For the SDKs' HTTP clients: the proxies of the environment are for the internet, and nothing here goes there."""


@cache
def _openai(base_url: str, token: str) -> OpenAI:
    from openai import DefaultHttpxClient, OpenAI

    client = DefaultHttpxClient(mounts=_NO_PROXY)
    return OpenAI(base_url=base_url, api_key=token, http_client=client, max_retries=0, timeout=_SECONDS)


@cache
def _anthropic(base_url: str, token: str) -> Anthropic:
    from anthropic import Anthropic, DefaultHttpxClient

    client = DefaultHttpxClient(mounts=_NO_PROXY)
    return Anthropic(base_url=base_url, api_key=token, http_client=client, max_retries=0, timeout=_SECONDS)
