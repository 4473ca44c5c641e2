"""What policies change in a body, byte for byte: tables of bodies, and any body at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrion.model.policies import Alias, MemberSetting, Policies, Scalar
from metrion.parsing.json_members import UnreadableError
from metrion.relay.body_policies import asked_alias, changed, named_policies
from tests.corpus import exchanges

ALIASES = Policies(
    aliases={"large": Alias("short", "mistral-large-latest"), "größe": Alias("short", "größer"), "a/b": Alias("x", "c")}
)


def settings(**values: Scalar) -> tuple[MemberSetting, ...]:
    """Members by name, with two underscores for a dot."""
    return tuple(MemberSetting("p", name.replace("__", "."), value) for name, value in values.items())


def defaults(**values: Scalar) -> Policies:
    return Policies(defaults=settings(**values))


def caps(**values: Scalar) -> Policies:
    return Policies(caps=settings(**values))


BUDGET = "generationConfig__thinkingConfig__thinkingBudget"

CHANGES: list[tuple[Policies, bytes, bytes, str]] = [
    # (what is asked for, what the client sends, what goes out, what the event says)
    # --- aliases
    (ALIASES, b'{"model":"large"}', b'{"model":"mistral-large-latest"}', "alias: large \u2192 mistral-large-latest"),
    (
        ALIASES,
        b'\n{ "messages" :[{"model":"large"}], "model" :\t"large" , "n":1.0e+0 }\r\n',
        b'\n{ "messages" :[{"model":"large"}], "model" :\t"mistral-large-latest" , "n":1.0e+0 }\r\n',
        "alias: large \u2192 mistral-large-latest",
    ),
    (
        ALIASES,
        b'{"model":"l\\u0061rge"}',
        b'{"model":"mistral-large-latest"}',
        "alias: large \u2192 mistral-large-latest",
    ),
    (ALIASES, '{"model":"größe"}'.encode(), '{"model":"größer"}'.encode(), "alias: größe \u2192 größer"),
    (ALIASES, b'{"model":"gr\\u00f6\\u00dfe"}', '{"model":"größer"}'.encode(), "alias: größe \u2192 größer"),
    (ALIASES, b'{"model":"a\\/b"}', b'{"model":"c"}', "alias: a/b \u2192 c"),
    # --- defaults
    (defaults(temperature=0.7), b"{}", b'{"temperature":0.7}', "default: temperature 0.7"),
    (defaults(temperature=0.7), b" { } ", b' {"temperature":0.7 } ', "default: temperature 0.7"),
    (defaults(temperature=0), b'{"a": [1 ] }', b'{"a": [1 ],"temperature":0 }', "default: temperature 0"),
    (defaults(temperature=0), b'{"temperature" : null,"a":1}', b'{"temperature" : 0,"a":1}', "default: temperature 0"),
    (
        defaults(safe_prompt=True, service_tier="flex"),
        '{"a":"\\ud83d é"}'.encode(),
        '{"a":"\\ud83d é","safe_prompt":true,"service_tier":"flex"}'.encode(),
        "default: safe_prompt true; default: service_tier flex",
    ),
    (
        defaults(max_tokens=9, max_completion_tokens=8),
        b'{"a":1}',
        b'{"a":1,"max_tokens":9}',
        "default: max_tokens 9",
    ),
    (
        defaults(generationConfig__maxOutputTokens=9),
        b'{"contents":[]}',
        b'{"contents":[],"generationConfig":{"maxOutputTokens":9}}',
        "default: generationConfig.maxOutputTokens 9",
    ),
    (
        defaults(generationConfig__maxOutputTokens=9, generationConfig__topP=1, **{BUDGET: 0}),
        b'{"generationConfig": { "topK": 3 } }',
        b'{"generationConfig": { "topK": 3,"maxOutputTokens":9,"topP":1,"thinkingConfig":{"thinkingBudget":0} } }',
        "default: generationConfig.maxOutputTokens 9; default: generationConfig.topP 1; "
        "default: generationConfig.thinkingConfig.thinkingBudget 0",
    ),
    (
        defaults(generationConfig__topP=1, **{BUDGET: 0}),
        b'{"generationConfig":{"thinkingConfig":{"includeThoughts":true}},"x":1}',
        b'{"generationConfig":{"thinkingConfig":{"includeThoughts":true,"thinkingBudget":0},"topP":1},"x":1}',
        "default: generationConfig.topP 1; default: generationConfig.thinkingConfig.thinkingBudget 0",
    ),
    (
        defaults(generationConfig__topP=1),
        b'{"generationConfig":null,"a":2}',
        b'{"generationConfig":{"topP":1},"a":2}',
        "default: generationConfig.topP 1",
    ),
    (
        defaults(generationConfig__maxOutputTokens=9, generationConfig__topP=1),
        b'{"generation_config":{"max_output_tokens":5}}',
        b'{"generation_config":{"max_output_tokens":5,"topP":1}}',
        "default: generationConfig.topP 1",
    ),
    # --- caps
    (caps(max_tokens=9), b'{"max_tokens": 10 ,"a":1}', b'{"max_tokens": 9 ,"a":1}', "cap: max_tokens 10 \u2192 9"),
    (caps(max_tokens=9), b'{"max_tokens":1e3}', b'{"max_tokens":9}', "cap: max_tokens 1e3 \u2192 9"),
    (caps(max_tokens=9), b'{"max_tokens":1e999}', b'{"max_tokens":9}', "cap: max_tokens 1e999 \u2192 9"),
    (caps(max_tokens=9), b'{"max_tokens":"10"}', b'{"max_tokens":9}', "cap: max_tokens \u2026 \u2192 9"),
    (caps(max_tokens=9), b'{"max_tokens":true}', b'{"max_tokens":9}', "cap: max_tokens \u2026 \u2192 9"),
    (
        caps(temperature=0.5, generationConfig__maxOutputTokens=9),
        b'{"temperature":0.51,"generation_config":{"max_output_tokens":10}}',
        b'{"temperature":0.5,"generation_config":{"max_output_tokens":9}}',
        "cap: temperature 0.51 \u2192 0.5; cap: generationConfig.maxOutputTokens 10 \u2192 9",
    ),
    # --- what a path asks for
    (
        Policies(sets=(MemberSetting("p", "model", "m", "path: model m"), MemberSetting("p", "stream", value=True))),
        b'{"stream":false}',
        b'{"stream":true,"model":"m"}',
        "path: model m; stream true",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("policies", "sent", "out", "said"), CHANGES, ids=[row[3] for row in CHANGES])
def test_only_what_a_policy_names_changes(policies: Policies, sent: bytes, out: bytes, said: str) -> None:
    found = changed(sent, policies)
    assert found.body == out
    assert "; ".join(words for _, words in found.notes) == said
    again = changed(out, policies)
    assert (again.body, again.notes) == (out, ())


STAYING: list[tuple[Policies, bytes]] = [
    (ALIASES, b'{"model":"mistral-large-latest"}'),
    (ALIASES, b'{"messages":[{"model":"large"}]}'),
    (ALIASES, b'{"model":["large"]}'),
    (defaults(temperature=0.7), b'{"temperature":0}'),
    (defaults(max_tokens=9), b'{"max_completion_tokens":1}'),
    (defaults(generationConfig__topP=1), b'{"generationConfig":[]}'),
    (defaults(generationConfig__topP=1), b'{"generationConfig":{"topP":0}}'),
    (caps(max_tokens=9), b'{"max_tokens":9}'),
    (caps(max_tokens=9), b'{"max_tokens":null}'),
    (caps(max_tokens=9), b'{"messages":[{"max_tokens":10}]}'),
    (caps(generationConfig__topK=9), b'{"generationConfig":3}'),
]


@pytest.mark.parametrize(("policies", "sent"), STAYING)
def test_what_is_as_it_should_be_stays(policies: Policies, sent: bytes) -> None:
    found = changed(sent, policies)
    assert found.body is sent
    assert found.notes == ()


EVERYTHING = Policies(
    aliases=ALIASES.aliases,
    defaults=settings(temperature=0.7, generationConfig__topP=1),
    caps=settings(max_tokens=9),
    sets=settings(stream=True),
)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "is no JSON object"),
        (b"model=large", "is no JSON object"),
        (b'["large"]', "is no JSON object"),
        (b'{"model":"large"', "is no JSON object"),
        (b'{"model":large}', "is no JSON"),
        (b'{"temperature":NaN}', "is no JSON"),
        (b'{"model":"large",}', "is no JSON object"),
        (b'{"model":"large"}{}', "has something behind its end"),
        (b'{"model":"large"}\x00', "has something behind its end"),
        (b'\xef\xbb\xbf{"model":"large"}', "begins with a byte order mark"),
        ('{"model":"large"}'.encode("utf-16"), "is no JSON"),
        (b'{"model":"large","a":"\xff"}', "is no JSON"),
        (b'{"model":"large","model":"small"}', "has a member twice"),
        (b'{"a":1,"mod\\u0065l":"large"}', "has an escape in the name of a member"),
        (b'{"\\u006dodel":"large"}', "has an escape in the name of a member"),
        (b'{"generationConfig":{"topP":1,"topP":2}}', "has a member twice"),
        (b'{"generationConfig":{"topP":1,"top_p":2}}', "has a member twice"),
        (b'{"generationConfig":{},"generation_config":{}}', "has a member twice"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is no JSON"),
        (b'{"max_tokens":' + b"9" * 5000 + b"}", "is no JSON"),
    ],
)
def test_a_body_that_not_every_reader_takes_for_the_same_is_left_alone(body: bytes, why: str) -> None:
    with pytest.raises(UnreadableError) as raised:
        changed(body, EVERYTHING)
    assert str(raised.value) == why


def test_the_policies_that_would_change_a_body_by_name() -> None:
    assert list(named_policies(EVERYTHING)) == ["short", "x", "p"]


EMBED = Policies(renamed=("large", Alias("short", "gemini-embedding-001")))


@pytest.mark.parametrize(
    ("sent", "out"),
    [
        (
            b'{"requests": [ {"model":"models/large", "content":{"model":"large"}} , {"x":1 , "model" : "large"},'
            b' {"model":"models/other"}, 7, [{"model":"large"}] ] }',
            b'{"requests": [ {"model":"models/gemini-embedding-001", "content":{"model":"large"}} ,'
            b' {"x":1 , "model" : "gemini-embedding-001"}, {"model":"models/other"}, 7, [{"model":"large"}] ] }',
        ),
        (b'{"model":"models\\/large"}', b'{"model":"models/gemini-embedding-001"}'),
        (
            b'{"generateContentRequest":{"model":"models/large","contents":[]}}',
            b'{"generateContentRequest":{"model":"models/gemini-embedding-001","contents":[]}}',
        ),
        (b'{"requests":[ ]}', b'{"requests":[ ]}'),
        (b'{"requests":{"model":"large"}}', b'{"requests":{"model":"large"}}'),
        (b'{"content":{}}', b'{"content":{}}'),
    ],
)
def test_the_alias_that_the_path_names_goes_from_the_body_too(sent: bytes, out: bytes) -> None:
    assert changed(sent, EMBED).body == out
    assert EMBED.changes_body
    assert list(named_policies(EMBED)) == ["short"]


def test_so_it_does_not_where_readers_differ() -> None:
    with pytest.raises(UnreadableError):
        changed(b'{"requests":[{"model":"large","model":"small"}]}', EMBED)


def test_the_alias_that_a_body_asks_for() -> None:
    assert asked_alias(b'{"model":"large"}', ALIASES.aliases) == ("large", ALIASES.aliases["large"])
    assert asked_alias(b'{"model":"other"}', ALIASES.aliases) is None
    assert asked_alias(b"{}", ALIASES.aliases) is None


# --- any body ---------------------------------------------------------------------------------------------------------

SPACES = st.text(" \t\r\n", max_size=2)
NAMES = ["model", "temperature", "max_tokens", "stream", "generationConfig", "topP", "messages", "é", "a b", ""]
NUMBERS = st.sampled_from(["0", "-0", "1.0", "1.00e+0", "1E5", "9", "10", "123456789012345678901234567890", "-1.5e-7"])
STRINGS = st.sampled_from(
    [
        '"large"',
        '"l\\u0061rge"',
        '"\\ud83d"',
        '"é \\/ \\n 🙂"',
        '"größe"',
        '""',
        '"\\"}"',
        '"{\\"model\\":\\"large\\"}"',
    ]
)
SCALARS = st.one_of(NUMBERS, STRINGS, st.sampled_from(["true", "false", "null"]))


def _array(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(st.tuples(SPACES, values, SPACES).map("".join), max_size=3).map(lambda of: f"[{','.join(of)}]")


def _object(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def written(members: dict[str, tuple[str, str, str, str, str]]) -> str:
        inner = (
            f'{before}"{name}"{between}:{after}{value}{end}'
            for name, (before, between, after, value, end) in members.items()
        )
        return f"{{{','.join(inner)}}}"

    return st.dictionaries(st.sampled_from(NAMES), st.tuples(SPACES, SPACES, SPACES, values, SPACES)).map(written)


VALUES = st.recursive(SCALARS, lambda inner: st.one_of(_array(inner), _object(inner)), max_leaves=12)
BODIES = st.tuples(SPACES, _object(VALUES), SPACES).map("".join)


def expected(body: dict[str, Any]) -> dict[str, Any]:
    """What the body should be, said another way."""
    body = dict(body)
    if isinstance(name := body.get("model"), str) and name in EVERYTHING.aliases:
        body["model"] = EVERYTHING.aliases[name].model
    body["stream"] = True
    limit = body.get("max_tokens")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float) or limit > 9):
        body["max_tokens"] = 9
    if body.get("temperature") is None:
        body["temperature"] = 0.7
    config = body.get("generationConfig")
    if config is None:
        body["generationConfig"] = {"topP": 1}
    elif isinstance(config, dict) and config.get("topP") is None:
        body["generationConfig"] = {**config, "topP": 1}
    return body


def tokens(text: str) -> list[str]:
    """The members of an object as they are written, space and all."""
    decoder, found, at = json.JSONDecoder(), [], text.index("{") + 1
    while text[at:].lstrip()[:1] != "}":
        start = at
        _, end = decoder.raw_decode(text, at + len(text[at:]) - len(text[at:].lstrip()))
        colon = text.index(":", end) + 1
        _, end = decoder.raw_decode(text, colon + len(text[colon:]) - len(text[colon:].lstrip()))
        at = end + len(text[end:]) - len(text[end:].lstrip())
        found.append(text[start:at])
        if text[at] == ",":
            at += 1
    return found


@given(BODIES)
def test_of_any_body_everything_else_stays_byte_for_byte(text: str) -> None:
    body = text.encode()
    try:
        out = changed(body, EVERYTHING).body.decode()
    except UnreadableError as error:  # two names of one thing, below
        assert str(error) == "has a member twice"  # noqa: PT017 -- the property holds for the others
        return
    before, after = json.loads(text), json.loads(out)
    assert after == expected(before)
    assert list(after)[: len(before)] == list(before)
    named = {"model", "temperature", "max_tokens", "stream", "generationConfig"}
    written = tokens(out)
    for name, member in zip(before, tokens(text), strict=True):
        if name not in named or before[name] == after[name]:
            assert member.strip() == written[list(after).index(name)].strip()
    start, end = text.index("{"), text.rindex("}")
    assert (out[:start], out[out.rindex("}") :]) == (text[:start], text[end:])


@given(BODIES)
def test_of_any_body_the_bytes_outside_the_changes_stay(text: str) -> None:
    """An alias alone: what is before its value and what is behind it are the same bytes."""
    body = text.encode()
    found = changed(body, ALIASES)
    if found.model is None:
        assert found.body is body
        return
    new = json.dumps(found.model, ensure_ascii=False).encode()
    at = next(at for at in range(len(found.body)) if found.body[at : at + len(new)] == new and at < len(body)
              and found.body[:at] == body[:at])  # fmt: skip
    assert body.endswith(found.body[at + len(new) :])


# --- every recorded body ----------------------------------------------------------------------------------------------


def test_of_every_recorded_request_only_the_model_and_the_default_change() -> None:
    tried = 0
    for exchange in exchanges():
        body = exchange.request_body
        try:
            before = json.loads(body)
        except ValueError:
            continue
        if not isinstance(before, dict) or not isinstance(model := before.get("model"), str):
            continue
        tried += 1
        policies = Policies(aliases={model: Alias("a", "an-alias")}, defaults=settings(min_p=0.25))
        found = changed(body, policies)
        assert json.loads(found.body) == {"min_p": 0.25, **before, "model": "an-alias"}, exchange.id
        put_in = b'"min_p":0.25' if len(before) == 0 else b',"min_p":0.25'
        alias, old = b'"an-alias"', json.dumps(model, ensure_ascii=False).encode()
        assert found.body.replace(alias, old, 1).replace(put_in, b"", 1) == body, exchange.id
    assert tried > 20
