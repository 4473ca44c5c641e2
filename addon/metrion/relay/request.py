"""A request, from its head to its last byte, however often it is sent: what its events need to know of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from metrion import estimates
from metrion.admission.redaction import Redactor, redactor_of
from metrion.metering.request_reader import RequestReader
from metrion.model import Forward, Headers, Inbound, Refusal, first_values
from metrion.model.event_id import uuid7


class Request:
    """See the module. ``began``: when its head arrived, in seconds on the relay's clock."""

    __slots__ = (
        "_reader",
        "_redactor",
        "began",
        "bytes",
        "decision",
        "fields",
        "id",
        "inbound",
        "policy",
        "response_sample",
        "sample",
        "sent_model",
        "started_at",
    )

    def __init__(self, inbound: Inbound, decision: Forward | Refusal, *, began: float) -> None:
        self.inbound = inbound
        self.fields = first_values(inbound.headers)
        self.decision = decision
        self.began = began
        self.id = uuid7()
        self.started_at = now()
        self.bytes = 0
        """The size of the body as the client sent it, without chunk framing."""
        self.policy: dict[str, str] | None = None
        """What each policy did to it, by the policy's name; ``None``: none did anything."""
        self.sent_model: str | None = None
        """What a policy put in the place of the model that was asked for; ``None``: nothing."""
        self.sample: estimates.Sample | None = None
        self.response_sample: estimates.Sample | None = None
        self._redactor: Redactor | None = None
        self._reader: RequestReader | None = None
        if isinstance(decision, Forward) and (policies := decision.policies) is not None:
            self.note(policies.noted, policies.model)
        if isinstance(decision, Forward) and inbound.method == b"POST":
            self.sample, self.response_sample = estimates.samples(decision.route.dialect)
            self._reader = RequestReader(
                content_type=text(self.fields.get(b"content-type")),
                content_encoding=text(self.fields.get(b"content-encoding")),
                sample=self.sample,
            )

    def data(self, chunk: bytes) -> None:
        """Read a piece of the body as the client sent it."""
        self.bytes += len(chunk)
        if self._reader is not None:
            self._reader.feed(chunk)

    def note(self, notes: Iterable[tuple[str, str]], model: str | None = None) -> None:
        """Record what policies did, by their names; ``model``: what they put in the place of the one asked for."""
        if model is not None:
            self.sent_model = model
        for policy, words in notes:
            if self.policy is None:
                self.policy = {}
            before = self.policy.get(policy)
            self.policy[policy] = f"{before}; {words}" if before else words

    def judge(self, decision: Forward) -> None:
        """Record what is decided about it now that its body is known."""
        before = self.decision.policies if isinstance(self.decision, Forward) else None
        self.decision, self._redactor = decision, None
        if (policies := decision.policies) is not None and policies is not before:
            known = before.noted if before is not None else ()
            self.note((each for each in policies.noted if each not in known), policies.model)

    def lead(self, decision: Forward, model: str | None) -> None:
        """Record that it goes elsewhere from now on, with another key; ``model``: see ``sent_model``."""
        self.decision, self.sent_model, self._redactor = decision, model, None

    def leave_unread(self) -> None:
        """Read nothing of the body, and keep nothing of it or of its response."""
        self._reader = self.sample = self.response_sample = None

    @property
    def redactor(self) -> Redactor:
        """What masks its credentials in the texts of its events."""
        if self._redactor is None:
            self._redactor = redactor_of(self.inbound, self.decision)
        return self._redactor

    @property
    def asks_for_websocket(self) -> bool:
        """Whether its client wants to go on with a WebSocket session."""
        return self.fields.get(b"upgrade", b"").lower() == b"websocket"

    @property
    def model(self) -> str | None:
        """The model that the body asks for."""
        if self._reader is None:
            return None
        self._reader.finish()
        return self._reader.model


def now() -> datetime:
    """Return the time as events hold it: naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)


def text(value: bytes | None) -> str | None:
    """Return the value of a header field as text."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def header(headers: Headers, name: bytes) -> str | None:
    """Return the first value of a header field, ``name`` in lower case."""
    return text(next((value for known, value in headers if len(known) == len(name) and known.lower() == name), None))
