"""The settings as the rest of Metrion reads them: frozen values with every default filled in. Nothing here is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from metrion.model import CredentialPlace, ErrorShape, Origin
from metrion.providers import PROVIDERS, Provider
from metrion.settings.frozen import Frozen
from metrion.settings.policies import Policy

_BUILT_IN_PRICES = (Path(__file__).parents[1] / "pricing.yaml", Path(__file__).parents[3] / "pricing.yaml")
"""Where Metrion's own price file is: in the installed package, or in the source tree."""


Limit = Annotated[int, Field(strict=True, ge=0, examples=[100])]
"""A number of requests. 0 and ``None``: no limit."""
Seconds = Annotated[
    float, Field(strict=True, ge=0, allow_inf_nan=False, description="a number of seconds", examples=[30])
]
"""0: no timeout; ``None``: the next of token, provider and plan decides."""

Port = Annotated[int, Field(strict=True, ge=1, le=65535)]

PlanName = Literal["free", "pro"]


class Plan(Frozen):
    """What an account may use."""

    requests_per_minute: Limit | None = 100
    requests_per_month: Limit | None = None
    timeout: Seconds | None = 600.0


class ProviderSettings(Frozen):
    """Where one provider is. ``like`` is the entry of ``PROVIDERS`` that it speaks like: its own name if built in."""

    like: str
    upstream: Origin
    prefix: str = ""
    """The path put before every outgoing path: empty, or ``/…`` without a slash at its end."""
    version: str | None = None
    """What is put before a path that has no version: empty, or ``/v1`` and the like; ``None``: what ``like`` has."""
    credential: CredentialPlace | None = None
    """Where the stored key goes; ``None``: where ``like`` has it."""
    timeout: Seconds | None = None
    inject_usage: bool = False
    """Metrion asks for the usage of a stream where the client does not: :mod:`metrion.relay.include_usage`."""
    error_shape: ErrorShape | None = None
    """In whose words Metrion refuses; ``None``: in the provider's own."""
    search_allowance: bool = True
    """Some searches are free, as far as anybody knows; ``False``: all of them are paid."""

    @property
    def entry(self) -> Provider:
        """What the proxy knows of it."""
        known = PROVIDERS[self.like]
        if self.error_shape is None:
            return known
        return replace(known, native=replace(known.native, error_shape=self.error_shape))

    @property
    def needs_key(self) -> bool:
        """Whether requests go out with a key."""
        return self.credential is not CredentialPlace.NONE


class Cors(Frozen):
    """Origins whose preflights are answered; empty: none."""

    origins: tuple[str, ...] = ()


class Intercept(Frozen):
    """The account that transparent and local traffic belongs to, and what becomes of a CONNECT to any other host."""

    account: Annotated[str, Field(min_length=1)] = "default"
    others: Literal["refuse", "tunnel"] = "refuse"
    ports: Annotated[tuple[Port, ...], Field(min_length=1, examples=[443, 8443])] = (443,)
    """Where a tunnel to another host may lead."""


class MetricsSettings(Frozen):
    """What ``GET /metrics`` shows besides what it always does."""

    models: Annotated[int, Field(strict=True, ge=1, le=200, examples=[100])] = 100
    """How many models have labels of their own; the same number of users."""
    old_names: Annotated[bool, Field(strict=True)] = False
    """Metrics also have the names of the older conventions."""
    mistral_names: Annotated[bool, Field(strict=True)] = False
    """Metrics of Mistral's also have the names that a common guide to a proxy of one's own gives them."""
    users: Annotated[bool, Field(strict=True)] = False
    """Requests, tokens and costs are also counted by user label."""


class BudgetSettings(Frozen):
    """What answers say of budgets."""

    remaining_header: Annotated[bool, Field(strict=True)] = False
    """An answer says what is left of the budget that has least: ``x-metrion-budget-remaining``."""


class PerMinute(Frozen):
    """What may be used in any 60 seconds; 0 and ``None``: as much as one likes."""

    usd_per_minute: (
        Annotated[
            float, Field(strict=True, ge=0, allow_inf_nan=False, description="a number of US dollars", examples=[2])
        ]
        | None
    ) = None
    tokens_per_minute: Annotated[int, Field(strict=True, ge=0, examples=[500_000])] | None = None

    @property
    def is_on(self) -> bool:
        """Whether there is a limit."""
        return bool(self.usd_per_minute or self.tokens_per_minute)


class GuardSettings(Frozen):
    """When a program looks as if it ran away, and what happens then."""

    token: PerMinute = PerMinute()
    account: PerMinute = PerMinute()
    identical_requests: Annotated[int, Field(strict=True, ge=0, examples=[20])] | None = None
    """So many with one body pass in a row, each within 60 seconds of the one before. 0 and ``None``: any number."""
    then: Literal["refuse", "warn"] = "refuse"

    @property
    def is_on(self) -> bool:
        """Whether anything is guarded."""
        return self.token.is_on or self.account.is_on or bool(self.identical_requests)


