"""Every refusal as the official SDKs raise it: the SDK's own class, the way out in its message, no needless retry.

One table of codes, one of clients. All codes come from a small server that answers with what Metrion renders; those
that can be provoked also come from the running proxy, where the requests are counted as events.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import httpx2
import mistralai.client
import openai
import pytest

from metrion.admission.refusals import render
from metrion.model import ErrorShape, Refusal
from metrion.settings import load_settings
from metrion.simulator.delivery import Delivery
from metrion.store import ask
from tests.admission.kinds import kind
from tests.credentials import OTHER, UNKNOWN
from tests.node.sdks import Node, Outcome
from tests.processes import PROVIDERS, Proxy, eventually, free_port, running_serve, upstreams
from tests.simulated import Simulator

OWN_KEY = "the-callers-own-provider-key-42"
MESSAGES: Any = [{"role": "user", "content": "Name a colour."}]
MESSAGE = "There is no such token. Make one with `metrion token create`."
"""What the small server's refusals say."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a client is configured with."""

    base_url: str
    api_key: str
    label: str
    headers: Mapping[str, str] = field(default_factory=dict)
    max_retries: int | None = None
    """``None``: as often as the SDK does by itself."""
    proxy: str | None = None
    """An HTTP proxy that the client is told to use."""

    @property
    def all_headers(self) -> dict[str, str]:
        return {**self.headers, "x-metrion-user": self.label}

    @property
    def retries(self) -> int:
        return openai.DEFAULT_MAX_RETRIES if self.max_retries is None else self.max_retries


# --- the clients ------------------------------------------------------------------------------------------------------


def raised(ask: Callable[[], object]) -> Outcome:
    try:
        ask()
    except (openai.OpenAIError, anthropic.AnthropicError, mistralai.client.errors.MistralError) as error:
        classes = tuple(kind.__name__ for kind in type(error).__mro__)
        return Outcome(classes=classes, message=str(error), status=getattr(error, "status_code", None))
    return Outcome(text="answered")


def python_openai(call: Call, model: str) -> Outcome:
    with openai.OpenAI(
        base_url=call.base_url,
        api_key=call.api_key,
        default_headers=call.all_headers,
        max_retries=call.retries,
        http_client=openai.DefaultHttpxClient(proxy=call.proxy),
    ) as client:
        return raised(lambda: client.chat.completions.create(model=model, messages=MESSAGES))


def python_anthropic(call: Call, model: str) -> Outcome:
    with anthropic.Anthropic(
        base_url=call.base_url,
        api_key=call.api_key,
        default_headers=call.all_headers,
        max_retries=call.retries,
        http_client=anthropic.DefaultHttpxClient(proxy=call.proxy),
    ) as client:
        return raised(lambda: client.messages.create(model=model, max_tokens=50, messages=MESSAGES))


def python_mistral(call: Call, model: str) -> Outcome:
    with mistralai.client.Mistral(
        server_url=call.base_url, api_key=call.api_key, client=httpx2.Client(proxy=call.proxy)
    ) as client:
        return raised(lambda: client.chat.complete(model=model, messages=MESSAGES, http_headers=call.all_headers))


@dataclass(frozen=True, slots=True)
class Client:
    """An SDK, and the provider that it is used for."""

    name: str
    provider: str
    path: str
    """Behind the provider's base URL."""
    model: str
    own: Mapping[int, str]
    """The SDK's class for a status; 0: for any other."""
    retries: bool
    """It retries by itself where a retry may help, and goes by ``x-should-retry``."""
    python: Callable[[Call, str], Outcome] | None = None
    node: str | None = None

    @property
    def id(self) -> str:
        return f"{self.name}-{self.provider}"

    def call(self, call: Call, node: Node | None) -> Outcome:
        if self.python is not None:
            return self.python(call, self.model)
        assert self.node is not None
        assert node is not None
        return node.call(
            self.node,
            base_url=call.base_url,
            api_key=call.api_key,
            model=self.model,
            headers=call.all_headers,
            max_retries=call.max_retries,
        )


COMMON = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    429: "RateLimitError",
    500: "InternalServerError",
    502: "InternalServerError",
    504: "InternalServerError",
}
OPENAI_PYTHON = COMMON | {413: "APIStatusError"}
OPENAI_NODE = COMMON | {413: "APIError"}
ANTHROPIC = COMMON | {413: "ContentTooLargeError", 504: "GatewayTimeoutError"}
MISTRAL = {0: "SDKError"}
GOOGLE = {0: "ApiError"}

COMPATIBLE = [
    ("openai", "/v1", "gpt-4o"),
    ("xai", "/v1", "grok-3-mini"),
    ("mistral", "/v1", "mistral-small-latest"),
    ("google", "/v1beta/openai", "gemini-2.5-flash"),
]
"""Providers that the OpenAI SDK is used for."""
CLAUDE, MINISTRAL = "claude-haiku-4-5-20251001", "mistral-small-latest"

