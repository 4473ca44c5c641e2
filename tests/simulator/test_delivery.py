from __future__ import annotations

import pytest

from metrion.simulator.delivery import (
    Answer,
    Delivery,
    End,
    Hold,
    Selection,
    Send,
    Step,
    Wait,
    format_selection,
    parse_selection,
    steps,
)

WHOLE = Answer(200, (("content-type", "application/json"),), (b"0123456789",))
STREAM = Answer(200, (("content-type", "text/event-stream"),), (b"data: 1\n\n", b"data: 2\n\n"), chunked=True)
LENGTH_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CLOSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "delivery", "expected"),
    [
        (WHOLE, Delivery(), [Send(LENGTH_HEAD + b"0123456789", 10)]),
        (
            STREAM,
            Delivery(),
            [
                Send(CHUNKED_HEAD),
                Send(b"9\r\ndata: 1\n\n\r\n", 9),
                Send(b"9\r\ndata: 2\n\n\r\n", 18),
                Send(b"0\r\n\r\n", 18),
            ],
        ),
        (WHOLE, Delivery(framing="close"), [Send(CLOSE_HEAD), Send(b"0123456789", 10), End()]),
        (WHOLE, Delivery(size=4), [Send(LENGTH_HEAD), Send(b"0123", 4), Send(b"4567", 8), Send(b"89", 10)]),
        (
            WHOLE,
            Delivery(size=5, head_delay=0.5, chunk_delay=0.25),
            [Wait(0.5), Send(LENGTH_HEAD), Send(b"01234", 5), Wait(0.25), Send(b"56789", 10)],
        ),
        (WHOLE, Delivery(hold="head"), [Hold(), Send(LENGTH_HEAD), Send(b"0123456789", 10)]),
        (WHOLE, Delivery(hold=0), [Send(LENGTH_HEAD), Hold(), Send(b"0123456789", 10)]),
        (WHOLE, Delivery(hold=-1), [Send(LENGTH_HEAD), Send(b"012345678", 9), Hold(), Send(b"9", 10)]),
        (
            STREAM,
            Delivery(hold="end"),
            [
                Send(CHUNKED_HEAD),
                Send(b"9\r\ndata: 1\n\n\r\n", 9),
                Send(b"9\r\ndata: 2\n\n\r\n", 18),
                Hold(),
                Send(b"0\r\n\r\n", 18),
            ],
        ),
        (WHOLE, Delivery(cut="head"), [End()]),
        (WHOLE, Delivery(cut=0), [Send(LENGTH_HEAD), End()]),
        (WHOLE, Delivery(cut=3, reset=True), [Send(LENGTH_HEAD), Send(b"012", 3), End(reset=True)]),
        (STREAM, Delivery(cut=9), [Send(CHUNKED_HEAD), Send(b"9\r\ndata: 1\n\n\r\n", 9), End()]),
        (
            WHOLE,
            Delivery(hold=2, cut=2),
            [Send(LENGTH_HEAD), Send(b"01", 2), Hold(), End()],
        ),
        (
            WHOLE,
            Delivery(framing="chunked", trailers={"x-sum": "1"}),
            [
                Send(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n"
                    b"trailer: x-sum\r\n\r\n"
                ),
                Send(b"a\r\n0123456789\r\n", 10),
                Send(b"0\r\nx-sum: 1\r\n\r\n", 10),
            ],
        ),
        (
            WHOLE,
            Delivery(interim=(103,)),
            [Send(b"HTTP/1.1 103 Early Hints\r\n\r\n"), Send(LENGTH_HEAD + b"0123456789", 10)],
        ),
        (WHOLE, Delivery(garbage="\xff\x00no http"), [Send(b"\xff\x00no http"), End()]),
        (Answer(204, (), ()), Delivery(), [Send(b"HTTP/1.1 204 No Content\r\n\r\n")]),
        (Answer(200, (), (b"",)), Delivery(), [Send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")]),
    ],
)
def test_steps(answer: Answer, delivery: Delivery, expected: list[Step]) -> None:
    assert list(steps(answer, delivery)) == expected


def test_an_answer_to_head_has_the_length_of_the_body_and_no_body() -> None:
    assert list(steps(WHOLE, Delivery(), "HEAD")) == [Send(LENGTH_HEAD)]
    assert list(steps(STREAM, Delivery(), "HEAD")) == [Send(CHUNKED_HEAD)]


@pytest.mark.parametrize("seed", range(5))
def test_random_cuts_are_repeatable_and_lose_nothing(seed: int) -> None:
    answer = Answer(200, (), (b"abcdefghij" * 50,))
    delivery = Delivery(seed=seed)
    sent = [step for step in steps(answer, delivery) if isinstance(step, Send)]
    assert sent == list(steps(answer, delivery))
    assert b"".join(step.wire for step in sent).endswith(b"\r\n\r\n" + b"abcdefghij" * 50)
    assert len(sent) > 2


def test_different_seeds_cut_differently() -> None:
    answer = Answer(200, (), (b"abcdefghij" * 50,))
    assert len({tuple(steps(answer, Delivery(seed=seed))) for seed in range(8)}) == 8


@pytest.mark.parametrize(
    ("value", "selection"),
    [
        (None, Selection()),
        ("openai-chat-1", Selection(answer="openai-chat-1")),
        ('{"answer": "a", "cut": -3, "reset": true}', Selection(answer="a", delivery=Delivery(cut=-3, reset=True))),
        ('{"error": 529, "interim": [103]}', Selection(error=529, delivery=Delivery(interim=(103,)))),
        ('{"error_event": 2, "hold": "end"}', Selection(error_event=2, delivery=Delivery(hold="end"))),
    ],
)
def test_a_selection_is_an_id_or_json(value: str | None, selection: Selection) -> None:
    assert parse_selection(value) == selection
    assert parse_selection(format_selection(selection)) == selection


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "neither an id nor JSON"),
        ('{"hodl": 1}', r"unknown fields \['hodl'\]; known are .*'hold'"),
        ('{"hold": "tail"}', "hold is 'tail'; it is a number of bytes, 'head' or 'end'"),
        ('{"cut": "0"}', "cut is '0'"),
        ('{"framing": "none"}', "framing is 'none'"),
        ('{"size": 0}', "size is 0"),
    ],
)
def test_a_wrong_selection_is_named(value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_selection(value)
