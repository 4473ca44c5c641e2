"""``policies:`` as people write it: what comes of it, and what the mistakes say."""

from __future__ import annotations

from pathlib import Path

import pytest

from metrion.errors import SettingsError
from metrion.settings import load_settings
from metrion.settings.policies import Asked, Policy, Scope
from metrion.settings.policies.kinds import KINDS


def read(tmp_path: Path, text: str) -> tuple[Policy, ...]:
    file = tmp_path / "metrion.yaml"
    file.write_text("policies:\n" + text)
    return load_settings(file, {"METRION_HOME": str(tmp_path)}).policies


def mistake(tmp_path: Path, text: str) -> str:
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, text)
    return str(raised.value).replace(f"{tmp_path}/", "")


def test_none_is_on_by_default(tmp_path: Path) -> None:
    assert load_settings(None, {"METRION_HOME": str(tmp_path)}).policies == ()
    assert read(tmp_path, "") == ()


def test_each_kind_has_its_row() -> None:
    assert KINDS.keys() == Asked.model_fields.keys()


def test_what_is_written(tmp_path: Path) -> None:
    short, sober = read(
        tmp_path,
        """
  short:
    aliases: {large: mistral-large-latest, quick: {model: llama-3, provider: grok}}
    tell: [event-id]
  sober:
    for: {provider: gemini, account: acme}
    defaults: {temperature: 0.7, safe_prompt: true}
    caps: {max_tokens: 4096}
""",
    )
    assert (short.name, short.scope, short.asked.tell) == ("short", Scope(), ("event-id",))
    assert short.asked.aliases is not None
    assert {name: (to.model, to.provider) for name, to in short.asked.aliases.items()} == {
        "large": ("mistral-large-latest", None),
        "quick": ("llama-3", "xai"),
    }
    assert sober.scope == Scope(provider="google", account="acme")
    assert (sober.asked.defaults, sober.asked.caps) == ({"temperature": 0.7, "safe_prompt": True}, {"max_tokens": 4096})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "  a:\n    aliases:\n      large: one\n  b:\n    for: everything\n    aliases:\n      large: two\n",
            "metrion.yaml, line 4: policies.a.aliases.large and metrion.yaml, line 8: policies.b.aliases.large: "
            "contradict each other, and both are for everything; keep one, or give one a narrower `for`",
        ),
        (
            "  a:\n    for: {provider: grok}\n    defaults: {seed: 1}\n  b:\n    for: {provider: xai}\n"
            "    defaults: {seed: 2}\n",
            "metrion.yaml, line 4: policies.a.defaults.seed and metrion.yaml, line 7: policies.b.defaults.seed: "
            "contradict each other, and both are for the provider xai; keep one, or give one a narrower `for`",
        ),
        (
            "  a: {tell: [event-id]}\n  b: {tell: [cost-usd]}\n",
            "metrion.yaml, line 2: policies.a.tell and metrion.yaml, line 3: policies.b.tell: "
            "contradict each other, and both are for everything; keep one, or give one a narrower `for`",
        ),
        (
            "  a: {defaults: {max_tokens: 5}}\n  b: {caps: {max_tokens: 3}}\n",
            "metrion.yaml, line 2: policies.a.defaults.max_tokens and metrion.yaml, line 3: policies.b.caps.max_tokens"
            ": contradict each other: the default is more than the cap; lower it",
        ),
        (
            "  a:\n    aliases: {one: two, two: three}\n  b:\n    for: {token: ci}\n    aliases:\n      three: one\n",
            "metrion.yaml, line 3: policies.a.aliases.one and metrion.yaml, line 3: policies.a.aliases.two and "
            "metrion.yaml, line 7: policies.b.aliases.three: aliases lead in a circle, one → two → three → one; "
            "have one stand for a model",
        ),
        (
            "  a: {aliases: {one: one}}\n",
            "metrion.yaml, line 2: policies.a.aliases.one: aliases lead in a circle, one → one; "
            "have one stand for a model",
        ),
        (
            "  a: {aliases: {large: }}\n",
            "metrion.yaml: policies.a.aliases: the alias large leads to nothing; write the model that it stands for",
        ),
        (
            "  a: {aliases: {large: {model: x, provider: opnai}}}\n",
            "metrion.yaml, line 2: policies.a.aliases.large.provider: the alias leads to nothing: no provider is "
            "called so; did you mean openai? known: anthropic, openai, google, mistral, xai",
        ),
        (
            "  a: {for: {provider: opnai}}\n",
            "metrion.yaml, line 2: policies.a.for.provider: no provider is called so; did you mean openai? known: "
            "anthropic, openai, google, mistral, xai",
        ),
        ("  a: {defaults: {max_tokens: many}}\n", "metrion.yaml: policies.a.defaults: max_tokens holds a whole number"),
        ("  a: {defaults: {max_tokens: 1.5}}\n", "metrion.yaml: policies.a.defaults: max_tokens holds a whole number"),
        ("  a: {defaults: {safe_prompt: 1}}\n", "metrion.yaml: policies.a.defaults: safe_prompt holds true or false"),
        ("  a: {defaults: {top_p: .nan}}\n", "metrion.yaml: policies.a.defaults: top_p holds a number"),
        (
            "  a: {caps: {service_tier: flex}}\n",
            "metrion.yaml: policies.a.caps: service_tier is no number, so that there is no most of it; set it in "
            "`defaults`",
        ),
        ("  a: {for: {path: v1}}\n", "metrion.yaml: policies.a.for.path: write a path that begins with /, as in "
         "/v1/chat/completions"),
        ("  a: {for: {tokn: ci}}\n", "metrion.yaml: policies.a.for.tokn: unknown key; did you mean token? known: "
         "account, token, provider, path"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, text: str, words: str) -> None:
    assert mistake(tmp_path, text) == words