CLIENTS = [
    *(Client("python_openai", *row, OPENAI_PYTHON, retries=True, python=python_openai) for row in COMPATIBLE),
    Client("python_anthropic", "anthropic", "", CLAUDE, ANTHROPIC, retries=True, python=python_anthropic),
    Client("python_mistral", "mistral", "", MINISTRAL, MISTRAL, retries=False, python=python_mistral),
    *(Client("node_openai", *row, OPENAI_NODE, retries=True, node="openai") for row in COMPATIBLE),
    Client("node_anthropic", "anthropic", "", CLAUDE, ANTHROPIC, retries=True, node="anthropic"),
    Client("node_mistral", "mistral", "", MINISTRAL, MISTRAL, retries=False, node="mistral"),
    Client("node_google", "google", "", "gemini-2.5-flash", GOOGLE, retries=False, node="google"),
]
ONCE, AGAIN = False, True

CODES = [
    (400, "bad_request", ONCE),
    (400, "no_provider_key", ONCE),
    (400, "unknown_route", ONCE),
    (401, "missing_token", ONCE),
    (401, "invalid_token", ONCE),
    (401, "conflicting_tokens", ONCE),
    (403, "not_allowed", ONCE),
    (403, "not_a_provider", ONCE),
    (404, "unknown_route", ONCE),
    (413, "body_too_large", ONCE),
    (429, "rate_limited", AGAIN),
    (429, "monthly_cap", ONCE),
    (429, "budget", ONCE),
    (500, "internal", AGAIN),
    (502, "upstream_unreachable", AGAIN),
    (504, "timeout", ONCE),
]
"""Every code of the contract, and whether an SDK that retries should."""
TRIES = 1 + openai.DEFAULT_MAX_RETRIES


def expected_class(client: Client, status: int) -> str:
    return client.own.get(status) or client.own[0]


@pytest.fixture
def runtime(client: Client, request: pytest.FixtureRequest) -> Node | None:
    """What the client runs in: Node only for those that need it."""
    return request.getfixturevalue("node") if client.node else None


# --- every code, rendered ---------------------------------------------------------------------------------------------


class Refusing(ThreadingHTTPServer):
    """Refuses each request to ``/STATUS/CODE/SHAPE/…`` so, and counts them by label."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RefusingHandler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: Counter[str] = Counter()


class RefusingHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Refusing

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.requests[self.headers["x-metrion-user"]] += 1
        status, code, shape = self.path.split("/")[1:4]
        wait = ((b"retry-after", b"0.01"),)  # an SDK that retries is not to wait half a second
        answer = render(Refusal(kind(int(status), code), MESSAGE, error_shape=ErrorShape(shape), headers=wait))
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name.decode(), value.decode())
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class calls it so
        pass


@pytest.fixture(scope="module")
def refusing() -> Iterator[Refusing]:
    with Refusing() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(("status", "code", "again"), CODES, ids=[f"{status}-{code}" for status, code, _ in CODES])
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.id)
def test_rendered_refusal(
    client: Client, status: int, code: str, again: bool, refusing: Refusing, runtime: Node | None
) -> None:
    label = f"{client.id}-{status}-{code}"
    base_url = f"{refusing.url}/{status}/{code}/{client.provider}{client.path}"

    outcome = client.call(Call(base_url, UNKNOWN, label), runtime)

    assert outcome.status == status, outcome
    assert outcome.classes[0] == expected_class(client, status)
    assert MESSAGE in outcome.message
    assert refusing.requests[label] == (TRIES if again and client.retries else 1)


# --- those that can be provoked, from the proxy -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Provoked:
    """A refusal by the running proxy."""

    status: int
    code: str
    call: Callable[[Refusals, Client, str], Call]
    """How to get it, given the client and the label of the request."""
    says: str
    """Stands in the message. ``{provider}`` is filled in."""
    end_reason: str | None = "refused"
    """``None``: a request that names no provider has no event."""
    in_node: bool = True


@dataclass(frozen=True, slots=True)
class Refusals:
    """A proxy that has a reason to refuse, and the tokens that it refuses."""

    proxy: Proxy
    keyless: str
    limited: Mapping[str, str]
    """By code, a token that may make one request."""
    held: Mapping[str, str]
    """Headers for the simulator: never answer."""

    def events(self, label: str) -> list[tuple[Any, ...]]:
        """Those of a label, waited for: one for each request that was made."""
        settings = load_settings(None, self.proxy.environment)
        query = "SELECT status, end_reason, error_type, cost_source FROM events WHERE user_label = $label"
        return eventually(lambda: ask(settings.journal_dir, settings.store_path, query, {"label": label}).rows)

    def base(self, client: Client, *, prefix: str = "") -> str:
        return self.proxy.url(prefix + client.provider) + client.path

    def spent(self, client: Client, label: str, code: str, **more: Any) -> Call:
        """Use a token's one request up first, if it was not used up before."""
        token = self.limited[code]
        asked = httpx2.post(
            self.proxy.url("openai") + "/v1/chat/completions",
            headers={"authorization": f"Bearer {token}"},
            json={"model": "gpt-4o", "messages": MESSAGES},
        )
        assert asked.status_code in {200, 429}
        return Call(self.base(client), token, label, **more)

    def own_key(self, client: Client, label: str, prefix: str, **more: Any) -> Call:
        """Pass a key through, since none is stored for further providers."""
        headers = {"x-metrion-token": self.proxy.token, **more.pop("headers", {})}
        return Call(self.base(client, prefix=prefix), OWN_KEY, label, headers, **more)


