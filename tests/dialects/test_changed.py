"""What is read otherwise than the corpus has it: each exchange by name, with the old value and the new one."""

import pytest

from metrion.metering.tap import Tap
from metrion.model import EndReason, Reading, Usage
from tests.changed import CHANGED, DOUBTFUL, NO_BLANK_LINE
from tests.corpus import Exchange, exchanges, needs_corpus, recorded_expectations
from tests.recordings import route

pytestmark = needs_corpus


def found(exchange_id: str) -> Exchange:
    return next(exchange for exchange in exchanges() if exchange.id == exchange_id)


def read(exchange: Exchange) -> Reading:
    content_type = exchange.response_headers.get("content-type")
    dialect = route(exchange).dialect
    tap = Tap(dialect, content_type=content_type, content_encoding=None, status=exchange.status)
    tap.feed(exchange.response_body)
    tap.finish()
    return tap.reading


@pytest.mark.parametrize("exchange_id", CHANGED)
def test_each_exchange_has_the_old_value_in_the_corpus_and_reads_as_the_new_one(exchange_id: str) -> None:
    reading = read(found(exchange_id))
    before = recorded_expectations(exchange_id)
    for name, (old, new) in CHANGED[exchange_id].items():
        value = getattr(reading.usage or Usage(), name)
        assert before[name] == old
        assert (value if value is None else float(value)) == new
    assert reading.doubtful is (exchange_id in DOUBTFUL)
    assert bool(reading.warnings) is (exchange_id in DOUBTFUL)


@pytest.mark.parametrize("exchange_id", sorted(NO_BLANK_LINE))
def test_the_last_event_is_read_without_its_blank_line(exchange_id: str) -> None:
    exchange = found(exchange_id)
    assert not exchange.response_body.endswith((b"\n\n", b"\r\n\r\n"))
    reading = read(exchange)
    assert reading.terminal
    assert reading.has_final_usage(EndReason.COMPLETE) is (reading.usage is not None)
