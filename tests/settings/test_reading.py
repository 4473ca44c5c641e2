"""Configuration as a person writes it: what it means, and what each mistake is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from metrion.errors import SettingsError
from metrion.model import Origin
from metrion.providers import PROVIDERS
from metrion.settings import Plan, Settings, load_settings

type Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a configuration file with this text, and this environment."""

    def load(text: str = "", **environ: str) -> Settings:
        config = tmp_path / "metrion.yaml"
        config.write_text(text, "utf-8")
        return load_settings(config, environ | {"METRION_HOME": str(tmp_path / "home")})

    return load


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    settings = load_settings(environ={"METRION_HOME": str(tmp_path / "home")})
    assert settings.config_path is None
    assert (settings.listen_host, settings.listen_port) == ("127.0.0.1", 8080)
    assert settings.default_provider is None
    assert {name: entry.upstream for name, entry in settings.providers.items()} == {
        name: entry.upstream for name, entry in PROVIDERS.items()
    }
    assert settings.plans == {
        "free": Plan(requests_per_minute=100, requests_per_month=10_000, timeout=30),
        "pro": Plan(requests_per_minute=100, requests_per_month=None, timeout=600),
    }
    assert settings.cors.origins == ()
    assert settings.intercept.account == "default"
    assert [path.name for path in settings.pricing] == ["pricing.yaml"]
    assert settings.pricing[0].is_file()
    assert settings.environment_keys == {}
    assert settings == Settings(home=tmp_path / "home")


def test_state_lives_under_the_home_and_reading_makes_none_of_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    settings = load_settings(environ={"METRION_HOME": str(home)})
    assert settings.home == home
    assert settings.control_db == home / "control.db"
    assert settings.journal_dir == home / "journal"
    assert settings.store_path == home / "usage.duckdb"
    assert settings.master_key_path.parent == home
    assert not home.exists()


def test_the_usual_home() -> None:
    for environ in ({}, {"METRION_HOME": "", "METRION_CONFIG": ""}):
        assert load_settings(environ=environ).home == Path.home() / ".metrion"


@pytest.mark.parametrize(
    ("store", "path"),
    [
        ("usage.duckdb", "home/usage.duckdb"),
        ("other/x.db", "home/other/x.db"),
    ],
)
def test_store(load: Load, tmp_path: Path, store: str, path: str) -> None:
    settings = load(f"store: {store}")
    assert (settings.store, settings.store_path) == (store, tmp_path / path)


def test_the_time_zone_of_reports(load: Load) -> None:
    assert load("").timezone == "UTC"
    assert load("timezone: Europe/Berlin").timezone == "Europe/Berlin"


def test_which_file_is_read(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    files = [home / "metrion.yaml", tmp_path / "by-variable.yaml", tmp_path / "by-flag.yaml"]
    for port, file in enumerate(files, start=1):
        file.write_text(f"listen: localhost:{port}")
    environ = {"METRION_HOME": str(home)}
    assert load_settings(environ=environ).listen_port == 1
    environ["METRION_CONFIG"] = str(files[1])
    assert load_settings(environ=environ).listen_port == 2
    settings = load_settings(files[2], environ)
    assert (settings.listen_port, settings.config_path) == (3, files[2])


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "plans:\nproviders:\nlisten:\n", "providers: {openai: }"])
def test_what_is_left_empty_has_its_default(load: Load, tmp_path: Path, text: str) -> None:
    assert load(text) == Settings(home=tmp_path / "home", config_path=tmp_path / "metrion.yaml")


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("192.0.2.1:0", "192.0.2.1", 0),
        ("'[::1]:99'", "::1", 99),
        ("here:1", "here", 1),
    ],
)
def test_listen(load: Load, listen: str, host: str, port: int) -> None:
    settings = load(f"listen: {listen}")
    assert (settings.listen_host, settings.listen_port) == (host, port)


@pytest.mark.parametrize(
    ("url", "origin", "prefix"),
    [
        ("https://api.example.com", Origin("https", "api.example.com", 443), ""),
        ("http://LOCALHOST:8000/", Origin("http", "localhost", 8000), ""),
        ("http://127.0.0.1:8000/some/where/", Origin("http", "127.0.0.1", 8000), "/some/where"),
        ("http://[::1]:8000/x", Origin("http", "::1", 8000), "/x"),
        ("HTTP://example.com", Origin("http", "example.com", 80), ""),
        ("https://bücher.example", Origin("https", "xn--bcher-kva.example", 443), ""),
        ("https://openrouter.ai/api", Origin("https", "openrouter.ai", 443), "/api"),
    ],
)
def test_upstream(load: Load, url: str, origin: Origin, prefix: str) -> None:
    for settings in (load(f"providers: {{mistral: {{upstream: '{url}'}}}}"), load(METRION_MISTRAL_UPSTREAM=url)):
        mistral = settings.providers["mistral"]
        assert (mistral.like, mistral.upstream, mistral.prefix) == ("mistral", origin, prefix)