class DashboardSettings(Frozen):
    """How the dashboard shows figures to those who chose nothing else."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="the code of a currency", examples=["CHF"])] = (
        "USD"
    )
    currencies: Annotated[str, Field(min_length=1)] | None = None
    """A file of rates; ``None``: Metrion's own."""


class OtlpSettings(Frozen):
    """The collector that spans and metrics are sent to. Never shown: the values of ``headers``, which are secrets."""

    endpoint: str | None = None
    """``http(s)://host[:port][/path]``; ``None``: nothing is sent."""
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False, exclude=True)


def built_in_providers() -> dict[str, ProviderSettings]:
    """Every built-in provider, as it is without a configuration."""
    return {name: ProviderSettings(like=name, upstream=entry.upstream) for name, entry in PROVIDERS.items()}


def built_in_plans() -> dict[str, Plan]:
    """Return ``free`` and ``pro``, as they are without a configuration."""
    return {"free": Plan(requests_per_month=10_000, timeout=30.0), "pro": Plan()}


def built_in_pricing() -> tuple[Path, ...]:
    """Return the price file that Metrion comes with."""
    return (next((path for path in _BUILT_IN_PRICES if path.is_file()), _BUILT_IN_PRICES[0]),)


def own_prices(home: Path) -> Path:
    """Return Metrion's own price file: a newer one that ``metrion prices update`` put into the home, or that one."""
    newer = home / "pricing.yaml"
    return newer if newer.is_file() else built_in_pricing()[0]


class Settings(Frozen):
    """Everything that is configured, with every default filled in."""

    home: Path
    config_path: Path | None = None
    """The file that was read; ``None``: there was none."""
    listen_host: str = "127.0.0.1"
    listen_port: int = 8080
    default_provider: str | None = None
    providers: Mapping[str, ProviderSettings] = Field(default_factory=built_in_providers)
    """By name: the built-in ones, always all of them, then those with ``like``."""
    plans: Mapping[str, Plan] = Field(default_factory=built_in_plans)
    """``free`` and ``pro``."""
    cors: Cors = Cors()
    intercept: Intercept = Intercept()
    rewrite_result_urls: bool = False
    """The URL of a batch's results names the proxy: :mod:`metrion.relay.result_urls`."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Whose ``X-Forwarded-For`` is believed."""
    pricing: tuple[Path, ...] = Field(default_factory=built_in_pricing)
    """Existing price files; later ones win."""
    store: str = "usage.duckdb"
    timezone: str = "UTC"
    """Whose days and months reports show, by its IANA name."""
    metrics: MetricsSettings = MetricsSettings()
    budgets: BudgetSettings = BudgetSettings()
    guard: GuardSettings = GuardSettings()
    dashboard: DashboardSettings = DashboardSettings()
    otlp: OtlpSettings = OtlpSettings()
    environment: str | None = None
    """Whose variables are read besides: a name of :data:`metrion.settings.environments.ENVIRONMENTS`."""
    policies: tuple[Policy, ...] = ()
    """What changes a request or its answer because somebody asked for it by name."""
    master_key_command: tuple[str, ...] = ()
    """What prints the master keys, as words; empty: they are in a file, or in ``master_key``."""
    master_key: str | None = Field(default=None, repr=False, exclude=True)
    """Master keys that the environment holds; they win over a command and a file."""
    environment_keys: Mapping[str, str] = Field(default_factory=dict, repr=False, exclude=True)
    """Provider name to the key that the environment holds for the account ``default``."""

    @property
    def without_allowance(self) -> frozenset[str]:
        """The providers of which no search is free."""
        return frozenset(name for name, provider in self.providers.items() if not provider.search_allowance)

    @property
    def currencies_path(self) -> Path | None:
        """The configured file of rates, beside the configuration where it is relative; ``None``: Metrion's own."""
        name = self.dashboard.currencies
        return (self.config_path or self.home / "-").parent / Path(name).expanduser() if name else None

    @property
    def control_db(self) -> Path:
        """Accounts, tokens and provider keys."""
        return self.home / "control.db"

    @property
    def counters_dir(self) -> Path:
        """How many requests of each token were forwarded."""
        return self.home / "counters"

    @property
    def places_dir(self) -> Path:
        """How many requests go out with each provider key at this moment."""
        return self.home / "places"

    @property
    def cache_db(self) -> Path:
        """Answers for requests that come again, where a policy keeps them."""
        return self.home / "cache.db"

    @property
    def key_use_dir(self) -> Path:
        """When each provider key last went out."""
        return self.home / "key-use"

    @property
    def budgets_dir(self) -> Path:
        """What of each budget is spent and held."""
        return self.home / "budgets"

    @property
    def guard_dir(self) -> Path:
        """What tokens and accounts have used in the last minute."""
        return self.home / "guard"

    @property
    def generations_db(self) -> Path:
        """What providers still work at, and bill later."""
        return self.home / "generations.db"

    @property
    def journal_dir(self) -> Path:
        """The journal's segments."""
        return self.home / "journal"

    @property
    def store_path(self) -> Path:
        """The DuckDB file that ``store`` names."""
        return self.home / Path(self.store).expanduser()

    @property
    def master_key_path(self) -> Path:
        """What encrypts the stored provider keys."""
        return self.home / "master.key"
