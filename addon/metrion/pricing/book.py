"""Price files in, what a response cost out.

A :class:`PriceBook` is read once from YAML files (their format: ``docs/pricing.md``) and never changes. Money is
:class:`~decimal.Decimal` from the text of the file to the last of 12 places; no float is on the way.
:meth:`PriceBook.cost` does no I/O, never raises and never guesses: a model, a service tier or a day without a rate is
*unpriced*, an unknown usage is *unknown*, and both have no amount rather than 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

from metrion.model import Cost, CostSource, Usage
from metrion.pricing.bill import Bill, charged_amount, combined, compute_bill, is_amount, is_known
from metrion.pricing.files import read_bytes, read_entries
from metrion.pricing.models import Models, spellings
from metrion.pricing.prices import STANDARD_TIERS, Entry, Period

_TIERS: Mapping[str, str] = {"on_demand_flex": "flex", "on_demand_priority": "priority"}
"""What Vertex AI calls tiers that have another name elsewhere."""

_REMEMBERED = 4096
"""How many looked-up models, and how many prices of a day, stay in memory. Clients choose names: there is a bound."""


class PriceBook:
    """What every known model costs. Immutable; one book serves all threads."""

    version: str
    """Names the content of the files; goes into the column ``price_version``."""

    def __init__(self, providers: Mapping[str, Models], version: str) -> None:
        self._providers = providers
        self._found: dict[tuple[str, str | None, str | None], Entry | None] = {}
        self._held: dict[tuple[int, date, str], Period | None] = {}
        self.version = version

    @classmethod
    def load(cls, paths: Sequence[Path]) -> PriceBook:
        """Read price files. Of two entries for one model of one provider, the one in the later file counts.

        An entry that replaces another and has no ``match`` of its own keeps the other's.

        :raises PricingError: a file cannot be read, or something in it is not as ``docs/pricing.md`` says.
        """
        digest = hashlib.sha256()
        providers: dict[str, Models] = {}
        for path in paths:
            text = read_bytes(path)
            digest.update(b"%d:%s" % (len(text), text))
            for provider, entries in read_entries(path, text).items():
                models = providers.setdefault(provider, Models())
                for entry in entries:
                    models.add(entry)
        for models in providers.values():
            models.index()
        return cls(MappingProxyType(providers), digest.hexdigest()[:12])

    def cost(
        self,
        *,
        provider: str,
        model: str | None,
        model_requested: str | None,
        usage: Usage | None,
        when: datetime,
        service_tier: str | None = None,
        estimated: bool = False,
    ) -> Cost:
        """Price ``usage``: at the model served, else the model requested, at the rates of the day ``when`` (UTC).

        Every part is rounded half-even to 12 places, and the cost is their sum. A class with 0 tokens has no part. What
        the provider says it charged comes first; ours then is beside it. ``estimated`` marks a usage that the provider
        did not report.
        """
        if usage is None:
            return Cost(CostSource.UNKNOWN)
        if usage.unbilled:
            return Cost(CostSource.NOT_BILLED, usd=Decimal(0))
        charged = charged_amount(usage)
        known = is_known(usage)
        bill = self._bill(provider, model, model_requested, usage, when, service_tier) if known else None
        total = bill.total() if bill else None
        if bill is None or total is None or not is_amount(total):
            if charged is not None:
                return Cost(CostSource.PROVIDER, usd=charged)
            is_unpriced = known and bill is None
            return Cost(CostSource.UNPRICED, price_version=self.version) if is_unpriced else Cost(CostSource.UNKNOWN)
        source, usd = CostSource.ESTIMATED if estimated or bill.apportioned else CostSource.COMPUTED, total
        if charged is not None:
            source, usd = CostSource.PROVIDER, charged
        return Cost(source, usd=usd, computed_usd=total, parts=MappingProxyType(bill.parts), price_version=self.version)

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

    def _bill(
        self,
        provider: str,
        model: str | None,
        model_requested: str | None,
        usage: Usage,
        when: datetime,
        service_tier: str | None,
    ) -> Bill | None:
        """Compute the parts of a cost; ``None`` when something was used that has no price.

        Where a usage has shares, each that is billed is priced by itself. The parts of another model have its name
        before theirs.
        """
        day = _day(when)
        if not usage.shares:
            prices = self._prices(self._find(provider, model, model_requested), day, _tier(service_tier, usage))
            return compute_bill(usage, prices, is_request=True) if prices else None
        bills = []
        for other, share in usage.shares:
            if share.unbilled:
                continue
            own = other is None or other == model
            entry = self._find(provider, model, model_requested) if own else self._find(provider, other, None)
            prices = self._prices(entry, day, _tier(service_tier, share))
            bill = compute_bill(share, prices, is_request=own) if prices else None
            if bill is None:
                return None
            bills.append(("" if own else f"{other}:", bill))
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
        """Return the entry of the model served, else of the model requested."""
        if (models := self._providers.get(provider)) is None:
            return None
        names = (spelling for name in (model, model_requested) if name for spelling in spellings(name, provider))
        return next((entry for name in names if (entry := models.find(name))), None)

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