def test_an_unknown_member_is_said_with_the_one_that_was_meant(tmp_path: Path) -> None:
    words = mistake(tmp_path, "  a: {defaults: {max_token: 5}}\n")
    assert "max_token is no member that a policy can set; did you mean max_tokens? known: " in words


@pytest.mark.parametrize(
    "text",
    [
        "  a: {aliases: {large: one}}\n  b: {for: {token: ci}, aliases: {large: two}}\n",
        "  a: {aliases: {large: one}}\n  b: {aliases: {large: one}}\n",
        "  a: {for: {token: one}, aliases: {x: y}}\n  b: {for: {token: two}, aliases: {y: x}}\n",
        "  a: {defaults: {max_tokens: 5}}\n  b: {for: {account: acme}, caps: {max_tokens: 3}}\n",
        "  a: {aliases: {gpt: {model: gpt, provider: xai}}}\n",
    ],
    ids=["narrower", "the same", "never at once", "a narrower cap", "the same name elsewhere"],
)
def test_these_do_not_contradict_each_other(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text)


@pytest.mark.parametrize(
    ("one", "two", "overlap"),
    [
        (Scope(), Scope(token="a"), True),
        (Scope(token="a"), Scope(token="b"), False),
        (Scope(account="a"), Scope(provider="xai"), True),
        (Scope(path="/v1"), Scope(path="/v1/chat"), True),
        (Scope(path="/v1"), Scope(path="/v11"), False),
        (Scope(path="/"), Scope(path="/v1"), True),
    ],
)
def test_scopes_that_overlap(one: Scope, two: Scope, overlap: bool) -> None:
    assert one.overlaps(two) is two.overlaps(one) is overlap


def test_what_is_sent_more_than_once_or_not_at_all(tmp_path: Path) -> None:
    calm, plain, off = read(
        tmp_path,
        """
  calm:
    retries: {attempts: 10, ambiguous: true, backoff: 0.1}
    concurrency: {at_once: 4, queue: 0, seconds: 5}
    cache: {seconds: 60, megabytes: 8, always: true}
    fallback: [gpt-4o-mini, {provider: gemini}, {model: m, provider: mistral}]
    batching: {milliseconds: 20, inputs: 50}
  plain: {retries: true, concurrency: true, cache: true, batching: true, for: {provider: xai}}
  none: {retries: false, cache: false, concurrency: null, for: {account: a}}
""",
    )
    asked = calm.asked
    assert asked.retries is not None
    assert (asked.retries.attempts, asked.retries.ambiguous, asked.retries.backoff) == (10, True, 0.1)
    assert asked.concurrency is not None
    assert (asked.concurrency.at_once, asked.concurrency.queue, asked.concurrency.seconds) == (4, 0, 5.0)
    assert asked.cache is not None
    assert (asked.cache.seconds, asked.cache.megabytes, asked.cache.always) == (60.0, 8, True)
    assert asked.fallback is not None
    assert [(step.model, step.provider) for step in asked.fallback] == [
        ("gpt-4o-mini", None), (None, "google"), ("m", "mistral"),
    ]  # fmt: skip
    assert asked.batching is not None
    assert (asked.batching.milliseconds, asked.batching.inputs) == (20.0, 50)
    assert plain.asked.batching is not None
    assert (plain.asked.batching.milliseconds, plain.asked.batching.inputs) == (5.0, 100)
    assert plain.asked.retries is not None
    assert plain.asked.retries.attempts == 3
    assert plain.asked.cache is not None
    assert plain.asked.cache.seconds == 300.0
    assert off.asked == Asked()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  a: {retries: {attempts: 1}}", "policies.a.retries.attempts: write a whole number, 2 or more"),
        ("  a: {retries: 3}", "policies.a.retries: write a mapping"),
        ("  a: {fallback: []}", "policies.a.fallback: write a list"),
        ("  a: {fallback: [{}]}", "policies.a.fallback: write where it goes then"),
        ("  a: {fallback: [{provider: nobody}]}", "policies.a.fallback: it leads to nothing: no provider is called so"),
        ("  a: {cache: true}\n  b: {cache: {seconds: 5}}", "contradict each other"),
        ("  a: {retries: true}\n  b: {retries: {attempts: 5}}", "contradict each other"),
        ("  a: {batching: {inputs: 101}}", "policies.a.batching.inputs: write a whole number, 100 or less"),
        ("  a: {batching: {inputs: 1}}", "policies.a.batching.inputs: write a whole number, 2 or more"),
        ("  a: {batching: {milliseconds: 0}}", "policies.a.batching.milliseconds: write a number"),
        ("  a: {batching: {milliseconds: 5000}}", "policies.a.batching.milliseconds: write a number, 100 or less"),
        ("  a: {batching: {size: 5}}", "policies.a.batching.size: unknown key"),
        ("  a: {batching: 100}", "policies.a.batching: write a mapping"),
        ("  a: {batching: true}\n  b: {batching: {inputs: 5}}", "contradict each other"),
    ],
)
def test_what_cannot_be_meant_of_them(text: str, words: str, tmp_path: Path) -> None:
    assert words in mistake(tmp_path, text)
