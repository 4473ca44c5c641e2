"""How far a request can have come, and what moves it on: the state machine of the relay as a table."""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    """How far a request has come."""

    NEW = auto()
    HOLDING = auto()
    """A rewrite waits for the whole body."""
    QUEUED = auto()
    """The request waits for its turn at the provider's key."""
    GATHERED = auto()
    """The request waits for others that go out with it, or for what comes of them."""
    OPENING = auto()
    """The request waits for a connection to the provider."""
    DROPPING = auto()
    """The whole request is out, and goes out again: what comes of the present answer is dropped."""
    SPLITTING = auto()
    """The request went out with others: an answer to all of them comes."""
    WAITING = auto()
    """The request waits until it is sent again."""
    ASKING = auto()
    """The request goes out."""
    ASKED = auto()
    """The whole request is out."""
    ANSWERING_EARLY = auto()
    """The response has begun, and the request is not out yet."""
    ANSWERING = auto()
    UPGRADED = auto()
    """The request has become a WebSocket session."""
    UNREAD = auto()
    """The request is answered; what is left of it is read and dropped."""
    OVER = auto()


class Input(Enum):
    """What moves a request on."""

    REQUEST_END = auto()
    CONNECTED = auto()
    RESPONSE_HEAD = auto()
    UPGRADE = auto()
    RESPONSE_END = auto()
    HOLD = auto()
    """The whole request has to be known."""
    QUEUE = auto()
    """It is not the request's turn yet."""
    GATHER = auto()
    """The request is one of several that go out as one."""
    DROP = auto()
    """An answer is not handed on, and has more to come."""
    AGAIN = auto()
    """The request is to be sent again."""
    DUE = auto()
    """It is time to."""


NEXT: dict[tuple[State, Input], State] = {
    (State.HOLDING, Input.REQUEST_END): State.OPENING,
    (State.OPENING, Input.REQUEST_END): State.OPENING,
    (State.WAITING, Input.REQUEST_END): State.WAITING,
    (State.QUEUED, Input.REQUEST_END): State.QUEUED,
    (State.OPENING, Input.CONNECTED): State.ASKING,
    (State.HOLDING, Input.RESPONSE_HEAD): State.ANSWERING,  # a script of mitmproxy's answers in the provider's place
    (State.OPENING, Input.RESPONSE_HEAD): State.ANSWERING,
    (State.ASKING, Input.REQUEST_END): State.ASKED,
    (State.ASKING, Input.RESPONSE_HEAD): State.ANSWERING_EARLY,
    (State.ASKED, Input.RESPONSE_HEAD): State.ANSWERING,
    (State.ASKED, Input.UPGRADE): State.UPGRADED,
    (State.ANSWERING_EARLY, Input.REQUEST_END): State.ANSWERING,
    (State.ANSWERING_EARLY, Input.RESPONSE_END): State.UNREAD,
    (State.ANSWERING, Input.RESPONSE_END): State.OVER,
    (State.UNREAD, Input.REQUEST_END): State.OVER,
    (State.OPENING, Input.HOLD): State.HOLDING,
    (State.OPENING, Input.QUEUE): State.QUEUED,
    (State.QUEUED, Input.DUE): State.OPENING,
    (State.OPENING, Input.GATHER): State.GATHERED,
    (State.GATHERED, Input.DUE): State.OPENING,
    (State.ASKED, Input.GATHER): State.SPLITTING,
    (State.SPLITTING, Input.GATHER): State.GATHERED,
    (State.GATHERED, Input.RESPONSE_HEAD): State.ANSWERING,
    (State.SPLITTING, Input.AGAIN): State.WAITING,
    (State.ASKED, Input.DROP): State.DROPPING,
    (State.DROPPING, Input.AGAIN): State.WAITING,
    (State.OPENING, Input.AGAIN): State.WAITING,
    (State.ASKING, Input.AGAIN): State.WAITING,
    (State.ASKED, Input.AGAIN): State.WAITING,
    (State.WAITING, Input.DUE): State.OPENING,
}
"""Where an input leads. One that is not here comes out of turn, and changes nothing."""

PARKED = frozenset({State.GATHERED, State.QUEUED, State.WAITING})
"""The request goes out later, or its answer comes in another way."""
STANDS = PARKED | {State.OPENING}
"""Nothing goes to the provider at present."""
UNSEEN = frozenset({State.DROPPING, State.SPLITTING})
"""What comes of an answer is not for the client as it is."""
HOLDS = STANDS | {State.HOLDING}
"""What comes of the request is kept until it can go out."""
UNDER_WAY = frozenset(State) - {State.NEW, State.UNREAD, State.OVER}
BEGUN = frozenset({State.ANSWERING_EARLY, State.ANSWERING, State.UPGRADED})
"""The client has the head of the provider's response."""