@pytest.mark.parametrize(
    ("keys", "prefix", "version"),
    [
        ("upstream: 'http://x'", "", None),
        ("upstream: 'http://x/v1'", "", "/v1"),
        ("upstream: 'http://x/api/paas/v4/'", "/api/paas", "/v4"),
        ("upstream: 'http://x/v1/inner'", "/v1/inner", None),
        ("upstream: 'http://x/api', version: v4", "/api", "/v4"),
        ("upstream: 'http://x', version: ''", "", ""),
        ("upstream: 'http://x', version: null", "", None),
    ],
)
def test_a_version_may_stand_at_the_end_of_an_upstream(load: Load, keys: str, prefix: str, version: str | None) -> None:
    mine = load(f"providers: {{mine: {{like: openai, {keys}}}}}").providers["mine"]
    assert (mine.prefix, mine.version) == (prefix, version)


def test_a_provider_like_another(load: Load) -> None:
    settings = load(
        "providers:\n"
        "  my-vllm: {like: openai, upstream: http://localhost:8000, timeout: 5}\n"
        "  second: {like: gemini, upstream: http://localhost:8001}\n"
    )
    assert list(settings.providers) == [*PROVIDERS, "my-vllm", "second"]
    mine = settings.providers["my-vllm"]
    assert (mine.like, mine.upstream, mine.timeout) == ("openai", Origin("http", "localhost", 8000), 5)
    assert settings.providers["second"].like == "google"


def test_the_usage_of_streams_is_asked_for_where_that_is_said(load: Load) -> None:
    settings = load(
        "providers:\n"
        "  openai: {include_usage: inject}\n"
        "  grok: {include_usage: inject}\n"
        "  gemini: {include_usage: null}\n"
        "  my-vllm: {like: openai, upstream: http://localhost:8000, include_usage: inject}\n"
        "  azure: {like: openai, upstream: https://mine.openai.azure.com/openai, include_usage: inject}\n"
        "  my-mistral: {like: mistral, upstream: http://localhost:8001}\n"
    )
    asked = [name for name, entry in settings.providers.items() if entry.inject_usage]
    assert asked == ["openai", "xai", "my-vllm", "azure"]


def test_the_environment_wins_over_the_file_and_knows_aliases(load: Load) -> None:
    settings = load(
        "providers: {grok: {upstream: http://file}, my-vllm: {like: openai, upstream: http://file}}",
        METRION_GROK_UPSTREAM="http://one",
        METRION_GEMINI_UPSTREAM="http://two",
        METRION_MY_VLLM_UPSTREAM="http://three",
        METRION_ANTHROPIC_UPSTREAM="",
    )
    hosts = {name: settings.providers[name].upstream.host for name in ("xai", "google", "my-vllm", "anthropic")}
    assert hosts == {"xai": "one", "google": "two", "my-vllm": "three", "anthropic": "api.anthropic.com"}


@pytest.mark.parametrize(("typed", "name"), [("gemini", "google"), ("grok", "xai"), ("openai", "openai")])
def test_an_alias_is_known_wherever_a_provider_is_named(load: Load, typed: str, name: str) -> None:
    settings = load(f"default_provider: {typed}\nproviders: {{{typed}: {{timeout: 3}}}}")
    assert settings.default_provider == name
    assert settings.providers[name].timeout == 3
    assert set(settings.providers) == set(PROVIDERS)


def test_a_plan_keeps_what_is_not_written(load: Load) -> None:
    plans = load("plans: {free: {requests_per_month: null, timeout: 5}, pro: {requests_per_minute: 0}}").plans
    assert plans["free"] == Plan(requests_per_minute=100, requests_per_month=None, timeout=5)
    assert plans["pro"] == Plan(requests_per_minute=0, requests_per_month=None, timeout=600)


def test_the_rest(load: Load) -> None:
    settings = load("cors: {origins: ['https://a.example', '*']}\nintercept: {account: team}")
    assert settings.cors.origins == ("https://a.example", "*")
    assert settings.intercept.account == "team"


