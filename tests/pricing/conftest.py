from __future__ import annotations

import pytest

from metrion.pricing import PriceBook
from tests.pricing.books import PRICING


@pytest.fixture(scope="session")
def shipped() -> PriceBook:
    return PriceBook.load([PRICING])
