"""No line of a log has a credential in it, wherever a stranger put one."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrion.admission.codes import BAD_REQUEST
from metrion.logs.access import access_line
from metrion.logs.decisions import decided, ended
from metrion.logs.notices import Notices
from metrion.logs.remembered import Remembered
from metrion.logs.visible import LONGEST, secrets_of, visible
from metrion.model import EndReason, Head, Inbound, Refusal
from metrion.settings import load_settings
from tests.relay.ways import forward
from tests.store.events import event

TOKEN = "sk-metrion-" + "aB3_-" * 9
SECRETS = {
    "token": TOKEN,
    "openai": "sk-proj-0123456789abcdefABCDEF",
    "google": "AIzaSyA0123456789abcdefghijklmnopqrstuv",
    "xai": "xai-0123456789abcdefABCDEF",
    "own": "a-key-of-nobodys-shape",
}


def in_hex(text: str) -> str:
    return "".join(f"%{ord(character):02x}" for character in text)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "quoted": lambda text: quote(text, safe=""),
    "hex": in_hex,
    "twice": lambda text: in_hex(in_hex(text)),
    "partly": lambda text: f"{in_hex(text[:4])}{text[4:]}",
}
PLACES = ("path", "query", "method", "model", "header", "message", "label")


def lines(place: str, spelt: str, secret: str, before: str, after: str) -> list[str]:
    """Every line that a request leaves which has a secret in some place. Its key is the secret, too."""
    text = f"{before}{spelt}{after}"
    target = f"/openai/v1/chat/completions/{text if place == 'path' else ''}?a={text if place == 'query' else ''}"
    method = text if place == "method" else "POST"
    headers = [(b"host", b"proxy"), (b"authorization", f"Bearer {secret}".encode())]
    if place == "header":
        headers += [(f"x-{text}".encode("utf-8", "replace"), text.encode("utf-8", "replace"))]
    request = Inbound(method.encode("utf-8", "replace"), target.encode("utf-8", "replace"), tuple(headers))
    wire = Head(target.encode("utf-8", "replace"), ((b"authorization", f"Bearer {secret}".encode()),))
    decision = forward(wire=wire)
    refusal = Refusal(BAD_REQUEST, f"This is wrong: {text if place == 'message' else ''}.", "openai")
    row = event(model=text if place == "model" else "gpt-5", user_label=text if place == "label" else None, path=target)
    settings = load_settings(None, {"METRION_HOME": "/nonexistent"})
    notices = Notices(settings.providers, Remembered(settings.providers))
    failing = event(model=row.model, user_label=row.user_label, status=500, path=target, error_type=text)
    secrets = secrets_of(request, decision)
    return [
        access_line(request, status=200, seconds=0.1, now=datetime.now(UTC), decision=decision, event=row),
        decided(request, decision),
        decided(request, refusal),
        ended(request, decision, row),
        visible(text, secrets),
        *(notice.text for notice in notices.finished(row)),
        *(notice.text for notice in notices.finished(failing)),
        *(notice.text for notice in notices.refused(refusal, visible(target, secrets))),
    ]


def spellings_of(line: str) -> list[str]:
    """A line as it is, and as one reads it who decodes it."""
    found = [line]
    for _ in range(4):
        found.append(unquote(found[-1]))
    return found


@pytest.mark.parametrize(
    ("name", "place"),
    # A refusal's message is Metrion's own: it may quote a path, and has no key without a shape in it.
    [(name, place) for name in SECRETS for place in PLACES if (name, place) != ("own", "message")],
)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_in_an_odd_place_is_in_no_line(name: str, spelling: str, place: str) -> None:
    secret = SECRETS[name]
    for line in lines(place, SPELLINGS[spelling](secret), secret, "", ""):
        assert not any(secret in each for each in spellings_of(line)), line


@given(
    st.sampled_from(["path", "query", "method", "model", "header", "label"]),
    st.sampled_from(sorted(SPELLINGS)),
    st.sampled_from(sorted(SECRETS)),
    st.text(max_size=60),
    st.text(max_size=60),
)
def test_a_secret_among_anything_is_in_no_line(place: str, spelling: str, name: str, before: str, after: str) -> None:
    secret = SECRETS[name]
    for line in lines(place, SPELLINGS[spelling](secret), secret, before, after):
        assert not any(secret in each for each in spellings_of(line)), line
        assert len(line.splitlines()) == 1


@given(st.text())
def test_what_is_shown_is_one_printable_line_of_bounded_length(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert len(shown) <= LONGEST
    assert json.loads(json.dumps(shown)) == shown


@pytest.mark.parametrize("text", ["/v1/chat/completions", "/v1beta/models/gemini-2.5-pro:generateContent", "/a%20b/c"])
def test_what_has_no_secret_is_shown_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_escape_sequences_do_not_reach_a_terminal() -> None:
    assert visible("/\x1b[31mred\x07\r\nnext") == r"/\x1b[31mred\x07\r\nnext"


def test_ends_are_worded_from_the_event() -> None:
    row = event(end_reason=EndReason.CLIENT_ABORT, status=200, cost_usd=None, cost_source="unknown")
    text = ended(Inbound(b"POST", b"/openai/v1/responses?key=x", ()), forward(), row)
    assert text.startswith("POST /openai/v1/responses: client_abort with status 200")
    assert f"cost unknown, event {row.event_id}" in text