def test_price_files_are_relative_to_the_configuration_file(load: Load, tmp_path: Path) -> None:
    mine = tmp_path / "prices" / "mine.yaml"
    mine.parent.mkdir()
    mine.write_text("")
    built_in = Settings(home=tmp_path).pricing
    assert load("pricing: [pricing.yaml, prices/mine.yaml]").pricing == (*built_in, mine)
    assert load(f"pricing: ['{mine}']").pricing == (mine,)
    own = tmp_path / "pricing.yaml"
    own.write_text("")
    assert load("pricing: [pricing.yaml]").pricing == (own,)
    assert load("").pricing == built_in


@pytest.mark.parametrize(
    ("variable", "value", "keys"),
    [
        ("OPENAI_API_KEY", " sk-proj-1\n", {"openai": "sk-proj-1"}),
        ("ANTHROPIC_API_KEY", "sk-ant", {"anthropic": "sk-ant"}),
        ("GEMINI_API_KEY", "AIza", {"google": "AIza"}),
        ("MISTRAL_API_KEY", "m", {"mistral": "m"}),
        ("XAI_API_KEY", "xai-1", {"xai": "xai-1"}),
        ("OPENAI_API_KEY", "", {}),
        # Who points an SDK at Metrion has a Metrion token there: it must not go out as a key.
        ("OPENAI_API_KEY", "sk-metrion-" + "a" * 43, {}),
    ],
)
def test_keys_from_the_environment(load: Load, variable: str, value: str, keys: dict[str, str]) -> None:
    settings = load(**{variable: value})
    assert settings.environment_keys == keys
    assert all(
        f"'{key}'" not in repr(settings) and f'"{key}"' not in settings.model_dump_json() for key in keys.values()
    )


