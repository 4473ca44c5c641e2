"""Texts that repeat a credential, in every spelling, and texts that do not."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrion.admission.redaction import Redactor
from tests.admission.calls import TOKEN

KEY = "sk-proj-Zx91_kQ7mN4vB2-tY8wR5cL0pH3jF6dS"
REDACTOR = Redactor([KEY.encode(), TOKEN])


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


def encoded(text: str) -> str:
    return "".join(f"%{ord(character):02X}" for character in text)


SPELLINGS = {
    "as it is": KEY,
    "after its scheme": f"Bearer {KEY}",
    "in another case": KEY.upper(),
    "cut at its end": KEY[:20],
    "cut at its start": KEY[-16:],
    "its middle": KEY[9:27],
    "within a word": f"chatcmpl-{KEY}-1",
    "in base64": base64.b64encode(KEY.encode()).decode(),
    "in base64 for URLs": base64.urlsafe_b64encode(f"??>{KEY}".encode()).decode(),
    "in base64 without its end": base64.b64encode(KEY.encode()).decode()[:28],
    "in base64, one byte further": base64.b64encode(f"u{KEY}".encode()).decode(),
    "in base64, two bytes further": base64.b64encode(f":u{KEY}\n".encode()).decode(),
    "in base64 after its scheme": base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    "percent-encoded": encoded(KEY),
    "percent-encoded in part": KEY.replace("-", "%2d").replace("k", "%6B"),
    "percent-encoded twice": quote(encoded(KEY)),
    "base64 that is percent-encoded": quote(base64.b64encode(f"{KEY}?".encode()).decode(), safe=""),
    "escaped": escaped(KEY),
    "escaped in part": escaped(KEY[:6]) + KEY[6:],
    "escaped twice": escaped(KEY).replace("\\", "\\\\"),
    "as bytes are written": "".join(f"\\x{ord(character):02x}" for character in KEY),
}


def holds(text: str) -> bool:
    """Whether what is left is enough to know the key by."""
    views = [text, text.replace("\\\\", "\\").encode().decode("unicode_escape", "replace")]
    parts = [KEY.lower()[at : at + 12] for at in range(len(KEY) - 11)]
    return any(part in view.lower() for view in views for part in parts)


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_every_spelling_is_masked(spelled: str) -> None:
    for text in (spelled, f"model {spelled} of ann", f"<{spelled}>"):
        assert REDACTOR.repeats(text)
        masked = REDACTOR.text(text)
        assert "***" in masked
        assert spelled not in masked
        assert not holds(masked)
        assert not REDACTOR.repeats(masked)


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_json_stays_json_and_its_numbers_stay_as_they_were(spelled: str) -> None:
    usage = f'{{"input_tokens": 1.50E+2, "{json.dumps(spelled)[1:-1]}": 12345678901234567890, "tier": '
    usage += f'[{json.dumps(spelled)}, "\\u00e9", true]}}'
    json.loads(usage)
    assert REDACTOR.repeats(usage)
    masked = REDACTOR.json(usage)
    assert masked.startswith('{"input_tokens": 1.50E+2, ')
    assert ": 12345678901234567890" in masked
    assert '"\\u00e9", true]}' in masked
    assert spelled not in json.dumps(json.loads(masked), ensure_ascii=False)
    assert not REDACTOR.repeats(masked)


@pytest.mark.parametrize(
    "text",
    [
        "gpt-4o-2024-08-06",
        "chatcmpl-BxK1pQ0sk-proj",
        "sk-proj-",
        "req_011CQ5yDZqAbCdEfGh",
        "100%",
        "C:\\users\\ann",
        "%zz%",
        '{"prompt_tokens": 12, "details": {"cached_tokens": 0}}',
        "eyJhbGciOiJIUzI1NiJ9",
        "",
        "\ud800",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert REDACTOR.text(text) == REDACTOR.json(text) == text


@pytest.mark.parametrize(
    "token", [TOKEN.decode(), encoded(TOKEN.decode()), escaped(TOKEN.decode()), TOKEN.decode()[:30]]
)
def test_a_metrion_token_is_masked_whoever_sent_it(token: str) -> None:
    masked = Redactor([]).text(f"of {token}")
    assert TOKEN.decode()[:20] not in masked
    assert token not in masked


def test_the_mask_of_a_token_stays() -> None:
    assert REDACTOR.text("me sk-metrion-…wxyz") == "me sk-metrion-…wxyz"


@pytest.mark.parametrize("word", ["none", "EMPTY", "ollama", "x"])
def test_a_word_that_stands_where_a_key_would_is_no_secret(word: str) -> None:
    redactor = Redactor([word.encode()])
    assert redactor.text(f"{word}/llama-3") == f"{word}/llama-3"


def test_a_short_key_is_masked_as_a_whole_only() -> None:
    redactor = Redactor([b"hunter2hunt"])
    assert redactor.text("hunter2hunt, hunter2hun") == "***, hunter2hun"


def test_a_long_text_is_masked_whole() -> None:
    long = "x" * 20_000
    assert (REDACTOR.text(long), REDACTOR.json(f'"{long}"')) == (long, f'"{long}"')
    assert (REDACTOR.text(long + KEY), REDACTOR.json(f'"{long}{KEY}"')) == ("***", '"***"')


def test_a_letter_that_is_longer_in_lower_case_hides_nothing() -> None:
    assert REDACTOR.text(f"\u0130 {KEY}") == "***"
    assert REDACTOR.text("\u0130 sk-proj-Zx91") == "\u0130 sk-proj-Zx91"


def test_a_credential_of_any_length_is_found_by_its_beginning() -> None:
    long = "".join(f"{each:x}Q" for each in range(9000)).encode()
    redactor = Redactor([long])
    assert redactor.text(f"a {long[:100].decode()} b") == "a *** b"


@given(st.text(max_size=60), st.text(max_size=60), st.integers(0, 24), st.integers(15, 40))
def test_any_part_in_any_text_is_found(before: str, after: str, start: int, length: int) -> None:
    part = KEY[start : start + length]
    text = f"{before} {part} {after}"
    assert len(part) < 15 or REDACTOR.repeats(text)
    assert len(part) < 15 or part not in REDACTOR.text(text)


@given(st.text(max_size=200), st.binary(max_size=60))
def test_anything_gets_an_answer(text: str, secret: bytes) -> None:
    redactor = Redactor([secret])
    redactor.repeats(text)
    redactor.text(text)
    redactor.json(json.dumps(text))
