"""Price files in, what a response cost out.

A :class:`PriceBook` is read once from YAML files (their format: ``docs/pricing.md``) and never changes. Money is
:class:`~decimal.Decimal` from the text of the file to the last of 12 places; no float is on the way.
:meth:`PriceBook.cost` does no I/O, never raises and never guesses: a model, a service tier or a day without a rate is
*unpriced*, an unknown usage is *unknown*, and both have no amount rather than 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

from metrion.model import Cost, CostSource, Usage
from metrion.pricing.bill import Bill, charged_amount, combined, compute_bill, is_amount, is_known
from metrion.pricing.files import read_bytes, read_entries
from metrion.pricing.model_names import Models, is_same, spellings
from metrion.pricing.prices import STANDARD_TIERS, Entry, Period

_TIERS: Mapping[str, str] = {"on_demand_flex": "flex", "on_demand_priority": "priority"}
"""What Vertex AI calls tiers that have another name elsewhere."""

_REMEMBERED = 4096
"""How many looked-up models, and how many prices of a day, stay in memory. Clients choose names: there is a bound."""


class PriceBook:
    """What every known model costs. Immutable; one book serves all threads."""

    version: str
    """Names the content of the files; goes into the column ``price_version``."""

    def __init__(self, providers: Mapping[str, Models], version: str, without_allowance: Collection[str] = ()) -> None:
        self._providers = providers
        self._without_allowance = frozenset(without_allowance)
        self._found: dict[tuple[str, str | None, str | None], Entry | None] = {}
        self._held: dict[tuple[int, date, str], Period | None] = {}
        self.version = version

    @classmethod
    def load(cls, paths: Sequence[Path], *, without_allowance: Collection[str] = ()) -> PriceBook:
        """Read price files. ``without_allowance`` names the providers of which nothing is free any more.

        Of two entries for one model of one provider, the one in the later file counts.

        An entry that replaces another and has no ``match`` of its own keeps the other's.

        :raises PricingError: a file cannot be read, or something in it is not as ``docs/pricing.md`` says.
        """
        return cls.read([(path, read_bytes(path)) for path in paths], without_allowance=without_allowance)

    @classmethod
    def read(cls, files: Sequence[tuple[Path, bytes]], *, without_allowance: Collection[str] = ()) -> PriceBook:
        """Do as :meth:`load` does, with the text of each file.

        :raises PricingError: something in a text is not as ``docs/pricing.md`` says.
        """
        digest = hashlib.sha256()
        providers: dict[str, Models] = {}
        for path, text in files:
            digest.update(b"%d:%s" % (len(text), text))
            for provider, entries in read_entries(path, text).items():
                models = providers.setdefault(provider, Models())
                for entry in entries:
                    models.add(entry)
        for models in providers.values():
            models.index()
        return cls(MappingProxyType(providers), digest.hexdigest()[:12], without_allowance)

    def cost(
        self,
        *,
        provider: str,
        model: str | None,
        model_requested: str | None,
        usage: Usage | None,
        when: datetime,
        service_tier: str | None = None,
        regional: bool = False,
        estimated: bool = False,
    ) -> Cost:
        """Price ``usage``: at the model served, else the model requested, at the rates of the day ``when`` (UTC).

        Every part is rounded half-even to 12 places, and the cost is their sum. A class with 0 tokens has no part. What
        the provider says it charged comes first; ours then is beside it. ``regional`` marks a request to a regional
        endpoint, ``estimated`` a usage that the provider did not report.
        """
        if usage is None:
            return Cost(CostSource.UNKNOWN)
        if usage.unbilled:
            return Cost(CostSource.NOT_BILLED, usd=Decimal(0))
        charged = charged_amount(usage)
        known = is_known(usage)
        bill = self._bill(provider, model, model_requested, usage, when, service_tier, regional) if known else None
        total = bill.total() if bill else None
        if bill is None or bill.missing or total is None or not is_amount(total):
            if charged is not None:
                return Cost(CostSource.PROVIDER, usd=charged)
            if not known or (total is not None and not is_amount(total)):
                return Cost(CostSource.UNKNOWN)
            floor = bill.floor() if bill else None
            return Cost(CostSource.UNPRICED, price_version=self.version, at_least_usd=floor or None)
        source, usd = CostSource.ESTIMATED if estimated or bill.estimated else CostSource.COMPUTED, total
        if charged is not None:
            source, usd = CostSource.PROVIDER, charged
        return Cost(source, usd=usd, computed_usd=total, parts=MappingProxyType(bill.parts), price_version=self.version)

    def floor(
        self,
        *,
        provider: str,
        model: str | None,
        model_requested: str | None,
        usage: Usage,
        when: datetime,
        service_tier: str | None = None,
    ) -> Decimal | None:
        """Return what a usage costs at least that is not known whole; ``None`` where nothing of it has a price."""
        if not is_known(usage):
            return None
        bill = self._bill(provider, model, model_requested, usage, when, service_tier, regional=False)
        floor = bill.floor() if bill else None
        return floor if floor and is_amount(floor) else None

    def is_billed_by(
        self,
        fee: str,
        *,
        provider: str,
        model: str | None,
        model_requested: str | None,
        when: datetime,
    ) -> bool:
        """Whether this fee is the whole price of a model: neither tokens nor seconds have a rate."""
        prices = self._prices(self._find(provider, model, model_requested), _day(when), "")
        return prices is not None and fee in prices.fees and not prices.rates

    def priced_by(
        self,
        *,
        provider: str,
        model: str | None,
        model_requested: str | None,
        usage: Usage,
        when: datetime,
        service_tier: str | None = None,
    ) -> tuple[Entry, Period | None] | None:
        """Return the entry that prices a response, and its prices of that day and tier; ``None``: there is no entry."""
        entry = self._find(provider, model, model_requested)
        return None if entry is None else (entry, self._prices(entry, _day(when), _tier(service_tier, usage)))

    def names(self, provider: str) -> frozenset[str]:
        """Return every name under which the files have a model of this provider, patterns left out."""
        models = self._providers.get(provider)
        return models.names() if models else frozenset()

    def _bill(
        self,
        provider: str,
        model: str | None,
        model_requested: str | None,
        usage: Usage,
        when: datetime,
        service_tier: str | None,
        regional: bool,
    ) -> Bill | None:
        """Compute the parts of a cost; ``None`` when a model has no price at all.

        Where a usage has shares, each that is billed is priced by itself. The parts of another model have its name
        before theirs.
        """
        day = _day(when)
        without_allowance = provider in self._without_allowance

        def bill(entry: Entry | None, usage: Usage, *, is_request: bool) -> Bill | None:
            prices = self._prices(entry, day, _tier(service_tier, usage))
            if prices is None:
                return None
            return compute_bill(
                usage, prices, is_request=is_request, regional=regional, without_allowance=without_allowance
            )

        if not usage.shares:
            return bill(self._find(provider, model, model_requested), usage, is_request=True)
        bills = []
        for other, share in usage.shares:
            if share.unbilled:
                continue
            own = other is None or other == model
            entry = self._find(provider, model, model_requested) if own else self._find(provider, other, None)
            if (found := bill(entry, share, is_request=own)) is None:
                return None
            bills.append(("" if own else f"{other}:", found))
        return combined(bills)

    def _find(self, provider: str, model: str | None, model_requested: str | None) -> Entry | None:
        """Return what :meth:`_search` does, and remember it."""
        key = (provider, model, model_requested)
        try:
            return self._found[key]
        except KeyError:
            entry = self._search(*key)
        if len(self._found) >= _REMEMBERED:
            self._found.clear()
        self._found[key] = entry
        return entry

    def _search(self, provider: str, model: str | None, model_requested: str | None) -> Entry | None:
        """Return the entry of the model served, else of the model requested, if that is the same model."""
        if (models := self._providers.get(provider)) is None:
            return None
        for name in (model, model_requested if not model or is_same(model, model_requested, provider) else None):
            for spelling in spellings(name, provider) if name else ():
                if entry := models.find(spelling):
                    return entry
        return None

    def _prices(self, entry: Entry | None, day: date, tier: str) -> Period | None:
        """Return what :meth:`Entry.prices` does. Only tiers that an entry has are remembered."""
        if entry is None or (tier and tier not in entry.service_tiers):
            return None
        key = (id(entry), day, tier)  # the book keeps its entries
        try:
            return self._held[key]
        except KeyError:
            prices = entry.prices(day, tier)
        if len(self._held) >= _REMEMBERED:
            self._held.clear()
        self._held[key] = prices
        return prices


def _tier(service_tier: str | None, usage: Usage) -> str:
    """Return the key under ``service_tiers`` for what is not standard about a response: ``batch``, ``fast+us``."""
    if not usage.modes and (service_tier is None or service_tier in STANDARD_TIERS):
        return ""
    special = {tier.lower() for tier in (service_tier or "", *(usage.modes or ()))} - STANDARD_TIERS
    return "+".join(sorted(_TIERS.get(tier, tier) for tier in special))


def _day(when: datetime) -> date:
    return (when if when.tzinfo is None else when.astimezone(UTC)).date()