MISTAKES = [
    # (what is written, the key that is named, the way out that is given)
    ("a: 1", "a", "unknown key; known: listen, default_provider"),
    ("include_usage: inject", "include_usage", "belongs deeper, as in providers: {openai: {include_usage: …}}"),
    ("requests_per_month: 5", "requests_per_month", "belongs deeper, as in plans: {pro: {requests_per_month: …}}"),
    ("listne: here:1", "listne", "did you mean listen?"),
    ("1: 2", "1", "as text"),
    ("listen: 8080", "listen", "127.0.0.1:8080"),
    ("listen: here", "listen", "HOST:PORT"),
    ("listen: ':80'", "listen", "HOST:PORT"),
    ("listen: here:65536", "listen", "HOST:PORT"),
    ("listen: ::1:80", "listen", "[::1]:8080"),
    ("default_provider: opnai", "default_provider", "did you mean openai?"),
    ("default_provider: 3", "default_provider", "write text"),
    ("providers: 3", "providers", "write a mapping"),
    ("providers: {openai: 3}", "providers.openai", "write a mapping"),
    ("providers: {openai: {upstram: x}}", "providers.openai.upstram", "did you mean upstream?"),
    ("providers: {openai: {upstream: 3}}", "providers.openai.upstream", "scheme://host"),
    ("providers: {openai: {upstream: localhost}}", "providers.openai.upstream", "scheme://host"),
    ("providers: {openai: {upstream: 'ftp://x'}}", "providers.openai.upstream", "http or https"),
    ("providers: {openai: {upstream: 'http://'}}", "providers.openai.upstream", "scheme://host"),
    ("providers: {openai: {upstream: 'http://x:99999'}}", "providers.openai.upstream", "scheme://host"),
    ("providers: {openai: {upstream: 'http://[x'}}", "providers.openai.upstream", "scheme://host"),
    ("providers: {openai: {upstream: 'http://x/a b'}}", "providers.openai.upstream", "scheme://host"),
    ("providers: {openai: {upstream: 'http://x?a'}}", "providers.openai.upstream", "no query"),
    ("providers: {openai: {upstream: 'http://x/#a'}}", "providers.openai.upstream", "no fragment"),
    ("providers: {openai: {upstream: 'http://x/../y'}}", "providers.openai.upstream", "dot segments"),
    ("providers: {openai: {upstream: 'http://x/é'}}", "providers.openai.upstream", "ASCII"),
    ("providers: {google: {upstream: 'http://x/v1beta/'}}", "providers.google.upstream", "leave /v1beta out"),
    ("providers: {google: {version: v1}}", "providers.google.version", "has two APIs"),
    ("providers: {google: {credential: api-key}}", "providers.google.credential", "has two APIs"),
    ("providers: {openai: {version: one}}", "providers.openai.version", "as in v1"),
    ("providers: {openai: {version: 1}}", "providers.openai.version", "as in v1"),
    ("providers: {openai: {upstream: 'http://x/v2', version: v3}}", "providers.openai.version", "in one place"),
    (
        "providers: {openai: {credential: cookie}}",
        "providers.openai.credential",
        "write the header of the key, or none",
    ),
    ("providers: {openai: {upstream: 'http://me:hunter2@x'}}", "providers.openai.upstream", "leave user and password"),
    ("providers: {openai: {timeout: soon}}", "providers.openai.timeout", "a number of seconds"),
    ("providers: {openai: {timeout: true}}", "providers.openai.timeout", "a number of seconds"),
    ("providers: {openai: {timeout: -1}}", "providers.openai.timeout", "0 or more"),
    ("providers: {openai: {timeout: .inf}}", "providers.openai.timeout", "a number of seconds"),
    ("providers: {openai: {like: mistral}}", "providers.openai.like", "another name"),
    (
        "providers: {openai: {include_usage: true}}",
        "providers.openai.include_usage",
        "write inject, or leave the key out",
    ),
    ("providers: {openai: {include_usage: Inject}}", "providers.openai.include_usage", "write inject"),
    ("providers: {mistral: {include_usage: inject}}", "providers.mistral.include_usage", "422 to stream_options"),
    ("providers: {mistral: {include_usage: inject}}", "providers.mistral.include_usage", "leave the key out"),
    (
        "providers: {anthropic: {include_usage: inject}}",
        "providers.anthropic.include_usage",
        "anyway; leave the key out",
    ),
    *(
        (
            f"providers: {{mine: {{like: {like}, upstream: '{upstream}', include_usage: inject}}}}",
            "providers.mine.include_usage",
            f"{name} ",
        )
        for like, upstream, name in [
            ("mistral", "http://localhost:8000", "Mistral"),
            ("anthropic", "http://localhost:8000", "Anthropic"),
            ("openai", "https://api.mistral.ai", "Mistral"),
            ("openai", "https://API.deepseek.com", "DeepSeek"),
            ("openai", "https://api.groq.com/openai", "Groq"),
            ("openai", "https://api.perplexity.ai", "Perplexity"),
            ("openai", "https://openrouter.ai/api", "OpenRouter"),
        ]
    ),
    ("providers: {opnai: {timeout: 3}}", "providers.opnai", "did you mean openai?"),
    ("providers: {mine: {upstream: 'http://x'}}", "providers.mine", "add `like: openai`"),
    ("providers: {mine: {like: opnai, upstream: 'http://x'}}", "providers.mine.like", "did you mean openai?"),
    ("providers: {mine: {like: openai}}", "providers.mine.upstream", "http://localhost:8000"),
    ("providers: {Mine: {like: openai, upstream: 'http://x'}}", "providers.Mine", "a-z, 0-9, - and _"),
    ("providers: {a/b: {like: openai, upstream: 'http://x'}}", "providers.a/b", "a-z, 0-9, - and _"),
    *(
        (f"providers: {{{name}: {{like: openai, upstream: 'http://x'}}}}", f"providers.{name}", "none of api, health")
        for name in ("api", "health", "messages", "metrics", "v1")
    ),
    ("providers: {gemini: {}, google: {}}", "providers.google", "configured as gemini too; keep one"),
    ("plans: {team: {}}", "plans.team", "known: free, pro"),
    ("plans: {fre: {}}", "plans.fre", "did you mean free?"),
    ("plans: {free: {request_per_minute: 1}}", "plans.free.request_per_minute", "did you mean requests_per_minute?"),
    ("plans: {free: {requests_per_minute: '1'}}", "plans.free.requests_per_minute", "a whole number"),
    ("plans: {free: {requests_per_minute: 1.5}}", "plans.free.requests_per_minute", "a whole number"),
    ("plans: {free: {requests_per_month: true}}", "plans.free.requests_per_month", "a whole number"),
    ("plans: {free: {requests_per_month: -1}}", "plans.free.requests_per_month", "0 or more"),
    ("cors: []", "cors", "write a mapping"),
    ("cors: {origins: x}", "cors.origins", "write a list"),
    ("cors: {origin: []}", "cors.origin", "did you mean origins?"),
    ("intercept: {account: ''}", "intercept.account", "at least one character"),
    ("pricing: mine.yaml", "pricing", "write a list"),
    ("pricing: []", "pricing", "at least one entry"),
    ("pricing: [mine.yaml]", "pricing", "relative to the configuration file"),
    ("store: postgres://x", "store", "usage.duckdb"),
    ("store: ducklake:postgres:x", "store", "cannot be one yet"),
    ("store: 3", "store", "write text"),
    ("timezone: Berlin", "timezone", "as in Europe/Berlin"),
    ("timezone: 1", "timezone", "as in Europe/Berlin"),
    ("- 1", "", "must be a mapping"),
    ("a: [", ", line 1, column 5", "not valid YAML"),
    ("a: \x00", "", "not valid YAML"),
    ("listen: here:1\nlisten: here:2", ", line 2, column 1", "'listen' stands here twice; keep one"),
    ("providers:\n  xai: {}\n  xai: {}", ", line 3, column 3", "'xai' stands here twice"),
    ("store: 2026-13-01", "", "not valid YAML"),
    ("store: !!python/name:os.system x", ", line 1, column 8", "not valid YAML"),
]