PROVOKED = [
    Provoked(
        400,
        "bad_request",
        # Not `/%2e%2e`, which URL parsers take out before it is sent.
        lambda it, client, label: Call(it.base(client) + "/a%2f..%2fb", it.proxy.token, label),
        "dot segment",
    ),
    Provoked(
        400,
        "no_provider_key",
        lambda it, client, label: Call(it.base(client), it.keyless, label),
        "`metrion key set {provider} --account keyless`",
    ),
    Provoked(
        401,
        "missing_token",
        lambda it, client, label: Call(it.base(client), OWN_KEY, label),
        "`metrion token create`",
    ),
    Provoked(
        401,
        "invalid_token",
        lambda it, client, label: Call(it.base(client), UNKNOWN, label),
        "metrion token",
    ),
    Provoked(
        401,
        "conflicting_tokens",
        lambda it, client, label: Call(it.base(client), it.proxy.token, label, {"x-metrion-token": OTHER}),
        "Send one.",
    ),
    Provoked(
        403,
        "not_a_provider",
        lambda it, client, label: Call(
            f"http://elsewhere.test{client.path}", it.proxy.token, label, proxy=it.proxy.url()
        ),
        "metrion.yaml",
        end_reason=None,
        in_node=False,  # its `fetch` knows no HTTP proxy
    ),
    Provoked(
        400,
        "unknown_route",
        lambda it, client, label: Call(it.proxy.url() + "/nowhere" + client.path, it.proxy.token, label),
        "/{provider}",
        end_reason=None,
    ),
    Provoked(
        400,
        "unknown_route",
        lambda it, client, label: Call(it.proxy.url(client.provider + "s") + client.path, it.proxy.token, label),
        "Did you mean /",
        end_reason=None,
    ),
    Provoked(
        429,
        "rate_limited",
        # Without retries: an SDK would wait as long as it is told, most of a minute.
        lambda it, client, label: it.spent(client, label, "rate_limited", max_retries=0),
        "`metrion token create --rate`",
    ),
    Provoked(
        429,
        "monthly_cap",
        lambda it, client, label: it.spent(client, label, "monthly_cap"),
        "`metrion token create --monthly-requests`",
    ),
    Provoked(
        502,
        "upstream_unreachable",
        lambda it, client, label: it.own_key(client, label, "gone-", max_retries=0),
        "No usable answer from gone-{provider}",
        end_reason="upstream_error",
    ),
    Provoked(
        504,
        "timeout",
        lambda it, client, label: it.own_key(client, label, "slow-", headers=it.held),
        "slow-{provider} sent nothing for 0.3 seconds",
        end_reason="timeout",
    ),
]
CASES = [(client, case) for client in CLIENTS for case in PROVOKED if case.in_node or not client.node]


@pytest.fixture(scope="module")
def refusals(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refusals]:
    config = upstreams(simulator)
    nobody = f"http://127.0.0.1:{free_port()}"
    for provider in PROVIDERS:
        config["providers"][f"gone-{provider}"] = {"like": provider, "upstream": nobody}
        config["providers"][f"slow-{provider}"] = {
            "like": provider,
            "upstream": simulator.upstream(provider),
            "timeout": 0.3,
        }
    with running_serve(tmp_path_factory.mktemp("refusals") / "home", config) as proxy:
        proxy.metrion("account", "create", "keyless")
        keyless = proxy.metrion("token", "create", "keyless", "--account", "keyless").strip()
        limited = {
            "rate_limited": proxy.metrion("token", "create", "slow", "--rate", "1").strip(),
            "monthly_cap": proxy.metrion("token", "create", "capped", "--monthly-requests", "1").strip(),
        }
        yield Refusals(proxy, keyless, limited, simulator.select(delivery=Delivery(hold="head")))


@pytest.mark.parametrize(("client", "case"), CASES, ids=[f"{client.id}-{case.code}" for client, case in CASES])
def test_refusal_by_the_proxy(client: Client, case: Provoked, refusals: Refusals, runtime: Node | None) -> None:
    label = f"{client.id}-{case.code}"

    outcome = client.call(case.call(refusals, client, label), runtime)

    assert outcome.status == case.status, outcome
    assert outcome.classes[0] == expected_class(client, case.status)
    assert case.says.format(provider=client.provider) in outcome.message
    if case.end_reason is None:
        return
    (event,) = refusals.events(label)
    assert event == (case.status, case.end_reason, case.code, "not_billed" if case.code != "timeout" else "unknown")