@pytest.mark.parametrize(("text", "key", "way_out"), MISTAKES)
def test_a_mistake_names_the_file_the_key_and_the_way_out(
    load: Load, tmp_path: Path, text: str, key: str, way_out: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        load(text)
    message = str(raised.value)
    separator = "" if key.startswith(",") or not key else ": "
    assert message.startswith(f"{tmp_path / 'metrion.yaml'}{separator}{key}:")
    assert way_out in message
    assert "hunter2" not in message


def test_every_mistake_is_told_at_once(load: Load) -> None:
    with pytest.raises(SettingsError) as raised:
        load("a: 1\nlisten: x\nplans: {free: {timeout: x}}")
    assert len(str(raised.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("variable", "value", "way_out"),
    [
        ("METRION_OPENAI_UPSTREAM", "localhost:80", "scheme://host"),
        ("METRION_OPENAI_UPSTREAM", "http://me:hunter2@x", "leave user and password"),
        ("METRION_GEMINI_UPSTREAM", "http://x/v1beta", "leave /v1beta out"),
        ("METRION_OPNAI_UPSTREAM", "http://x", "did you mean METRION_OPENAI_UPSTREAM?"),
        ("OPENAI_API_KEY", "hunter2\r\nx: y", "printable ASCII"),
        ("OPENAI_API_KEY", "hunter2 \N{BULLET}", "printable ASCII"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(load: Load, variable: str, value: str, way_out: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(**{variable: value})
    assert str(raised.value).startswith(f"${variable}: ")
    assert way_out in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("prepare", "way_out"),
    [
        (Path.absolute, "no such file; name another with --config or $METRION_CONFIG"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: path.write_bytes(b"store: \xff"), "save it as UTF-8"),
        (lambda path: path.write_text("a: " + "[" * 100_000), "not valid YAML"),
    ],
    ids=["absent", "a folder", "not UTF-8", "too deep"],
)
@pytest.mark.parametrize("named_by", ["flag", "variable"])
def test_a_named_file_that_cannot_be_read(
    tmp_path: Path, prepare: Callable[[Path], object], way_out: str, named_by: str
) -> None:
    path = tmp_path / "my.yaml"
    prepare(path)
    environ = {"METRION_CONFIG": str(path)} if named_by == "variable" else {}
    with pytest.raises(SettingsError, match=r"my\.yaml: ") as raised:
        load_settings(path if named_by == "flag" else None, environ)
    assert way_out in str(raised.value)


def test_yaml_anchors_and_merges_are_no_duplicates(load: Load) -> None:
    providers = load(
        "providers:\n  openai: &a {timeout: 3}\n  mistral:\n    <<: *a\n  xai:\n    <<: *a\n    timeout: 4"
    ).providers
    assert [providers[name].timeout for name in ("openai", "mistral", "xai")] == [3, 3, 4]


def test_searches_that_are_never_free_and_urls_that_name_the_proxy(tmp_path: Path) -> None:
    file = tmp_path / "metrion.yaml"
    file.write_text("providers: {gemini: {search_allowance: none}, openai: null}\nrewrite_result_urls: true\n")
    settings = load_settings(file, {"METRION_HOME": str(tmp_path)})
    assert settings.without_allowance == {"google"}
    assert settings.rewrite_result_urls
    usual = load_settings(None, {"METRION_HOME": str(tmp_path / "none")})
    assert (usual.without_allowance, usual.rewrite_result_urls) == (frozenset(), False)


def test_trusted_proxies(load: Load) -> None:
    assert load("").trusted_proxies == ()
    read = load("trusted_proxies: [127.0.0.1, 10.0.0.0/8, 'fd00::/8']").trusted_proxies
    assert [str(network) for network in read] == ["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"]


@pytest.mark.parametrize("written", ["10.0.0.1/8", "proxy.example", "1", "[1]", "[10.0.0.0/33]", "[[]]", "{a: b}"])
def test_what_is_no_network(load: Load, written: str) -> None:
    with pytest.raises(SettingsError, match=r"trusted_proxies.*as in \[127\.0\.0\.1, 10\.0\.0\.0/8"):
        load(f"trusted_proxies: {written}")
